//! Origins and the hosts that mean them.

use crate::request::Authority;

use super::Origin;

fn meant(origin: &str, asked: &str) -> bool {
    let origin = Origin::parse(origin).expect("an origin");
    origin.is_meant_by(&Authority::parse(asked).expect("an authority"))
}

#[test]
fn a_host_means_its_own_origin_alone() {
    for (origin, asked, expected) in [
        ("https://api.example.com", "api.example.com", true),
        ("https://api.example.com", "API.example.com.:443", true),
        ("https://api.example.com", "api.example.com:80", true),
        ("https://api.example.com", "api.example.com:8443", false),
        ("https://api.example.com", "example.com", false),
        ("https://api.example.com", "x.api.example.com", false),
        ("https://*.example.com", "a.example.com", true),
        ("https://*.example.com", "a.b.example.com", true),
        ("https://*.example.com", "example.com", false),
        ("https://*.example.com", "aexample.com", false),
        ("http://internal:8080", "internal:8080", true),
        ("http://internal:8080", "internal:8081", false),
        ("http://[fd00::1]:8080", "[fd00:0::1]:8080", true),
    ] {
        assert_eq!(meant(origin, asked), expected, "{origin} {asked}");
    }
}

#[test]
fn what_is_no_origin_is_refused() {
    for text in [
        "api.example.com",
        "ftp://a",
        "https://",
        "https://a/b",
        "https://u@a",
        "HTTPS://a",
        "https://*.",
        "https://a:0",
    ] {
        assert!(Origin::parse(text).is_none(), "{text}");
    }
}
