use super::*;
use crate::journal::tests::denied;

#[test]
fn every_character_comes_out_printable_and_a_second_pass_changes_nothing() {
    for character in '\0'..=char::MAX {
        let once = printable(character.to_string().as_bytes(), 64);
        assert!(once.chars().all(is_printable), "{:x}", u32::from(character));
        assert_eq!(printable(once.as_bytes(), 64), once);
    }
}

#[test]
fn what_a_terminal_obeys_becomes_a_visible_escape() {
    let shown = |text: &str| printable(text.as_bytes(), 200);
    assert_eq!(
        shown("/a\x1b[2J\x1b]0;owned\x07"),
        "/a\\u{1b}[2J\\u{1b}]0;owned\\u{7}"
    );
    assert_eq!(
        shown("one\ntwo\r\tthree\0"),
        "one\\u{a}two\\u{d}\\u{9}three\\u{0}"
    );
    assert_eq!(shown("\u{7f}\u{9b}31m"), "\\u{7f}\\u{9b}31m");
    assert_eq!(
        shown("user\u{202e}gpj.exe\u{2066}"),
        "user\\u{202e}gpj.exe\\u{2066}"
    );
    assert_eq!(
        shown("stripe\u{200b}.com\u{feff}"),
        "stripe\\u{200b}.com\\u{feff}"
    );
    assert_eq!(shown("zahlung/größe/支払い/🙂"), "zahlung/größe/支払い/🙂");
}

#[test]
fn bytes_that_are_no_utf_8_stay_visible() {
    assert_eq!(
        printable(b"/v1/\xff\xc3(\x80", 200),
        "/v1/\\x{ff}\\x{c3}(\\x{80}"
    );
}

#[test]
fn long_text_is_cut_at_a_whole_escape_and_says_how_much_is_missing() {
    let long = "\x1b".repeat(60 * 1024);
    let shown = printable(long.as_bytes(), 100);
    assert!(shown.len() <= 100, "{shown}");
    let escapes = shown.matches("\\u{1b}").count();
    assert_eq!(
        shown,
        format!(
            "{}…(+{} bytes)",
            "\\u{1b}".repeat(escapes),
            60 * 1024 - escapes
        )
    );
    assert_eq!(printable(shown.as_bytes(), 100), shown);
}

#[test]
fn text_of_exactly_the_limit_is_left_alone() {
    for limit in [32, 33, 500] {
        let exact = "ä".repeat(limit / 2);
        assert_eq!(printable(exact.as_bytes(), limit), exact);
        let over = format!("{exact}abc");
        let cut = printable(over.as_bytes(), limit);
        assert!(cut.len() <= limit && cut.ends_with(" bytes)"), "{cut}");
    }
}

#[test]
fn every_text_of_an_event_is_made_printable() {
    let hostile = "\x1b[2J\u{202e}".repeat(6000);
    let mut event = denied(1);
    event.latency_ms = f64::NAN;
    let mut fields = serde_json::to_value(&event).unwrap();
    for (name, value) in fields.as_object_mut().unwrap() {
        let keeps_its_words = ["timestamp", "outcome", "mode", "would_be_outcome"];
        let is_text = value.is_string() || value.is_null();
        let no_text = ["ttl_seconds", "attributes"];
        if is_text && !keeps_its_words.contains(&name.as_str()) && !no_text.contains(&name.as_str())
        {
            *value = hostile.clone().into();
        }
    }
    fields["attributes"] =
        serde_json::json!({ &hostile: &hostile, "several": [&hostile, &hostile] });
    fields["latency_ms"] = 1.0.into();
    let mut event: Event = serde_json::from_value(fields).unwrap();
    event.latency_ms = f64::INFINITY;
    make_printable(&mut event);
    let line = serde_json::to_string(&event).unwrap();
    assert!(line.chars().all(is_printable));
    assert!(line.len() < 28 * 2 * MAX_FIELD_BYTES, "{}", line.len());
    assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
}

#[test]
fn a_byte_that_is_not_shown_as_itself_is_found_wherever_it_stands() {
    for length in 0..50 {
        let text = vec![b'~'; length];
        assert!(is_plain(&text));
        for at in 0..length {
            for byte in [b'\0', b'\x1b', b'\x1f', b'\x7f', b'\x80', b'\xff'] {
                let mut text = text.clone();
                text[at] = byte;
                assert!(!is_plain(&text), "{byte} at {at} of {length}");
            }
        }
    }
}
