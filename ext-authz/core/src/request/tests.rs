use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use proptest::prelude::*;

use super::*;

fn host(text: &str) -> Result<String, AmbiguousRequest> {
    Host::parse(text).map(|host| host.as_str().to_string())
}

fn authority(text: &str) -> Option<(String, Option<u16>)> {
    let authority = Authority::parse(text).ok()?;
    Some((authority.host.as_str().to_string(), authority.port))
}

fn segments(target: &str) -> Vec<String> {
    let path = RequestPath::parse(target).expect("a plain path");
    path.segments()
        .map(|segment| segment.into_owned())
        .collect()
}

#[test]
fn most_paths_are_told_by_one_look() {
    for (target, path) in [
        ("/", Some("/")),
        ("/v1/charges?a=/../b", Some("/v1/charges")),
        ("/v1/report.pdf", Some("/v1/report.pdf")),
        ("/v1/@me/~x/", Some("/v1/@me/~x/")),
        ("/v1/.well-known", None),
        ("/v1/a%40b", None),
        ("/v1#x", None),
        ("/v1?a#x", None),
        ("*", None),
        ("", None),
    ] {
        assert_eq!(plain(target), path, "{target}");
    }
}

#[test]
fn a_host_has_one_spelling() {
    for (written, spelled) in [
        ("api.stripe.com", "api.stripe.com"),
        ("API.Stripe.COM", "api.stripe.com"),
        ("api.stripe.com.", "api.stripe.com"),
        ("payment_service", "payment_service"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[2001:DB8:0:0::0:1]", "2001:db8::1"),
    ] {
        assert_eq!(host(written).as_deref(), Ok(spelled), "{written}");
    }
}

#[test]
fn a_host_that_two_resolvers_read_differently_is_refused() {
    for text in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a b",
        "a/b",
        "a\\b",
        "a%2eb",
        "a@b",
        "a:80",
        "a\0b",
        "a\nb",
        "bücher.example",
        "-a",
        "a-",
        "127.1",
        "127.0.0.1.",
        "010.0.0.1",
        "1",
        "0x7f000001",
        "0X7F.0x1",
        "0x",
        "1.2.3.4.5",
        "256.0.0.1",
        "[a]",
        "[127.0.0.1]",
        "[::1",
        "::1]",
        "[[::1]]",
        "[fe80::1%25eth0]",
        "::ffff:10.0.0.1",
        "[::ffff:a00:1]",
        "*.example.com",
        "a,b",
        "a#b",
        "a?b",
    ] {
        assert_eq!(host(text), Err(AmbiguousRequest::Host), "{text:?}");
    }
    assert!(host(&"a".repeat(63)).is_ok());
    assert!(host(&"a".repeat(64)).is_err());
    assert!(host(&vec!["a".repeat(49); 5].join(".")).is_ok());
    assert!(host(&vec!["a".repeat(50); 5].join(".")).is_err());
}

#[test]
fn an_authority_is_a_host_and_perhaps_a_port() {
    for (text, host, port) in [
        ("api.stripe.com", "api.stripe.com", None),
        ("api.stripe.com:443", "api.stripe.com", Some(443)),
        ("API.stripe.com.:8443", "api.stripe.com", Some(8443)),
        ("127.0.0.1:1", "127.0.0.1", Some(1)),
        ("[::1]", "::1", None),
        ("[::1]:65535", "::1", Some(65535)),
    ] {
        assert_eq!(authority(text), Some((host.to_string(), port)), "{text}");
    }
}

#[test]
fn an_authority_with_more_than_that_is_refused() {
    for text in [
        "",
        ":80",
        "a:",
        "a:0",
        "a:080",
        "a:+80",
        "a:-1",
        "a:65536",
        "a:99999999999999999999",
        "a:8a",
        "a: 80",
        "a:80 ",
        "a:80:90",
        "::1",
        "::1:80",
        "[::1]80",
        "[::1]:",
        "[::1]:0",
        "[::1",
        "[]",
        "[]:80",
        "user@a",
        "user:secret@a:80",
        "a/b:80",
        "a:80/",
        "a:８０",
        "http://a",
        "[a]:80",
        "[127.0.0.1]:80",
    ] {
        assert_eq!(authority(text), None, "{text:?}");
    }
}

#[test]
fn a_path_is_cut_before_its_query() {
    let path = |target| RequestPath::parse(target).map(RequestPath::as_str);
    assert_eq!(path("/v1/charges?limit=3"), Ok("/v1/charges"));
    assert_eq!(path("/v1/a%20b"), Ok("/v1/a%20b"));
    assert_eq!(path("/?../..//;%00"), Ok("/"));
    assert_eq!(without_query("/a?token=x"), "/a");
    assert_eq!(without_query("/a#x?y"), "/a");
    assert_eq!(without_query(""), "");
}

