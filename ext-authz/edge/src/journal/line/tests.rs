use attache_core::{
    attributes::{AttributeValue, Attributes},
    event::{CheckedCondition, ConditionOutcome, Reported, TokenRequest},
    time::Timestamp,
};

use super::*;

/// An event with something in each field.
fn full(text: &str) -> Event {
    let text = || CompactString::from(text);
    let some = || Some(text());
    let mut attributes = Attributes::new();
    attributes.insert("k8s.namespace", AttributeValue::one(text()));
    attributes.insert("claims.groups", AttributeValue::many([text(), text()]));
    let timestamp = Timestamp::from_seconds(1_781_408_842);
    Event {
        event_id: text(),
        timestamp,
        workload_svid: some(),
        workload_type: some(),
        target_service: text(),
        policy_matched: some(),
        token_issued: true,
        token_id: some(),
        ttl_seconds: Some(900),
        request_method: text(),
        request_path: text(),
        outcome: Outcome::Denied,
        latency_ms: 3.2,
        code: some(),
        policy: some(),
        trust_provider: some(),
        credential_provider: some(),
        audience: some(),
        attribute: some(),
        expected: some(),
        actual: some(),
        mode: Mode::Observe,
        would_be_outcome: Some(Outcome::Permitted),
        would_be_policy: some(),
        conditions: vec![CheckedCondition {
            name: text(),
            outcome: ConditionOutcome::NotMet,
        }],
        policy_revision: text(),
        edge: text(),
        listener: text(),
        source_address: some(),
        count: u64::MAX,
        repeats: some(),
        target_origin: some(),
        attributes: Some(attributes),
        attested_by: vec![text(), text()],
        record: Record::Cached,
        lease: some(),
        reported: Some(Reported {
            epoch: text(),
            sequence: 7,
            last_sequence: Some(9),
            asked_at: timestamp,
            status: Some(200),
        }),
        token_request: Some(TokenRequest {
            audience: some(),
            resource: None,
            address: some(),
        }),
    }
}

/// That the line is what serde writes.
fn is_the_same(event: &Event) {
    let mut line = b"before".to_vec();
    write(&mut line, event).unwrap();
    let expected = format!("before{}\n", serde_json::to_string(event).unwrap());
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}

#[test]
fn a_line_is_what_serde_writes_of_the_event() {
    let outcomes = [Outcome::Permitted, Outcome::Denied, Outcome::Error];
    for outcome in outcomes {
        is_the_same(&Event::blank(
            "evt_1".into(),
            Timestamp::from_seconds(0),
            outcome,
        ));
        is_the_same(&Event {
            outcome,
            would_be_outcome: Some(outcome),
            ..full("text")
        });
    }
    for latency_ms in [0.0, -0.0, 1e300, f64::MIN_POSITIVE, f64::NAN] {
        is_the_same(&Event {
            latency_ms,
            ..full("text")
        });
    }
}

#[test]
fn whatever_a_text_holds_its_line_is_what_serde_writes() {
    for character in '\0'..='\u{2ff}' {
        for length in [0, 15, 16, 17, 40] {
            let text = "a".repeat(length);
            is_the_same(&full(&format!("{text}{character}")));
            is_the_same(&full(&format!("{character}{text}")));
        }
    }
    for text in ["", "\u{2028}\u{1f512}", "\",\"outcome\":\"permitted", "\\"] {
        is_the_same(&full(text));
    }
}
