use super::*;
use crate::{message::Protected, pairs};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/web";
const CLIENT_FIELD: &str = "client_id=spiffe%3A%2F%2Fcluster.local%2Fns%2Fshop%2Fsa%2Fweb";
const PROOF: &str = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=a.b-c._d";

fn with<T>(headers: &[(&str, &[u8])], look: impl FnOnce(&Headers<'_>) -> T) -> T {
    let written = pairs::write(headers);
    look(&Headers::read(&written, &Protected::default()).unwrap())
}

fn rewritten_with(body: &str, headers: &[(&str, &[u8])]) -> Result<(String, String), NoForm> {
    with(headers, |headers| {
        let form = Form::read(body.as_bytes(), headers)?;
        Ok((form.client().to_owned(), form.with(JWT_BEARER, "a.b-c._d")))
    })
}

fn rewritten(body: &str) -> Result<String, NoForm> {
    rewritten_with(body, &[]).map(|(_, body)| body)
}

fn basic_of(user: &str) -> Vec<u8> {
    let pair = Base64::encode_string(format!("{user}:placeholder").as_bytes());
    format!("Basic {pair}").into_bytes()
}

#[test]
fn the_placeholder_goes_and_all_else_stays_as_it_came_and_in_order() {
    let body = format!(
        "grant_type=authorization_code&code=a%2bb+c&client_secret=placeholder&{CLIENT_FIELD}&code_verifier=x~y&resource=https%3a%2f%2fa&resource=b&flag"
    );
    let expected = format!(
        "grant_type=authorization_code&code=a%2bb+c&{CLIENT_FIELD}&code_verifier=x~y&resource=https%3a%2f%2fa&resource=b&flag&{PROOF}"
    );
    assert_eq!(rewritten(&body), Ok(expected));
}

#[test]
fn an_assertion_of_the_clients_own_is_replaced() {
    let body =
        format!("client_assertion=mine&{CLIENT_FIELD}&client_assertion_type=x&grant_type=refresh");
    let expected = format!("{CLIENT_FIELD}&grant_type=refresh&{PROOF}");
    assert_eq!(rewritten(&body), Ok(expected));
}

#[test]
fn the_client_of_basic_authentication_moves_into_the_form_if_it_stands_nowhere_else() {
    let encoded = basic_of("spiffe%3A%2F%2Fcluster.local%2Fns%2Fshop%2Fsa%2Fweb");
    let authorization: [(&str, &[u8]); 1] = [("authorization", &encoded)];
    let moved = rewritten_with("grant_type=client_credentials", &authorization);
    let expected = format!("grant_type=client_credentials&{CLIENT_FIELD}&{PROOF}");
    assert_eq!(moved, Ok((CLIENT.to_owned(), expected)));
    let body = format!("{CLIENT_FIELD}&grant_type=client_credentials");
    let both = rewritten_with(&body, &authorization);
    assert_eq!(both, Ok((CLIENT.to_owned(), format!("{body}&{PROOF}"))));
    let other = rewritten_with("client_id=other&grant_type=x", &authorization);
    assert!(matches!(other, Err(NoForm::Malformed(_))), "{other:?}");
}

#[test]
fn basic_authentication_that_cannot_be_read_is_refused_and_other_schemes_name_nobody() {
    for value in [
        &b"Basic"[..],
        b"Basic %%%",
        b"basic \xff",
        b"Basic OmE=",
        b"Basic /zph",
    ] {
        let headers: [(&str, &[u8]); 1] = [("authorization", value)];
        let found = rewritten_with("grant_type=x", &headers);
        assert!(found.is_err(), "{value:?}: {found:?}");
    }
    let bearer: [(&str, &[u8]); 1] = [("authorization", b"Bearer a.b.c")];
    assert_eq!(
        rewritten_with("grant_type=x", &bearer),
        Err(NoForm::NoClient)
    );
    let two: [(&str, &[u8]); 2] = [("authorization", b"Basic YTpi"), ("authorization", b"x")];
    assert!(rewritten_with("client_id=a", &two).is_err());
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let long = format!("client_id=a{}", "&x".repeat(64));
    for body in [
        "client_id=a&client_secret=b&client_secret=c",
        "client_id=a&client_id=a",
        "client_id=a&grant_type=b&grant_type=c",
        "client_id=a&%63lient_id=b",
        "client_id=a&Client_Secret=b",
        "client_id=a&client_secret[]=b",
        "client_id=a&client.secret=b",
        "client_id=a&+client_assertion=b",
        "client_id=a&client_assertion%00=b",
        "client_id=a;client_secret=b",
        "client_id=a&x=%zz",
        "client_id=a&%4=b",
        "client_id=a&x=b\r\nc",
        "client_id=a&x=ä",
        "client_id=%ff",
        "client_id=a&x y=b",
        &long,
        "",
    ] {
        let found = rewritten(body);
        // A value is not decoded: the server's matter.
        let passes = body == "client_id=a&x=%zz";
        assert_eq!(
            matches!(found, Err(NoForm::Malformed(_))),
            !passes,
            "{body}: {found:?}"
        );
    }
    assert_eq!(rewritten("grant_type=x"), Err(NoForm::NoClient));
    assert_eq!(rewritten("client_id="), Err(NoForm::NoClient));
    let large = format!("client_id=a&x={}", "y".repeat(MAX_FORM));
    assert_eq!(rewritten(&large), Err(NoForm::TooLarge));
}

#[test]
fn a_field_that_is_spelled_with_escapes_is_the_same_field() {
    // %5f is `_`: a proof in any spelling goes.
    let body = "client%5fsecret=b&client_id=a";
    assert_eq!(rewritten(body), Ok(format!("client_id=a&{PROOF}")));
}

#[test]
fn the_header_says_whether_a_form_is_rewritten() {
    let form: (&str, &[u8]) = (
        "content-type",
        b"Application/X-WWW-Form-Urlencoded; charset=UTF-8",
    );
    let post: (&str, &[u8]) = (":method", b"POST");
    let path: (&str, &[u8]) = (":path", b"/token?a=b");
    let checked = |more: &[(&str, &[u8])]| with(more, |headers| (may_be(headers), check(headers)));
    assert_eq!(checked(&[form, post, path]), (true, Ok(())));
    let (holds, refused) = checked(&[form, path, (":method", b"PUT")]);
    assert!(!holds && matches!(refused, Err(NoForm::Malformed(_))));
    let (holds, _) = checked(&[post, path, ("content-type", b"application/json")]);
    assert!(!holds);
    let encoded = checked(&[form, post, path, ("content-encoding", b"gzip")]);
    assert_eq!(encoded.1, Err(NoForm::Encoded));
    let large = checked(&[form, post, path, ("content-length", b"65537")]);
    assert_eq!(large, (false, Err(NoForm::TooLarge)));
    for query in [
        "/token?client_id=x",
        "/token?a=b&%63lient_secret=x",
        "/token?a;b",
    ] {
        let (_, refused) = checked(&[form, post, (":path", query.as_bytes())]);
        assert!(matches!(refused, Err(NoForm::Malformed(_))), "{query}");
    }
}

#[test]
fn only_a_compact_jwt_is_an_assertion() {
    assert!(is_assertion("eyJ.eyJ._-9"));
    for text in ["", "a&b", "a=b", "a\r\n", "ä", "a b"] {
        assert!(!is_assertion(text), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic_and_what_is_rewritten_holds_one_proof(body in "[a-z_=&%0-9+;\\[\\]]{0,80}") {
        if let Ok(form) = rewritten(&body) {
            let fields: Vec<_> = form.split('&').map(|field| field.split('=').next().unwrap()).collect();
            let count = |name| fields.iter().filter(|field| **field == name).count();
            proptest::prop_assert_eq!(count("client_assertion"), 1);
            proptest::prop_assert_eq!(count("client_assertion_type"), 1);
            proptest::prop_assert_eq!(count("client_secret"), 0);
        }
    }
}
