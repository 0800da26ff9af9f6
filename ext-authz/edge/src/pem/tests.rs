use base64ct::{Base64, Encoding as _};

use super::*;

/// A block as OpenSSL writes it.
fn block(label: &str, der: &[u8]) -> String {
    let text = Base64::encode_string(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

/// As Envoy encodes it: line ends, spaces, `+`, `/` and `=`.
pub(crate) fn encoded(text: &str) -> String {
    [
        ("\n", "%0A"),
        (" ", "%20"),
        ("+", "%2B"),
        ("/", "%2F"),
        ("=", "%3D"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

pub(crate) fn certificate(der: &[u8]) -> String {
    encoded(&block("CERTIFICATE", der))
}

#[test]
fn certificates_are_read_as_envoy_writes_them_leaf_first() {
    let (leaf, authority) = (vec![0xfb; 100], vec![0xff; 70]);
    let one = certificates(&certificate(&leaf), 1).unwrap();
    assert_eq!(one.certificates().collect::<Vec<_>>(), [&leaf[..]]);
    let both = certificate(&leaf) + &certificate(&authority);
    let chain = certificates(&both, 8).unwrap();
    assert_eq!(chain.leaf(), leaf);
    assert_eq!(chain.intermediates().collect::<Vec<_>>(), [&authority[..]]);
    assert_eq!(certificates(&both, 1), Err(InvalidPem::TooMany(2)));
}

#[test]
fn lower_case_hex_and_what_needs_no_encoding_are_read_too() {
    let text = block("CERTIFICATE", &[1; 40]);
    let expected = certificates(&encoded(&text), 1);
    assert!(expected.is_ok());
    assert_eq!(certificates(&text, 1), expected);
    assert!(certificates(&encoded(&text).to_lowercase(), 1).is_err());
    assert_eq!(certificates(&text.replace('\n', "%0a"), 1), expected);
}

#[test]
fn anything_but_certificates_is_refused() {
    let good = certificate(&[7; 40]);
    let key = encoded(&block("PRIVATE KEY", &[7; 40]));
    for text in [
        String::new(),
        "%".to_owned(),
        "%4".to_owned(),
        "%zz".to_owned(),
        "%ff".to_owned(),
        "MIIB".to_owned(),
        format!("x{good}"),
        format!("{key}{good}"),
        format!("{good}{key}"),
        good.replace("END", "AND"),
        good.replace("CERTIFICATE", "CERTIFICAT"),
        good.replace("Bwc", "B*c"),
        good.chars().take(good.len() / 2).collect(),
    ] {
        assert!(certificates(&text, 8).is_err(), "{text}");
    }
    let nine = good.repeat(9);
    assert_eq!(certificates(&nine, 8), Err(InvalidPem::TooMany(9)));
    let long = "A".repeat(MAX_TEXT_BYTES + 1);
    assert_eq!(certificates(&long, 8), Err(InvalidPem::TooLong(long.len())));
    let large = certificate(&vec![7; MAX_CHAIN_BYTES + 1]);
    assert!(matches!(certificates(&large, 8), Err(InvalidPem::Chain(_))));
}
