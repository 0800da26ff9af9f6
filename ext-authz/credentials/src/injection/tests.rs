use attache_policy::document::Part;

use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn header(name: &str, prefix: &str, part: Part) -> Placement {
    Placement {
        carrier: Carrier::Header(HeaderName::parse(name).unwrap()),
        form: Form::Plain {
            prefix: prefix.to_owned(),
            part,
        },
    }
}

fn parameter(name: &str, part: Part) -> Placement {
    Placement {
        carrier: Carrier::Parameter(ParameterName::parse(name).unwrap()),
        form: Form::Plain {
            prefix: String::new(),
            part,
        },
    }
}

fn basic_header() -> Placement {
    Placement {
        carrier: Carrier::Header(HeaderName::parse("Authorization").unwrap()),
        form: Form::Basic,
    }
}

fn pair(username: &str, password: &str) -> Material {
    Material::Pair {
        username: secret(username),
        password: secret(password),
    }
}

/// `name: value` and `?name=value`.
fn shown(material: &Material, placements: &[Placement]) -> Result<Vec<String>, Fault> {
    let injection = Injection::of(material, placements)?;
    let headers = injection.headers().iter();
    let headers = headers.map(|(name, value)| format!("{}: {}", name.as_str(), value.expose()));
    let parameters = injection.parameters().iter();
    let parameters =
        parameters.map(|(name, value)| format!("?{}={}", name.as_str(), value.expose()));
    Ok(headers.chain(parameters).collect())
}

#[test]
fn a_token_stands_behind_its_prefix_and_in_several_places_at_once() {
    let token = Material::Token(secret("k&y=1 %"));
    let places = [
        header("authorization", "SSWS ", Part::Token),
        header("x-api-key", "", Part::Token),
        parameter("key", Part::Token),
    ];
    let expected = [
        "authorization: SSWS k&y=1 %",
        "x-api-key: k&y=1 %",
        "?key=k%26y%3D1%20%25",
    ];
    assert_eq!(shown(&token, &places).unwrap(), expected);
}

#[test]
fn a_pair_is_joined_as_rfc_7617_says_or_stands_apart() {
    let aladdin = pair("Aladdin", "open sesame");
    assert_eq!(
        shown(&aladdin, &[basic_header()]).unwrap(),
        ["authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]
    );
    let places = [
        header("x-user", "", Part::Username),
        parameter("pass", Part::Password),
    ];
    assert_eq!(
        shown(&aladdin, &places).unwrap(),
        ["x-user: Aladdin", "?pass=open%20sesame"]
    );
    // UTF-8, as RFC 7617 §2.1 has it.
    assert_eq!(
        shown(&pair("test", "123\u{a3}"), &[basic_header()]).unwrap(),
        ["authorization: Basic dGVzdDoxMjPCow=="]
    );
    assert!(shown(&pair("key", ""), &[basic_header()]).is_ok());
}

#[test]
fn what_cannot_stand_where_it_is_to_go_is_a_fault() {
    let refused = Err(Fault::CredentialNotEncodable);
    for text in [
        "",
        "a\r\nx-admin: yes",
        "a\nb",
        "a\0b",
        "caf\u{e9}",
        " a",
        "a\t",
    ] {
        let token = Material::Token(secret(text));
        let places = [header("x-key", "", Part::Token)];
        assert_eq!(shown(&token, &places), refused, "{text:?}");
    }
    for (username, password) in [("a:b", "c"), ("a\n", "c"), ("a", "c\0")] {
        assert_eq!(shown(&pair(username, password), &[basic_header()]), refused);
    }
}

#[test]
fn a_query_carries_any_text() {
    let token = Material::Token(secret("\r\nx: y#&\u{e9}"));
    let places = [parameter("key", Part::Token)];
    assert_eq!(
        shown(&token, &places).unwrap(),
        ["?key=%0D%0Ax%3A%20y%23%26%C3%A9"]
    );
}

#[test]
fn a_part_that_the_credential_does_not_have_is_a_fault() {
    let refused = Err(Fault::CredentialNotEncodable);
    let token = Material::Token(secret("k"));
    assert_eq!(shown(&token, &[basic_header()]), refused);
    assert_eq!(
        shown(&token, &[header("x-user", "", Part::Username)]),
        refused
    );
    assert_eq!(
        shown(&pair("a", "b"), &[header("x-key", "", Part::Token)]),
        refused
    );
}