#[test]
fn a_path_that_two_servers_read_differently_is_refused() {
    for target in [
        "",
        "*",
        "a",
        "http://a/b",
        "//",
        "/a//b",
        "/.",
        "/..",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/a/..?x",
        "/%2e%2e/a",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a;b",
        "/a%3Bb",
        "/a%00",
        "/a%0d%0a",
        "/a%7f",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%+f",
        "/a%é",
        "/%25",
        "/%41",
        "/%7E",
        "/a%3fb",
        "/a%23b",
        "/a b",
        "/a\tb",
        "/é",
        "/a#b",
        "/a?b#c",
    ] {
        assert_eq!(
            RequestPath::parse(target),
            Err(AmbiguousRequest::Path),
            "{target:?}"
        );
    }
    assert!(RequestPath::parse(&format!("/{}", "a".repeat(MAX_PATH_BYTES - 1))).is_ok());
    assert!(RequestPath::parse(&format!("/{}", "a".repeat(MAX_PATH_BYTES))).is_err());
}

#[test]
fn a_prefix_matches_by_segment() {
    let covers = |prefix: &str, path: &str| {
        let path = RequestPath::parse(path).expect("a plain path");
        PathPrefix::parse(prefix).expect("a prefix").covers(path)
    };
    for (prefix, path) in [
        ("/", "/"),
        ("/", "/x"),
        ("/v1", "/v1"),
        ("/v1", "/v1/"),
        ("/v1", "/v1/x"),
        ("/v1/", "/v1"),
    ] {
        assert!(covers(prefix, path), "{prefix} covers {path}");
    }
    for (prefix, path) in [
        ("/v1", "/v10"),
        ("/v1", "/v"),
        ("/v1", "/V1"),
        ("/v1/x", "/v1"),
        ("/v1", "/"),
    ] {
        assert!(!covers(prefix, path), "{prefix} does not cover {path}");
    }
}

#[test]
fn an_escape_is_no_way_around_a_prefix() {
    let secret = PathPrefix::parse("/v1/secrets:destroy/caf%c3%a9").expect("a prefix");
    for path in [
        "/v1/secrets%3Adestroy/caf%C3%A9",
        "/v1/secrets%3adestroy/caf%c3%a9/x",
    ] {
        assert!(
            secret.covers(RequestPath::parse(path).expect("a plain path")),
            "{path}"
        );
    }
    assert_eq!(secret.as_str(), "/v1/secrets:destroy/caf%C3%A9");
    assert_eq!(
        segments("/v1/secrets%3adestroy/caf%c3%a9?x"),
        ["v1", "secrets:destroy", "caf%C3%A9"]
    );
    assert_eq!(
        segments("/a%20b/me%40example.com/"),
        ["a%20b", "me@example.com", ""]
    );
    assert_eq!(segments("/"), [""]);
}

#[test]
fn a_longer_prefix_is_more_specific() {
    let prefix = |text| PathPrefix::parse(text).expect("a prefix");
    assert_eq!(
        ["/", "/v1", "/v1/", "/v1/x"].map(|text| prefix(text).segments()),
        [0, 1, 1, 2]
    );
    assert_eq!(prefix("/").as_str(), "/");
    assert_eq!(prefix("/v1/").as_str(), "/v1");
    assert!(PathPrefix::parse("/v1?x").is_err());
    assert!(PathPrefix::parse("v1").is_err());
}

#[test]
fn a_method_is_a_token_in_capitals() {
    for method in ["GET", "PROPFIND", "M-SEARCH"] {
        assert!(is_method(method), "{method}");
    }
    let long = "A".repeat(33);
    for method in [
        "",
        "get",
        "Delete",
        "GET ",
        "G ET",
        "GÉT",
        "GET\r\n",
        "(",
        long.as_str(),
    ] {
        assert!(!is_method(method), "{method:?}");
    }
}

