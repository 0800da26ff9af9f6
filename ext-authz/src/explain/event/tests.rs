use attache_core::event::{Event, Outcome};
use attache_edge::explain::{Caller, Explained};
use serde_json::{Value, json};

use super::{call, caller, check, compare};

/// A permitted access, with `changes` over it.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the call reads as what it changes"
)]
fn event(changes: Value) -> Event {
    let mut event = json!({
        "event_id": "evt_01hx9k2z3m4n5p6q7r8s9t0u", "timestamp": "2026-06-14T03:47:22.341Z",
        "workload_svid": "spiffe://cluster.local/ns/prod/sa/web", "workload_type": "kubernetes-pod",
        "target_service": "api.test", "policy_matched": "allow:web:api:read", "token_issued": true,
        "token_id": "tok_prod_1", "ttl_seconds": 300, "request_method": "GET", "request_path": "/v1",
        "outcome": "permitted", "latency_ms": 1.0, "code": null, "policy": "web-to-api",
        "trust_provider": "cluster", "credential_provider": "token", "audience": "api",
        "attribute": null, "expected": null, "actual": null, "mode": "enforce",
        "would_be_outcome": null, "policy_revision": "old", "edge": "edge-1", "listener": "egress",
        "source_address": "10.1.2.3:40312", "count": 1, "repeats": null,
        "target_origin": "https://api.test:8443", "attributes": {"k8s.podName": "web-1"},
    });
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    serde_json::from_value(event).unwrap()
}

/// What today's policies say, with `changes` over a permit.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the call reads as what it changes"
)]
fn today(changes: Value) -> Explained {
    let mut verdict = json!({
        "outcome": "permitted", "code": null, "message": null, "policy": "web-to-api",
        "policy_matched": "allow:web:api:read", "mismatch": null, "valid_until": null,
        "credential": {"provider": "token", "type": "oidc-token", "audience": "api",
            "ttl_seconds": 300, "header": "authorization", "prefix": "Bearer "},
    });
    for (name, value) in changes.as_object().unwrap() {
        verdict[name] = value.clone();
    }
    let stage = changes.get("stage").cloned().unwrap_or(json!("policy"));
    let told = json!({
        "verdict": verdict, "stage": stage, "mode": "enforce", "listener": "egress",
        "policy_revision": "new",
        "call": {"method": "GET", "host": "api.test", "port": 8443, "transport": "tls",
            "path": "/v1", "source": null, "at": "2026-06-14T03:47:22.341Z"},
        "caller": null,
        "policy": {"revision": "new", "verdict": verdict, "would_be": null, "policy_count": 1,
            "depends_on_time": false,
            "policies": [{"policy": "web-to-api", "matched": "allow:web:api:read", "dry_run": false,
                "part": "decides", "checks": [
                    {"subject": "attribute", "name": "claims.team", "standing": "fails",
                        "expected": "red", "actual": null},
                    {"subject": "condition", "name": "ours", "standing": "fails",
                        "expected": "request.query == \"\"", "actual": null}]}]},
    });
    serde_json::from_value(told).unwrap()
}

fn attributes(event: &Event) -> Value {
    let Caller::Recorded { attributes, .. } = caller(event) else {
        panic!("{event:?}");
    };
    serde_json::to_value(attributes).unwrap()
}

#[test]
fn the_call_of_an_event_is_asked_again_as_it_was() {
    let call = call(&event(json!({})));
    assert_eq!((call.method.as_str(), call.target.as_str()), ("GET", "/v1"));
    assert_eq!(
        (call.authority.as_str(), call.origin.as_str()),
        ("api.test", "https://api.test:8443")
    );
    assert_eq!(call.source, Some("10.1.2.3".parse().unwrap()));
    assert_eq!(call.at.unwrap().to_string(), "2026-06-14T03:47:22.341Z");
    let ipv6 = super::call(&event(
        json!({"target_service": "2001:db8::1", "target_origin": null}),
    ));
    assert_eq!(
        (ipv6.authority.as_str(), ipv6.origin.as_str()),
        ("[2001:db8::1]", "https://[2001:db8::1]")
    );
}

#[test]
fn the_spiffe_id_tells_what_it_is_made_of() {
    assert_eq!(
        attributes(&event(json!({}))),
        json!({"k8s.namespace": "prod", "k8s.serviceAccount": "web", "k8s.podName": "web-1"})
    );
    let of = |svid: &str| attributes(&event(json!({"workload_svid": svid, "attributes": null})));
    assert_eq!(
        of("spiffe://td/oidc/forge/sub/job-1"),
        json!({"claims.sub": "job-1"})
    );
    let hashed = "spiffe://td/oidc/forge/sha256/00ff";
    assert_eq!(of(hashed), json!({}));
    assert!(matches!(
        caller(&event(json!({"workload_svid": null}))),
        Caller::Unproven { .. }
    ));
}

