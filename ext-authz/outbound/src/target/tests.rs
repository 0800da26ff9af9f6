use super::*;

#[test]
fn calls_go_over_tls_or_to_this_machine() {
    for url in [
        "https://issuer.example/keys?version=2",
        "https://127.0.0.1:8443/keys",
        "http://127.0.0.1:8080/keys",
        "http://127.8.9.10/keys",
        "http://[::1]:8080/keys",
        "http://localhost/keys",
    ] {
        assert!(parse_target(url).is_ok(), "{url}");
    }
    for url in [
        "http://issuer.example/keys",
        "http://10.0.0.1/keys",
        "http://localhost.example/keys",
        "http://127.0.0.1.example/keys",
        "http://[::ffff:127.0.0.1]/keys",
        "http://0.0.0.0/keys",
        "ftp://127.0.0.1/keys",
    ] {
        assert_eq!(parse_target(url), Err(InvalidTarget::Scheme), "{url}");
    }
    for url in ["", "keys", "/keys", "file:///keys", "https://", "data:,x"] {
        assert_eq!(parse_target(url), Err(InvalidTarget::Malformed), "{url:?}");
    }
    for url in [
        "https://user@a.example/",
        "https://:secret@a.example/",
        "https://a.example/#x",
    ] {
        let refused = Err(InvalidTarget::UserInformationOrFragment);
        assert_eq!(parse_target(url), refused, "{url}");
    }
}
