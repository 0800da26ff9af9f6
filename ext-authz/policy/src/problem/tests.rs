use super::{printable, quoted, secret};

/// The line with what is hidden between `«` and `»`.
fn shown(line: &str) -> String {
    let hidden = secret::hidden(line);
    let mut shown = String::new();
    let mut inside = false;
    for (at, letter) in line.char_indices() {
        let hides = hidden.iter().any(|range| range.contains(&at));
        match (inside, hides) {
            (false, true) => shown.push('«'),
            (true, false) => shown.push('»'),
            (false, false) | (true, true) => {}
        }
        inside = hides;
        shown.push(letter);
    }
    if inside {
        shown.push('»');
    }
    shown
}

#[test]
fn what_a_terminal_could_obey_or_misplace_is_escaped() {
    for (text, expected) in [
        (
            "plain, bücher, 電話, e\u{301}",
            "plain, bücher, 電話, e\u{301}",
        ),
        ("\u{1b}[2J", "\\u{1b}[2J"),
        ("a\nb\tc\rd\0", "a\\nb\\tc\\rd\\0"),
        ("\u{9b}31m", "\\u{9b}31m"),
        (
            "\u{202e}\u{2066}\u{200b}\u{feff}",
            "\\u{202e}\\u{2066}\\u{200b}\\u{feff}",
        ),
        ("a\u{2028}b", "a\\u{2028}b"),
        ("back\\slash \"quoted\"", "back\\slash \"quoted\""),
    ] {
        assert_eq!(printable(text), expected);
    }
    let long = "ü".repeat(5_000);
    assert_eq!(printable(&long).chars().count(), 2_001);
}

#[test]
fn a_quoted_value_is_short_and_no_secret() {
    assert_eq!(quoted("a\"b\u{202e}"), r#""a\"b\u{202e}""#);
    assert_eq!(quoted(&"a".repeat(100)).chars().count(), 83);
    assert_eq!(quoted("ghp_notarealtokennotareal"), "\"[hidden]\"");
}

#[test]
fn secrets_are_known_by_their_form() {
    for text in [
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln",
        "glpat-notarealtokenatall",
        "{\"token\": \"hvs.notarealtokenatall\"}",
    ] {
        assert!(secret::is_secret(text), "{text}");
    }
    for text in [
        "ghp_",
        "a token that begins with ghp_ and goes on",
        "eyJust a text with enough letters",
        "-----BEGIN PUBLIC KEY-----\nMIIE",
        "spiffe://cluster.local/ns/production/sa/payment-svc",
        "https://token.actions.githubusercontent.com",
    ] {
        assert!(!secret::is_secret(text), "{text}");
    }
}

#[test]
fn secrets_are_known_by_their_name() {
    for name in [
        "password",
        "clientSecret",
        "client_secret",
        "API-KEY",
        "accessToken",
        "key",
        "privateKey",
    ] {
        assert!(secret::is_secret_name(name), "{name}");
    }
    for name in [
        "keys",
        "kid",
        "credentialProvider",
        "trustProviders",
        "tokens",
        "jwksUrl",
        "monkey",
        "publicKey",
    ] {
        assert!(!secret::is_secret_name(name), "{name}");
    }
}

#[test]
fn a_shown_line_hides_secrets_wherever_they_stand() {
    for expected in [
        "  password: «hunter2 and more»",
        "spec: {password: «hunter2», type: a}",
        "\"clientSecret\": «\"hunter2\"», a: b",
        "api_key : «'hunter2'» # why",
        "token: «\"never closed»",
        "url: https://«me:hunter2»@host/path",
        "x: «ghp_notarealtokennotareal», y",
        "keys: [{kty: oct, k: «aHVudGVyMg»}]",
        "host: api.example # https://docs.example",
        "PASSWORD=«hunter2»",
        "«    MIIEvQIBADANBgkqhkiG9w0B/+AQEFAASCBKcwggSj»",
    ] {
        let line = expected.replace(['«', '»'], "");
        assert_eq!(shown(&line), expected);
    }
}
