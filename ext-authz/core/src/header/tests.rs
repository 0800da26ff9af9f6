use proptest::prelude::*;

use super::*;

fn name(text: &str) -> HeaderName {
    HeaderName::parse(text).expect("a header name")
}

#[test]
fn a_name_is_folded_to_lower_case() {
    assert_eq!(name("Authorization").as_str(), "authorization");
    assert_eq!(name("X-Api-Key").as_str(), "x-api-key");
}

#[test]
fn what_is_no_token_or_too_long_is_refused() {
    let long = "a".repeat(MAX_NAME_BYTES + 1);
    for text in [
        "",
        ":authority",
        "a b",
        "a\r\nb",
        "a:b",
        "é",
        "a/b",
        long.as_str(),
    ] {
        assert_eq!(
            HeaderName::parse(text),
            Err(InvalidHeaderName::Malformed(text.to_string())),
            "{text:?}"
        );
    }
    assert!(HeaderName::parse(&"a".repeat(MAX_NAME_BYTES)).is_ok());
}

#[test]
fn an_underscore_is_refused_even_for_evidence() {
    assert!(matches!(
        HeaderName::parse("x_api-key"),
        Err(InvalidHeaderName::Underscore(_))
    ));
    assert!(matches!(
        HeaderName::parse_evidence("x_evidence"),
        Err(InvalidHeaderName::Underscore(_))
    ));
}

#[test]
fn a_credential_never_stands_in_a_header_that_steers_the_connection() {
    for text in RESERVED.into_iter().chain([
        "Host",
        "Transfer-Encoding",
        "x-envoy-original-path",
        "X-Forwarded-For",
        "x-attache-decision",
        "x-request-id",
        "grpc-status",
    ]) {
        assert!(
            matches!(HeaderName::parse(text), Err(InvalidHeaderName::Reserved(_))),
            "{text}"
        );
    }
    assert!(matches!(
        HeaderName::parse_evidence("Host"),
        Err(InvalidHeaderName::Reserved(_))
    ));
}

#[test]
fn evidence_may_stand_in_a_header_of_ours() {
    let evidence = HeaderName::parse_evidence("X-Attache-Evidence").expect("ours");
    assert_eq!(evidence.as_str(), "x-attache-evidence");
}

#[test]
fn a_name_in_odd_case_or_with_underscores_imitates() {
    let header = name("x-api-key");
    for other in ["x-api-key", "X-API-KEY", "x_api_key", "X-Api_Key"] {
        assert!(header.is_imitated_by(other), "{other}");
    }
    for other in ["x-api-ke", "x-api-keys", "x.api.key", "", "x-api-kéy"] {
        assert!(!header.is_imitated_by(other), "{other}");
    }
}

#[test]
fn a_value_is_visible_ascii_without_outer_space() {
    for value in ["a", "Bearer eyJ", "a\tb", "~!"] {
        assert!(is_header_value(value), "{value:?}");
    }
    for value in [
        "", " ", " a", "a ", "\ta", "a\n", "a\r\nb", "a\0", "é", "a\x7f",
    ] {
        assert!(!is_header_value(value), "{value:?}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics_and_a_name_imitates_itself(text in "\\PC*") {
        if let Ok(header) = HeaderName::parse(&text) {
            prop_assert!(header.is_imitated_by(&text));
        }
        let _ = (HeaderName::parse_evidence(&text), is_header_value(&text));
    }
}
