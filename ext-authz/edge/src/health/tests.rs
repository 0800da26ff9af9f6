use super::*;

#[test]
fn json_is_for_those_who_name_it() {
    for (accept, json) in [
        ("*/*", false),
        ("", false),
        ("text/plain", false),
        ("application/json", true),
        ("text/html, application/json;q=0.9", true),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        assert_eq!(wants_json(&headers), json, "{accept}");
    }
}

#[test]
fn the_text_says_what_blocks_and_then_what_there_is_to_know() {
    let ready = Ready {
        ready: false,
        blocked_by: vec!["start".to_owned(), "audit-journal".to_owned()],
        notes: vec!["the policy directory is refused".to_owned()],
    };
    let text = "not ready: waiting for start, audit-journal\nthe policy directory is refused\n";
    assert_eq!(ready.text(), text);
}