#[test]
fn a_decision_that_stayed_the_same_does_not_differ() {
    for (then, now) in [
        (json!({}), json!({})),
        // A fault of what comes after the decision is none of policy's.
        (
            json!({"outcome": "error", "code": "credential-unavailable"}),
            json!({}),
        ),
        (
            json!({"outcome": "permitted", "mode": "observe", "would_be_outcome": "denied",
                "code": "no-policy", "policy_matched": null, "credential_provider": null}),
            json!({"outcome": "denied", "code": "no-policy", "policy_matched": null, "credential": null}),
        ),
    ] {
        let (told, _) = compare(&event(then.clone()), &mut today(now));
        assert_eq!(told.differs, Some(false), "{then}");
    }
}

#[test]
fn a_decision_that_changed_differs() {
    let denied = json!({"outcome": "denied", "code": "no-policy", "policy_matched": null, "credential": null});
    for (then, now) in [
        (json!({}), denied.clone()),
        (
            json!({"outcome": "denied", "code": "no-policy", "policy_matched": null, "credential_provider": null}),
            json!({}),
        ),
        // Another policy, another action, or another credential is another decision.
        (json!({}), json!({"policy_matched": "allow:web:api:write"})),
        (json!({}), json!({"credential": null})),
        (
            json!({"mode": "observe", "would_be_outcome": "permitted"}),
            denied,
        ),
    ] {
        let (told, _) = compare(&event(then.clone()), &mut today(now.clone()));
        assert_eq!(told.differs, Some(true), "{then} {now}");
    }
}

#[test]
fn why_a_caller_was_not_proven_stays_what_the_event_says() {
    let unproven = event(
        json!({"workload_svid": null, "trust_provider": null, "outcome": "denied",
        "code": "token-expired", "policy_matched": null, "credential_provider": null}),
    );
    let mut now = today(
        json!({"stage": "evidence", "outcome": "denied", "code": "evidence-missing",
        "policy_matched": null, "credential": null}),
    );
    let (told, notes) = compare(&unproven, &mut now);
    assert_eq!((told.differs, told.outcome), (None, Outcome::Denied));
    assert_eq!(now.verdict.code.as_deref(), Some("token-expired"));
    assert!(
        notes.iter().any(|note| note.contains("not proven")),
        "{notes:?}"
    );
}

#[test]
fn what_the_event_cannot_tell_is_said() {
    let conditions = json!([{"name": "ours", "outcome": "met"}]);
    let (_, notes) = compare(
        &event(json!({"conditions": conditions, "target_origin": null})),
        &mut today(json!({})),
    );
    for told in [
        "port and transport",
        "claims.team",
        "the condition ours was met then and was not met now",
    ] {
        assert!(
            notes.iter().any(|note| note.contains(told)),
            "{told}: {notes:?}"
        );
    }
    // Under the same revision the event keeps all that any policy asks about.
    let mut now = today(json!({}));
    now.policy_revision = "old".to_owned();
    let (_, notes) = compare(&event(json!({})), &mut now);
    assert!(
        notes.iter().all(|note| !note.contains("claims.team")),
        "{notes:?}"
    );
}

#[test]
fn a_token_is_asked_for_again_as_it_was() {
    let older = event(json!({"listener": "token-endpoint"}));
    let told = check(&older).unwrap_err().to_string();
    assert!(told.contains("of the token endpoint"), "{told}");
    assert!(check(&event(json!({}))).is_ok());

    let request = json!({"audience": "api", "resource": null, "address": "192.0.2.7"});
    let exchange = event(json!({"listener": "token-endpoint", "token_request": request}));
    check(&exchange).unwrap();
    let call = call(&exchange);
    // What conditions read, and not the proxy before the port.
    assert_eq!(call.source, Some("192.0.2.7".parse().unwrap()));
    let wanted = call.token.unwrap();
    assert_eq!(
        (wanted.audience.as_deref(), wanted.resource),
        (Some("api"), None)
    );
}

#[test]
fn a_denial_may_name_the_credential_that_it_is_about() {
    let then =
        json!({"listener": "token-endpoint", "outcome": "denied", "code": "policy-too-narrow"});
    let now = json!({"outcome": "denied", "code": "policy-too-narrow", "credential": null});
    let (told, _) = compare(&event(then), &mut today(now));
    assert_eq!(told.differs, Some(false));
}

#[test]
fn everyone_who_proved_the_caller_is_named_again() {
    let by_two = event(json!({"attested_by": ["cluster", "mesh"]}));
    let Caller::Recorded {
        trust_provider,
        also_by,
        spiffe_id,
        ..
    } = caller(&by_two)
    else {
        panic!("{by_two:?}");
    };
    assert_eq!(
        (trust_provider.as_str(), also_by),
        ("cluster", vec!["mesh".to_owned()])
    );
    assert_eq!(spiffe_id, "spiffe://cluster.local/ns/prod/sa/web");
}
