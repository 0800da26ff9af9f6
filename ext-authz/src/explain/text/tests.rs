use attache_core::{event::Outcome, time::Timestamp};
use attache_edge::explain::Explained;
use attache_policy::explain::Verdict;
use serde_json::json;

use super::explained as told;

/// What a server would answer, with texts that a stranger wrote.
fn hostile() -> Explained {
    let text = "/\u{1b}[2J\u{202e}\nPERMITTED";
    let told = json!({
        "verdict": {
            "outcome": "denied", "code": "attribute-mismatch", "message": null, "policy": null,
            "policy_matched": null, "credential": null, "valid_until": null,
            "mismatch": {"attribute": "claims.team", "expected": "red", "actual": text},
        },
        "stage": "policy", "mode": "enforce", "listener": "egress", "policy_revision": "ab12",
        "call": {
            "method": text, "host": text, "port": null, "transport": null, "path": text,
            "source": null, "at": "2026-06-14T03:47:22.341Z",
        },
        "caller": {
            "proof": "unverified", "trust_provider": "forge", "type": "oidc",
            "spiffe_id": "spiffe://cluster.local/oidc/forge/sub/a",
            "attributes": {"claims.team": text},
        },
        "policy": {
            "revision": "ab12",
            "verdict": {
                "outcome": "denied", "code": null, "message": null, "policy": null,
                "policy_matched": null, "credential": null, "valid_until": null, "mismatch": null,
            },
            "would_be": null, "policy_count": 1, "depends_on_time": false,
            "policies": [{
                "policy": "p", "matched": "allow:a:b:all", "dry_run": false, "part": "nearest",
                "checks": [{
                    "subject": "attribute", "name": "claims.team", "standing": "fails",
                    "expected": "red", "actual": text,
                }],
            }],
        },
    });
    serde_json::from_value(told).unwrap()
}

fn text(explained: &Explained) -> String {
    let mut text = String::new();
    told(&mut text, explained).unwrap();
    text
}

#[test]
fn what_a_request_or_a_token_contained_cannot_steer_a_terminal() {
    let text = text(&hostile());
    let steering = |letter: char| letter != '\n' && (letter.is_control() || letter == '\u{202e}');
    assert!(!text.contains(steering), "{text:?}");
    assert!(
        text.lines().all(|line| !line.starts_with("PERMITTED")),
        "{text}"
    );
    assert!(text.contains(r"\u{1b}"), "{text}");
}

#[test]
fn a_token_that_was_not_verified_is_never_told_as_proven() {
    let text = text(&hostile());
    assert!(text.contains("(NOT verified)"), "{text}");
}

#[test]
fn a_permit_tells_the_credential_and_where_it_goes() {
    let mut explained = hostile();
    explained.verdict = Verdict {
        outcome: Outcome::Permitted,
        code: None,
        message: None,
        policy: Some("p".to_owned()),
        policy_matched: Some("allow:a:b:all".to_owned()),
        mismatch: None,
        credential: serde_json::from_value(json!({
            "provider": "token", "type": "oidc-token", "audience": "https://b.test",
            "ttl_seconds": 300, "header": "authorization", "prefix": "Bearer ",
        }))
        .unwrap(),
        valid_until: Some(Timestamp::from_seconds(1_800_000_000)),
    };
    let text = text(&explained);
    let attached =
        "attaches  authorization: Bearer … from token (oidc-token, audience https://b.test, 300 s)";
    assert!(
        text.contains("PERMITTED by allow:a:b:all of p") && text.contains(attached),
        "{text}"
    );
}
