use super::*;

fn target(host: &str, port: u16, transport: Transport) -> TokenTarget {
    TokenTarget {
        host: Host::parse(host).unwrap(),
        port,
        transport,
    }
}

#[test]
fn a_resource_names_scheme_host_and_port() {
    for (url, expected) in [
        (
            "https://api.example.com",
            target("api.example.com", 443, Transport::Tls),
        ),
        (
            "https://api.example.com/",
            target("api.example.com", 443, Transport::Tls),
        ),
        (
            "https://api.example.com:8443",
            target("api.example.com", 8443, Transport::Tls),
        ),
        (
            "http://internal:8080",
            target("internal", 8080, Transport::Plaintext),
        ),
    ] {
        assert_eq!(TokenTarget::parse(url), Ok(expected), "{url}");
    }
}

#[test]
fn a_resource_that_says_more_or_less_than_an_origin_is_refused() {
    for url in [
        "",
        "api.example.com",
        "ftp://api.example.com",
        "HTTPS://api.example.com",
        "https://",
        "https:///",
        "https://api.example.com//",
        "https://api.example.com/v1",
        "https://api.example.com?x",
        "https://api.example.com#x",
        "https://user@api.example.com",
        "https://api.example.com:0x1",
        "https://*.example.com",
    ] {
        assert_eq!(TokenTarget::parse(url), Err(InvalidTarget), "{url}");
    }
}

#[test]
fn several_audiences_are_told_as_one_text() {
    let plan = TokenPlan {
        form: TokenForm::JwtSvid,
        audiences: ["one".into(), "two".into()].into(),
        ttl: Duration::from_secs(300),
        algorithm: Algorithm::Es256,
        claims: CustomClaims::default(),
    };
    assert_eq!(plan.audience(), "one two");
}
