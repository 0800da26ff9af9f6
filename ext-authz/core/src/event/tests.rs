use super::*;

fn permitted() -> Event {
    Event {
        event_id: "evt_01hx9k2z3m4n5p6q7r8s9t0u".into(),
        timestamp: Timestamp::from_millis(1_781_408_842_341),
        workload_svid: Some("spiffe://cluster.local/ns/prod/sa/data-pipeline".into()),
        workload_type: Some("kubernetes-pod".into()),
        target_service: "internal-data-api.prod.svc.cluster.local".into(),
        policy_matched: Some("allow:data-pipeline:internal-api:read".into()),
        token_issued: true,
        token_id: Some("tok_prod_8a3f2c1e".into()),
        ttl_seconds: Some(900),
        request_method: "GET".into(),
        request_path: "/api/v1/records".into(),
        outcome: Outcome::Permitted,
        latency_ms: 3.2,
        code: None,
        policy: Some("data-pipeline-reads".into()),
        trust_provider: Some("cluster".into()),
        credential_provider: Some("internal-token".into()),
        audience: Some("internal-api".into()),
        attribute: None,
        expected: None,
        actual: None,
        mode: Mode::Enforce,
        would_be_outcome: None,
        would_be_policy: None,
        conditions: Vec::new(),
        policy_revision: "3f2a".into(),
        edge: "edge-1".into(),
        listener: "outbound".into(),
        source_address: Some("10.0.0.7:4312".into()),
        count: 1,
        repeats: None,
        target_origin: None,
        attributes: None,
        attested_by: Vec::new(),
        record: Record::Access,
        lease: None,
        reported: None,
        token_request: None,
    }
}

/// The published example, byte for byte but for its white space.
const PUBLISHED: &str = concat!(
    r#""event_id":"evt_01hx9k2z3m4n5p6q7r8s9t0u","timestamp":"2026-06-14T03:47:22.341Z","#,
    r#""workload_svid":"spiffe://cluster.local/ns/prod/sa/data-pipeline","workload_type":"kubernetes-pod","#,
    r#""target_service":"internal-data-api.prod.svc.cluster.local","#,
    r#""policy_matched":"allow:data-pipeline:internal-api:read","token_issued":true,"#,
    r#""token_id":"tok_prod_8a3f2c1e","ttl_seconds":900,"request_method":"GET","#,
    r#""request_path":"/api/v1/records","outcome":"permitted","latency_ms":3.2"#,
);

#[test]
fn the_published_fields_come_first_and_unchanged() {
    let text = serde_json::to_string(&permitted()).expect("an event serialises");
    assert!(
        text.starts_with(&alloc::format!("{{{PUBLISHED},")),
        "{text}"
    );
}

#[test]
fn what_is_not_known_is_null_and_not_left_out() {
    let event = Event {
        workload_svid: None,
        workload_type: None,
        policy_matched: None,
        token_issued: false,
        token_id: None,
        ttl_seconds: None,
        outcome: Outcome::Denied,
        source_address: None,
        ..permitted()
    };
    let text = serde_json::to_string(&event).expect("an event serialises");
    for member in [
        "workload_svid",
        "workload_type",
        "policy_matched",
        "token_id",
        "ttl_seconds",
        "source_address",
    ] {
        assert!(
            text.contains(&alloc::format!("\"{member}\":null")),
            "{member} in {text}"
        );
    }
    assert!(text.contains(r#""outcome":"denied""#));
}

#[test]
fn an_event_comes_back_as_it_was() {
    let text = serde_json::to_string(&permitted()).expect("an event serialises");
    assert_eq!(
        serde_json::from_str::<Event>(&text).expect("and comes back"),
        permitted()
    );
}

#[test]
fn a_line_with_a_field_that_no_event_has_is_no_event() {
    let text = serde_json::to_string(&permitted()).expect("an event serialises");
    let more = text.replacen('{', r#"{"token":"eyJ","#, 1);
    assert!(serde_json::from_str::<Event>(&more).is_err());
}

#[test]
fn control_characters_of_a_request_are_escaped() {
    let event = Event {
        request_path: "/\n\u{1b}[31m\"".into(),
        ..permitted()
    };
    let text = serde_json::to_string(&event).expect("an event serialises");
    assert!(
        text.contains(r#""request_path":"/\n\u001b[31m\"""#),
        "{text}"
    );
    assert!(text.bytes().all(|byte| byte >= 0x20));
}

#[test]
fn conditions_and_the_would_be_policy_stand_after_the_published_fields() {
    let event = Event {
        would_be_outcome: Some(Outcome::Denied),
        would_be_policy: Some("deny:data-pipeline:internal-api:read".into()),
        conditions: alloc::vec![
            CheckedCondition {
                name: "prod/office-hours".into(),
                outcome: ConditionOutcome::NotMet,
            },
            CheckedCondition {
                name: "inside".into(),
                outcome: ConditionOutcome::Unavailable,
            },
        ],
        ..permitted()
    };
    let text = serde_json::to_string(&event).expect("an event serialises");
    let ours = concat!(
        r#""would_be_outcome":"denied","would_be_policy":"deny:data-pipeline:internal-api:read","#,
        r#""conditions":[{"name":"prod/office-hours","outcome":"not-met"},"#,
        r#"{"name":"inside","outcome":"unavailable"}]"#,
    );
    assert!(
        text.starts_with(&alloc::format!("{{{PUBLISHED},")) && text.contains(ours),
        "{text}"
    );
    assert_eq!(
        serde_json::from_str::<Event>(&text).expect("and comes back"),
        event
    );
}

#[test]
fn an_event_recorded_before_there_were_conditions_is_still_read() {
    let text = serde_json::to_string(&permitted()).expect("an event serialises");
    let older = text.replace(r#""would_be_policy":null,"conditions":[],"#, "");
    assert_ne!(older, text);
    assert_eq!(
        serde_json::from_str::<Event>(&older).expect("an older event"),
        permitted()
    );
}
