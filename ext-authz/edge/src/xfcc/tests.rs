use super::*;
use crate::pem::tests::certificate;

fn read(line: &str) -> Result<Vec<Element>, InvalidXfcc> {
    parse([line.as_bytes()])
}

fn only(line: &str) -> Element {
    let mut elements = read(line).unwrap();
    assert_eq!(elements.len(), 1, "{line}");
    elements.remove(0)
}

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const GATEWAY: &str = "spiffe://cluster.local/ns/edge/sa/gateway";

#[test]
fn an_element_is_read_as_envoy_and_istio_write_it() {
    let element = only(&format!(
        "By={GATEWAY};Hash=4f0c;Subject=\"\";URI={WEB};DNS=web.shop;DNS=web"
    ));
    assert_eq!(element.by, [GATEWAY]);
    assert_eq!(element.uri(), Some(WEB));
    assert_eq!(element.dns, ["web.shop", "web"]);
    assert_eq!(element.hash.as_deref(), Some("4f0c"));
    assert_eq!(element.subject.as_deref(), Some(""));
    assert_eq!(element.certificates(), None);
}

#[test]
fn elements_stand_in_the_order_of_their_lines() {
    let lines: [&[u8]; 4] = [b"URI=a,URI=b", b"", b" URI=c , URI=d", b"   "];
    let elements = parse(lines).unwrap();
    let uris: Vec<_> = elements.iter().filter_map(Element::uri).collect();
    assert_eq!(uris, ["a", "b", "c", "d"]);
    assert_eq!(read(""), Ok(Vec::new()));
    assert_eq!(parse([]), Ok(Vec::new()));
}

#[test]
fn a_quoted_value_holds_what_separates_others_and_its_escapes() {
    // A subject that looks like an element of its own.
    let subject = format!(r#"CN=x,By={GATEWAY};URI=spiffe://cluster.local/ns/shop/sa/admin"#);
    let element = only(&format!(r#"Hash=1;Subject="{subject}";URI={WEB}"#));
    assert_eq!(element.subject.as_deref(), Some(subject.as_str()));
    assert_eq!((element.by.len(), element.uri()), (0, Some(WEB)));
    let element = only(r#"Subject="O=\"a\\b\",CN=\,c";URI=u"#);
    assert_eq!(element.subject.as_deref(), Some(r#"O="a\b",CN=,c"#));
}

#[test]
fn keys_have_no_case_and_unknown_ones_say_nothing() {
    let element = only("uri=a;dns=b;hASH=c;Future=d;Future=e");
    assert_eq!(element.uri(), Some("a"));
    assert_eq!((element.dns.len(), element.hash.as_deref()), (1, Some("c")));
}

#[test]
fn a_certificate_with_two_uri_names_or_none_has_no_one_name() {
    assert_eq!(only("URI=a;URI=b").uri(), None);
    assert_eq!(only("URI=;DNS=a").uri(), None);
    assert_eq!(only("Hash=a").uri(), None);
    // What a separator in a name would make of it.
    assert_eq!(only("URI=a=b").uri(), Some("a=b"));
}

#[test]
fn certificate_and_chain_are_read_and_must_be_of_one_leaf() {
    let (leaf, above) = (certificate(&[1; 40]), certificate(&[2; 40]));
    let element = only(&format!("Cert=\"{leaf}\";URI=a"));
    assert_eq!(element.certificates().unwrap().leaf(), [1; 40]);
    let element = only(&format!("Cert=\"{leaf}\";Chain=\"{leaf}{above}\""));
    assert_eq!(element.certificates().unwrap().intermediates().count(), 1);
    let other = format!("Cert=\"{above}\";Chain=\"{leaf}{above}\"");
    assert_eq!(read(&other), Err(InvalidXfcc::TwoCertificates));
    let two = format!("Cert=\"{leaf}{above}\"");
    assert!(matches!(read(&two), Err(InvalidXfcc::Certificate(_))));
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for (line, expected) in [
        (",URI=a", InvalidXfcc::EmptyElement),
        ("URI=a,", InvalidXfcc::EmptyElement),
        ("URI=a,,URI=b", InvalidXfcc::EmptyElement),
        ("URI=a, ,URI=b", InvalidXfcc::EmptyElement),
        ("a", InvalidXfcc::Pair),
        ("=a", InvalidXfcc::Pair),
        ("URI=a;", InvalidXfcc::Pair),
        ("URI=a;;DNS=b", InvalidXfcc::Pair),
        ("URI =a", InvalidXfcc::Pair),
        ("URI=a; DNS=b", InvalidXfcc::Pair),
        ("U\"RI=a", InvalidXfcc::Pair),
        ("Subject=\"a", InvalidXfcc::Quote),
        ("Subject=\"a\\", InvalidXfcc::Quote),
        ("Subject=a\"b\"", InvalidXfcc::Quote),
        ("Subject=\"a\"b", InvalidXfcc::Quote),
        ("URI=a b", InvalidXfcc::Quote),
        ("Hash=a;Hash=a", InvalidXfcc::Repeated("Hash")),
        ("Subject=a;subject=b", InvalidXfcc::Repeated("Subject")),
        ("URI=a\tb", InvalidXfcc::Byte(b'\t')),
        ("URI=a\0", InvalidXfcc::Byte(0)),
        ("URI=\u{e9}", InvalidXfcc::Byte(0xc3)),
    ] {
        assert_eq!(read(line), Err(expected), "{line:?}");
    }
    assert_eq!(parse([&b"URI=\xff"[..]]), Err(InvalidXfcc::Byte(0xff)));
    assert_eq!(parse([&b"URI=\x7f"[..]]), Err(InvalidXfcc::Byte(0x7f)));
}

#[test]
fn a_header_of_any_size_is_read_within_bounds() {
    let long = format!("URI={}", "a".repeat(MAX_BYTES - 4));
    assert!(read(&long).is_ok());
    assert_eq!(
        read(&(long + "a")),
        Err(InvalidXfcc::TooLong(MAX_BYTES + 1))
    );
    // Lines count together.
    let half = vec![b'a'; MAX_BYTES / 2 + 1];
    assert!(matches!(parse([&half[..], &half]), Err(InvalidXfcc::Pair)));
    let many = |count: usize| vec!["URI=a"; count].join(",");
    assert_eq!(read(&many(MAX_ELEMENTS)).unwrap().len(), MAX_ELEMENTS);
    assert_eq!(read(&many(MAX_ELEMENTS + 1)), Err(InvalidXfcc::TooMany));
    let pairs = |count: usize| vec!["DNS=a"; count].join(";");
    assert!(read(&pairs(MAX_PAIRS)).is_ok());
    assert_eq!(read(&pairs(MAX_PAIRS + 1)), Err(InvalidXfcc::TooManyPairs));
}
