use attache_core::{
    decision::DenyReason,
    header::HeaderName,
    query::ParameterName,
    request::{AmbiguousRequest, Transport},
};

use super::Question;
use crate::{
    peer::Peer,
    refusal::Refusal,
    settings::{DestinationRule, OverrideHeaders},
};

fn question<'a>(authority: &'a str, vouched: Option<&'a str>) -> Question<'a> {
    Question {
        method: "GET",
        target: "/v1/charges?limit=3",
        authority,
        headers: vec![],
        headers_are_known: true,
        vouched,
        source: None,
        address: None,
        peer: Peer::default(),
        given: None,
    }
}

fn understood(authority: &str, vouched: &str) -> Result<(String, u16, Transport), Refusal> {
    let question = question(authority, Some(vouched));
    let asked = question.understand(DestinationRule::VouchedByRoute)?;
    Ok((
        asked.host().as_str().to_owned(),
        asked.port(),
        asked.request().transport,
    ))
}

#[test]
fn the_route_says_port_and_transport_and_the_client_says_the_same_host() {
    let stripe = || Ok(("api.stripe.com".to_owned(), 443, Transport::Tls));
    assert_eq!(
        understood("api.stripe.com", "https://api.stripe.com"),
        stripe()
    );
    assert_eq!(
        understood("API.Stripe.com.:80", "https://api.stripe.com"),
        stripe()
    );
    assert_eq!(
        understood("api.stripe.com:443", "https://api.stripe.com:443"),
        stripe()
    );
    assert_eq!(
        understood("a.b.example.com", "http://*.example.com:8080"),
        Ok(("a.b.example.com".to_owned(), 8080, Transport::Plaintext))
    );
}

#[test]
fn a_host_that_is_not_the_routes_is_denied() {
    for (authority, vouched) in [
        ("evil.example", "https://api.stripe.com"),
        ("api.stripe.com.evil.example", "https://api.stripe.com"),
        ("api.stripe.com:8443", "https://api.stripe.com"),
        ("example.com", "https://*.example.com"),
        ("evilexample.com", "https://*.example.com"),
    ] {
        let denied = Err(Refusal::Denied(DenyReason::DestinationMismatch));
        assert_eq!(understood(authority, vouched), denied, "{authority}");
    }
}

#[test]
fn a_route_that_does_not_say_where_it_leads_is_denied() {
    for vouched in [
        None,
        Some(""),
        Some("api.stripe.com"),
        Some("ftp://api.stripe.com"),
        Some("https://"),
    ] {
        let refused =
            question("api.stripe.com", vouched).understand(DestinationRule::VouchedByRoute);
        assert_eq!(
            refused.unwrap_err(),
            Refusal::Denied(DenyReason::DestinationNotVouched)
        );
    }
}

#[test]
fn what_goes_around_the_policy_is_refused() {
    for method in ["TRACE", "TRACK", "CONNECT"] {
        let question = Question {
            method,
            ..question("api.stripe.com", Some("https://api.stripe.com"))
        };
        let refused = question
            .understand(DestinationRule::VouchedByRoute)
            .unwrap_err();
        assert_eq!(refused, Refusal::Denied(DenyReason::MethodRefused));
    }
    let mut upgrade = question("api.stripe.com", Some("https://api.stripe.com"));
    upgrade.headers = vec![("upgrade", b"websocket")];
    let refused = upgrade
        .understand(DestinationRule::VouchedByRoute)
        .unwrap_err();
    assert_eq!(refused, Refusal::Denied(DenyReason::MethodRefused));
}

#[test]
fn a_path_with_two_readings_is_refused() {
    for target in [
        "/a/../b",
        "/a%2fb",
        "/a;x/b",
        "/a\\b",
        "//a",
        "*",
        "",
        "/%2e%2e/a",
        "/a%00",
    ] {
        let question = Question {
            target,
            ..question("api.stripe.com", Some("https://api.stripe.com"))
        };
        let refused = question
            .understand(DestinationRule::VouchedByRoute)
            .unwrap_err();
        let ambiguous = DenyReason::RequestAmbiguous(AmbiguousRequest::Path);
        assert_eq!(refused, Refusal::Denied(ambiguous), "{target}");
    }
}

