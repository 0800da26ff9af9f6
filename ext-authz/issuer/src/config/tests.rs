use super::*;

#[test]
fn https_urls_name_an_issuer_with_and_without_a_path() {
    for (text, path) in [
        ("https://attache.example.com", ""),
        ("https://attache.example.com:8443", ""),
        ("https://attache.example.com/tenant", "/tenant"),
        ("https://attache.example.com/a/b-c_d.e~f", "/a/b-c_d.e~f"),
        ("https://[2001:db8::1]/attache", "/attache"),
        ("http://127.0.0.1:8300", ""),
        ("http://[::1]:8300/attache", "/attache"),
        ("http://localhost:8300", ""),
    ] {
        let url = IssuerUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((url.as_str(), url.path()), (text, path));
    }
}

#[test]
fn plaintext_is_refused_off_the_loopback() {
    for text in [
        "http://attache.example.com",
        "http://10.0.0.1",
        "ftp://attache.example.com",
    ] {
        assert_eq!(
            IssuerUrl::parse(text),
            Err(InvalidIssuerUrl::Plaintext(text.to_owned()))
        );
    }
}

#[test]
fn a_url_that_two_readers_could_spell_differently_is_refused() {
    for text in [
        "",
        "attache.example.com",
        "HTTPS://attache.example.com",
        "https://Attache.example.com",
        "https://attache.example.com:443",
        " https://attache.example.com",
        "https://attache.example.com/a/../b",
        "https:/attache.example.com",
    ] {
        let refused = IssuerUrl::parse(text);
        assert!(
            matches!(refused, Err(InvalidIssuerUrl::Malformed(_))),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn a_path_with_a_slash_at_its_end_or_odd_characters_is_refused() {
    for text in [
        "https://attache.example.com/",
        "https://attache.example.com/a/",
        "https://attache.example.com//a",
        "https://attache.example.com/{tenant}",
        "https://attache.example.com/a%2fb",
        "https://attache.example.com/a:b",
    ] {
        assert_eq!(
            IssuerUrl::parse(text),
            Err(InvalidIssuerUrl::Path(text.to_owned()))
        );
    }
}

#[test]
fn user_query_and_fragment_are_refused_and_a_password_is_not_repeated() {
    for text in [
        "https://a.example?x=1",
        "https://a.example#x",
        "https://me:hunter2@a.example",
    ] {
        let refused = IssuerUrl::parse(text).unwrap_err();
        assert!(
            matches!(refused, InvalidIssuerUrl::Decorated(_)),
            "{text}: {refused:?}"
        );
        assert!(!refused.to_string().contains("hunter2"));
    }
}

#[test]
fn a_url_that_aws_would_not_take_is_refused() {
    let text = format!("https://attache.example.com/{}", "a".repeat(MAX_URL_BYTES));
    assert_eq!(
        IssuerUrl::parse(&text),
        Err(InvalidIssuerUrl::TooLong(text.len()))
    );
}

#[test]
fn environments_are_short_lower_case_names_without_underscore() {
    for name in ["prod", "eu-west-1", "0"] {
        assert_eq!(
            Environment::parse(name).map(|read| read.as_str().to_owned()),
            Ok(name.to_owned())
        );
    }
    for name in ["", "Prod", "a_b", "a b", "ü", "a".repeat(33).as_str()] {
        assert!(Environment::parse(name).is_err(), "{name}");
    }
}