proptest! {
    #[test]
    fn the_quick_look_at_a_path_says_what_the_whole_reading_says(
        target in "(/[a-z.%;?#/\\\\\u{e4} 0-9]{0,12}|[ -~]{0,24})"
    ) {
        if let Some(path) = plain(&target) {
            prop_assert_eq!(RequestPath::parse_any(&target), Ok(RequestPath(path)));
        }
    }

    #[test]
    fn parsing_never_panics_and_its_answer_parses_again(text in "\\PC*") {
        if let Ok(host) = Host::parse(&text) {
            prop_assert_eq!(Host::parse(host.as_str()), Ok(host));
        }
        if let Ok(authority) = Authority::parse(&text) {
            prop_assert_eq!(Host::parse(authority.host.as_str()), Ok(authority.host));
        }
        let _ = RequestPath::parse(&text);
        let _ = PathPrefix::parse(&text);
    }

    #[test]
    fn hosts_and_authorities_of_hostile_alphabets_never_panic(text in "[a-f0-9x.:@\\[\\]%-]{0,40}") {
        if let Ok(Authority { host, port: Some(port) }) = Authority::parse(&text) {
            prop_assert!(port != 0);
            prop_assert_eq!(host.as_str(), host.as_str().to_ascii_lowercase());
        }
    }

    #[test]
    fn a_path_lies_under_each_of_its_own_prefixes(path in "(/[a-z@:%C3A9]{1,6}){1,5}") {
        let Ok(parsed) = RequestPath::parse(&path) else { return Ok(()) };
        for (at, _) in path.match_indices('/').skip(1) {
            let prefix = PathPrefix::parse(path.split_at(at).0).expect("a prefix of a plain path is plain");
            prop_assert!(prefix.covers(parsed));
            prop_assert_eq!(PathPrefix::parse(prefix.as_str()), Ok(prefix));
        }
    }
}

#[test]
fn escapes_that_are_not_utf8_have_two_readings() {
    for (path, sound) in [
        ("/caf%C3%A9", true),
        ("/%E2%82%AC/x", true),
        ("/%F0%9F%94%91", true),
        // A lone continuation, a cut sequence, an overlong slash and dot, a surrogate, beyond Unicode.
        ("/%A9", false),
        ("/caf%C3", false),
        ("/caf%C3/%A9", false),
        ("/%C0%AF", false),
        ("/%E0%80%AE", false),
        ("/%ED%A0%80", false),
        ("/%F5%80%80%80", false),
        ("/%FF", false),
    ] {
        assert_eq!(RequestPath::parse(path).is_ok(), sound, "{path}");
    }
}

#[test]
fn a_prefix_encloses_what_lies_under_it() {
    let prefix = |text: &str| PathPrefix::parse(text).expect("a prefix");
    for (outer, inner, encloses) in [
        ("/", "/", true),
        ("/", "/v1/x", true),
        ("/v1", "/v1", true),
        ("/v1", "/v1/x", true),
        ("/v1", "/v10", false),
        ("/v1/x", "/v1", false),
    ] {
        assert_eq!(
            prefix(outer).encloses(&prefix(inner)),
            encloses,
            "{outer} {inner}"
        );
    }
}

#[test]
fn the_beginnings_of_a_path_cover_it() {
    let beginning = |path, count| {
        let path = RequestPath::parse(path).expect("a path");
        let prefix = PathPrefix::beginning(path, count)?;
        assert!(prefix.covers(path), "{prefix:?}");
        assert_eq!(prefix.segments(), count);
        Some(prefix.as_str().to_string())
    };
    assert_eq!(beginning("/", 0).as_deref(), Some("/"));
    assert_eq!(beginning("/", 1), None);
    assert_eq!(beginning("/v1/a%40b/c?d", 0).as_deref(), Some("/"));
    assert_eq!(beginning("/v1/a%40b/c?d", 1).as_deref(), Some("/v1"));
    assert_eq!(beginning("/v1/a%40b/c?d", 2).as_deref(), Some("/v1/a@b"));
    assert_eq!(beginning("/v1/a%40b/c?d", 3).as_deref(), Some("/v1/a@b/c"));
    assert_eq!(beginning("/v1/a%40b/c?d", 4), None);
    assert_eq!(beginning("/v1/", 1).as_deref(), Some("/v1"));
    assert_eq!(beginning("/v1/", 2), None);
}

#[test]
fn a_header_that_overrides_the_request_is_known_in_every_spelling() {
    for name in [
        "x-http-method-override",
        "X-HTTP-Method-Override",
        "x_http_method-override",
        "X-Original-Method",
        "X-Forwarded-Method",
        "X-Original-URL",
        "X-Original-URI",
        "X-Forwarded-Uri",
        "X-Rewrite-URL",
        "X-Override-URL",
    ] {
        assert!(overrides_request(name), "{name}");
    }
    for name in [
        "x-forwarded-for",
        "x-http-method-overrides",
        "authorization",
        "",
    ] {
        assert!(!overrides_request(name), "{name}");
    }
}

#[test]
fn every_header_that_overrides_is_found_in_any_spelling() {
    for name in super::OVERRIDES {
        assert!(name.starts_with("x-"), "{name}");
        assert!(overrides_request(name));
        assert!(overrides_request(
            name.to_ascii_uppercase().replace('-', "_")
        ));
    }
}