#[test]
fn protected_headers_are_found_once_and_their_imitations_are_refused() {
    let authorization = HeaderName::parse("authorization").unwrap();
    let evidence = HeaderName::parse_evidence("x-attache-evidence").unwrap();
    let mut question = question("api.stripe.com", None);
    question.headers = vec![
        ("accept", b"*/*"),
        ("authorization", b"a"),
        ("authorization", b"b"),
        ("x-attache-spiffe-id", b"spiffe://a/b"),
        ("x-attache-evidence", b"token"),
    ];
    assert_eq!(
        question.protected_headers(
            &[evidence.as_str()].into_iter(),
            &[&authorization].into_iter()
        ),
        Ok(vec![
            "authorization",
            "x-attache-spiffe-id",
            "x-attache-evidence"
        ])
    );
    question.headers = vec![("x_attache_spiffe_id", b"spiffe://a/b")];
    assert_eq!(
        question.protected_headers(&[].into_iter(), &[].into_iter()),
        Err(DenyReason::HeaderAmbiguous)
    );
    let api_key = HeaderName::parse("x-api-key").unwrap();
    question.headers = vec![("x-api_key", b"k")];
    assert_eq!(
        question.protected_headers(&[].into_iter(), &[&api_key].into_iter()),
        Err(DenyReason::HeaderAmbiguous)
    );
}

#[test]
fn protected_parameters_are_found_in_every_spelling_and_hidden_ones_are_refused() {
    let key = ParameterName::parse("key").unwrap();
    let protected = |target| {
        let question = Question {
            target,
            ..question("maps.example.com", None)
        };
        question.protected_parameters(&[&key].into_iter())
    };
    assert_eq!(protected("/a"), Ok(vec![]));
    assert_eq!(protected("/key?a=key"), Ok(vec![]));
    let spellings = protected("/?KEY=1&%6bey=2&key=3&key=4&b=5&key[]=6");
    assert_eq!(spellings, Ok(vec!["KEY", "%6bey", "key", "key[]"]));
    assert_eq!(
        protected("/?a=1;key=2"),
        Err(DenyReason::ParameterAmbiguous)
    );
    let target = Question {
        target: "/?a=1;key=2",
        ..question("maps.example.com", None)
    };
    assert_eq!(target.protected_parameters(&[].into_iter()), Ok(vec![]));
}

#[test]
fn a_header_that_overrides_method_or_path_is_denied_or_stripped_in_any_case() {
    for name in [
        "x-original-method",
        "X-Forwarded-Uri",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
        "X-HTTP-Method-Override",
    ] {
        let mut question = question("api.stripe.com", None);
        question.headers = vec![("accept", b"*/*"), (name, b"DELETE"), (name, b"PUT")];
        assert_eq!(
            question.overriding_headers(OverrideHeaders::Deny),
            Err(DenyReason::RequestOverridden)
        );
        assert_eq!(
            question.overriding_headers(OverrideHeaders::Strip),
            Ok(vec![name])
        );
    }
    let mut question = question("api.stripe.com", None);
    question.headers = vec![("x-http_method-override", b"DELETE")];
    assert_eq!(
        question.overriding_headers(OverrideHeaders::Strip),
        Err(DenyReason::HeaderAmbiguous)
    );
    question.headers = vec![("x-http-methods", b"GET"), ("x-original-urls", b"/")];
    assert_eq!(
        question.overriding_headers(OverrideHeaders::Deny),
        Ok(vec![])
    );
}

#[test]
fn a_header_that_names_another_host_is_refused() {
    let ambiguous = Refusal::Denied(DenyReason::RequestAmbiguous(AmbiguousRequest::Host));
    for (headers, is_refused) in [
        (vec![(":authority", &b"api.stripe.com"[..])], false),
        (vec![("host", &b"api.stripe.com"[..])], false),
        (vec![("host", &b"evil.example"[..])], true),
        (
            vec![
                (":authority", &b"api.stripe.com"[..]),
                (":authority", b"evil.example"),
            ],
            true,
        ),
        (
            vec![("host", &b"api.stripe.com"[..]), ("host", b"evil.example")],
            true,
        ),
    ] {
        let question = Question {
            headers,
            headers_are_known: true,
            ..question("api.stripe.com", Some("https://api.stripe.com"))
        };
        let understood = question.understand(DestinationRule::VouchedByRoute);
        assert_eq!(understood.err(), is_refused.then(|| ambiguous.clone()));
    }
    // What a proxy joined is no host.
    let joined = question(
        "api.stripe.com,evil.example",
        Some("https://api.stripe.com"),
    );
    let refused = joined
        .understand(DestinationRule::VouchedByRoute)
        .unwrap_err();
    assert_eq!(refused, ambiguous);
}
