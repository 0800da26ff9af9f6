use super::*;
use crate::journal::tests::{denied, passed, permitted};

#[test]
fn only_a_grant_that_was_enforced_is_a_permit() {
    let granted = permitted(0);
    let observed = |event: Event| Event {
        mode: Mode::Observe,
        ..event
    };
    let fault = Event {
        outcome: Outcome::Error,
        ..granted.clone()
    };
    let without_credential = Event {
        token_issued: false,
        token_id: None,
        credential_provider: None,
        ..granted.clone()
    };
    // As an edge that mixed up its words would say it.
    let granted_and_passed = Event {
        code: Some("unmatched-passed".into()),
        ..granted.clone()
    };
    let denying_policy = Event {
        policy_matched: Some("deny:data-pipeline:internal-api:read".into()),
        ..granted.clone()
    };
    let no_policy = Event {
        policy_matched: None,
        ..granted.clone()
    };
    for (event, family) in [
        (observed(granted.clone()), Family::Passed),
        (granted, Family::Permitted),
        (without_credential, Family::Permitted),
        (passed(0), Family::Passed),
        (observed(passed(0)), Family::Passed),
        (granted_and_passed, Family::Passed),
        (denying_policy, Family::Passed),
        (no_policy, Family::Passed),
        (observed(denied(0)), Family::Passed),
        (denied(0), Family::Denied),
        (fault, Family::Denied),
    ] {
        assert_eq!(Family::of(&event), family, "{event:?}");
    }
}
