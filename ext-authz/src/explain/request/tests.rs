use attache_edge::explain::{Call, Caller};
use clap::Parser;

use super::RequestArgs;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    request: RequestArgs,
}

fn call(words: &[&str]) -> Call {
    read(words).0
}

fn read(words: &[&str]) -> (Call, Vec<String>) {
    let cli = Cli::try_parse_from(["explain"].iter().chain(words)).unwrap();
    cli.request.call(Caller::Request {}).unwrap()
}

#[test]
fn a_request_of_options_goes_by_tls_to_443_unless_they_say_otherwise() {
    for (words, origin, authority) in [
        (
            &["--host", "api.test"][..],
            "https://api.test:443",
            "api.test",
        ),
        (
            &["--host", "api.test", "--port", "8443"],
            "https://api.test:8443",
            "api.test",
        ),
        (
            &["--host", "api.test", "--plaintext"],
            "http://api.test:80",
            "api.test",
        ),
        (
            &["--host", "API.test:8443"],
            "https://api.test:8443",
            "API.test:8443",
        ),
        (
            &["--host", "::1", "--plaintext", "--port", "8080"],
            "http://[::1]:8080",
            "[::1]",
        ),
        (
            &["--host", "two words"],
            "https://two words:443",
            "two words",
        ),
    ] {
        let call = call(words);
        assert_eq!(
            (call.origin.as_str(), call.authority.as_str()),
            (origin, authority),
            "{words:?}"
        );
        assert_eq!((call.method.as_str(), call.target.as_str()), ("GET", "/"));
    }
}

#[test]
fn a_curl_command_line_asks_the_same() {
    for (url, origin, target) in [
        ("https://api.test", "https://api.test:443", "/"),
        (
            "https://api.test/v1/x?q=1#f",
            "https://api.test:443",
            "/v1/x?q=1",
        ),
        ("https://api.test:8443/v1", "https://api.test:8443", "/v1"),
        (
            "https://user:pass@api.test/v1",
            "https://api.test:443",
            "/v1",
        ),
        // An application that leaves TLS to Envoy.
        ("http://api.test/v1", "https://api.test:443", "/v1"),
        ("http://api.test:80/v1", "https://api.test:443", "/v1"),
        ("http://api.test:8080/v1", "https://api.test:8080", "/v1"),
        ("api.test?q", "https://api.test:443", "/?q"),
        // As curl sends it.
        (
            "https://api.test/a/../b/./c",
            "https://api.test:443",
            "/b/c",
        ),
        ("https://api.test/a/..", "https://api.test:443", "/"),
        ("https://api.test/a//b", "https://api.test:443", "/a//b"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]:443", "/x"),
    ] {
        let call = call(&["--", "curl", url]);
        assert_eq!(
            (call.origin.as_str(), call.target.as_str()),
            (origin, target),
            "{url}"
        );
    }
    let (plain, notes) = read(&["--plaintext", "--", "curl", "http://lab.test:8080/"]);
    assert_eq!(
        (plain.origin.as_str(), notes.len()),
        ("http://lab.test:8080", 0)
    );
    let as_is = call(&["--", "curl", "--path-as-is", "https://api.test/a/../b"]);
    assert_eq!(as_is.target, "/a/../b");
}

#[test]
fn what_was_supposed_is_told() {
    let (_, notes) = read(&["--", "curl", "http://api.test/"]);
    assert!(notes[0].contains("--plaintext"), "{notes:?}");
    let (_, notes) = read(&["--", "curl", "https://u:secret@api.test/"]);
    assert!(
        notes.len() == 1 && !notes[0].contains("secret"),
        "{notes:?}"
    );
}

#[test]
fn the_host_header_is_where_a_request_says_it_goes() {
    let call = call(&[
        "--",
        "curl",
        "-H",
        "Host: api.test",
        "https://127.0.0.1:10000/v1",
    ]);
    assert_eq!(
        (call.authority.as_str(), call.origin.as_str()),
        ("api.test", "https://api.test:443")
    );
    assert!(call.headers.iter().all(|(name, _)| name != "host"));
}

#[test]
fn a_scheme_that_is_not_http_is_refused() {
    let cli = Cli::try_parse_from(["explain", "--", "curl", "ftp://a.test/"]).unwrap();
    let error = cli
        .request
        .call(Caller::Request {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("ftp"), "{error}");
}

#[test]
fn an_international_host_is_asked_in_the_form_that_curl_sends() {
    let call = call(&["--", "curl", "https://bücher.example:8443/x"]);
    assert_eq!(call.authority, "xn--bcher-kva.example:8443");
    // A header goes out as it is written.
    let named = read(&[
        "--",
        "curl",
        "-H",
        "Host: bücher.example",
        "https://a.test/",
    ])
    .0;
    assert_eq!(named.authority, "bücher.example");
}
