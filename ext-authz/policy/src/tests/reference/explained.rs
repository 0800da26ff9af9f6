//! An explanation tells of the decision that is made, and of nothing that contradicts it.

use std::collections::BTreeMap;

use attache_core::event::Outcome;
use proptest::{prelude::*, test_runner::TestCaseResult};

use super::{
    accepted,
    call::{CALLERS, Call, Dice},
    decided,
    evaluator::{Answer, evaluate},
    set::{CLIENTS, Policy, policies, written},
    thorough, told,
};
use crate::explain::{Considered, Explanation, Part, Standing, Subject};

/// How many calls are made of each set: an explanation goes through the whole set.
const CALLS: u32 = 200;

fn holds(considered: &Considered, subjects: &[Subject]) -> bool {
    let mut checks = considered
        .checks
        .iter()
        .filter(|check| subjects.contains(&check.subject));
    checks.all(|check| check.standing == Standing::Holds)
}

/// A verdict in the words of the evaluator: the code, the policy with what matched of it, and the
/// credential's provider, header and lifetime in seconds.
type Told<'a> = (
    &'a str,
    Option<(&'a str, &'a str)>,
    Option<(&'a str, &'a str, u64)>,
);

fn verdict(explanation: &Explanation) -> Told<'_> {
    let verdict = &explanation.verdict;
    let code = verdict.code.as_deref().unwrap_or("allow");
    let policy = verdict
        .policy
        .as_deref()
        .zip(verdict.policy_matched.as_deref());
    let credential = verdict.credential.as_ref().map(|credential| {
        let ttl = credential.ttl_seconds.unwrap_or_default();
        (
            credential.provider.as_str(),
            credential.header.as_deref().unwrap(),
            ttl,
        )
    });
    (code, policy, credential)
}

fn same_as_decided(explanation: &Explanation, answer: &Answer) -> TestCaseResult {
    let named = |policy: &Option<(String, String)>| policy.clone();
    let (code, policy, credential) = verdict(explanation);
    prop_assert_eq!(code, answer.code);
    let policy = policy.map(|(name, matched)| (name.to_owned(), matched.to_owned()));
    prop_assert_eq!(policy, named(&answer.policy));
    let credential =
        credential.map(|(name, header, ttl)| (name.to_owned(), header.to_owned(), ttl));
    prop_assert_eq!(&credential, &answer.credential);
    let would_be = explanation.would_be.as_ref().map(|would_be| {
        let policy = would_be.policy.clone().zip(would_be.policy_matched.clone());
        (would_be.outcome, policy)
    });
    prop_assert_eq!(&would_be, &answer.would_be);
    Ok(())
}

/// Each check says what the documents say of it.
fn checks_are_true(explanation: &Explanation, set: &[Policy], call: Call) -> TestCaseResult {
    prop_assert_eq!(explanation.policies.len(), set.len());
    for considered in &explanation.policies {
        let policy = set.iter().find(|policy| policy.name == considered.policy);
        let policy = policy.expect("a policy of the set");
        let caller = &CALLERS[call.caller];
        let is_client = caller.is(CLIENTS[policy.client], policy.counted(caller));
        prop_assert_eq!(holds(considered, &[Subject::Attribute]), is_client);
        let provider = policy.accepts(caller);
        prop_assert_eq!(holds(considered, &[Subject::TrustProvider]), provider);
        prop_assert_eq!(
            holds(considered, &[Subject::Port]),
            policy.server().port == call.port
        );
        prop_assert_eq!(considered.dry_run, policy.dry_run);
        prop_assert!(considered.matched.starts_with(policy.effect()));
    }
    Ok(())
}

/// The policies that played a part.
fn with(explanation: &Explanation, part: Part) -> impl Iterator<Item = &Considered> {
    let policies = explanation.policies.iter();
    policies.filter(move |it| it.part == part)
}

fn all_hold(considered: &Considered) -> bool {
    let mut checks = considered.checks.iter();
    checks.all(|check| check.standing == Standing::Holds)
}

/// Whether a check fails that a policy needs in order to apply; a transport that carries no
/// credential does not keep it from applying.
fn fails(considered: &Considered) -> bool {
    let mut checks = considered.checks.iter();
    checks.any(|check| check.standing == Standing::Fails && check.subject != Subject::Transport)
}

/// Whatever applies has nothing that fails, and what does not apply has.
fn parts_fit_the_checks(explanation: &Explanation) -> TestCaseResult {
    for it in &explanation.policies {
        let applies = !matches!(it.part, Part::Nearest | Part::DoesNotApply);
        prop_assert_eq!(applies, !fails(it), "{:?}", it);
    }
    Ok(())
}

/// The verdict rests on the one policy that is said to decide.
fn the_decisive_policy_is_the_verdicts(explanation: &Explanation) -> TestCaseResult {
    let verdict = &explanation.verdict;
    let decisive: Vec<_> = with(explanation, Part::Decides).collect();
    let rests_on_one = verdict.outcome == Outcome::Permitted
        || matches!(
            verdict.code.as_deref(),
            Some("denied-by-policy" | "condition-unavailable" | "destination-plaintext")
        );
    prop_assert_eq!(decisive.len(), usize::from(rests_on_one));
    if let Some(one) = decisive.first() {
        prop_assert_eq!(Some(&one.policy), verdict.policy.as_ref());
        prop_assert_eq!(Some(&one.matched), verdict.policy_matched.as_ref());
        prop_assert!(!fails(one) && !one.dry_run);
        prop_assert!(all_hold(one) || verdict.outcome != Outcome::Permitted);
    }
    Ok(())
}

/// What else is told of policies leaves room for no other verdict.
fn the_other_policies_allow_the_verdict(explanation: &Explanation) -> TestCaseResult {
    let code = explanation.verdict.code.as_deref();
    // A deny of which everything holds leaves no other verdict, but that the evidence has expired.
    let denies = explanation
        .policies
        .iter()
        .any(|it| it.matched.starts_with("deny") && !it.dry_run && all_hold(it));
    prop_assert!(!denies || matches!(code, Some("denied-by-policy" | "token-expired")));
    prop_assert_eq!(
        with(explanation, Part::Conflicts).count() > 1,
        code == Some("credential-conflict")
    );
    Ok(())
}

/// One policy is called the nearest where the verdict speaks of one that does not apply.
fn the_nearest_policy_is_the_verdicts(explanation: &Explanation) -> TestCaseResult {
    let verdict = &explanation.verdict;
    let speaks_of_one = matches!(
        verdict.code.as_deref(),
        Some(
            "no-policy"
                | "attribute-mismatch"
                | "condition-not-met"
                | "trust-provider-not-accepted"
        )
    );
    let enforced_allow = explanation
        .policies
        .iter()
        .any(|it| it.matched.starts_with("allow") && !it.dry_run);
    let nearest: Vec<_> = with(explanation, Part::Nearest).collect();
    prop_assert_eq!(nearest.len(), usize::from(speaks_of_one && enforced_allow));
    let Some(nearest) = nearest.first() else {
        return Ok(());
    };
    if let Some(spoken_of) = &verdict.policy {
        prop_assert_eq!(&nearest.policy, spoken_of);
    }
    if let Some(mismatch) = &verdict.mismatch {
        let told = nearest.checks.iter().any(|check| {
            check.standing == Standing::Fails && check.name.as_ref() == Some(&mismatch.attribute)
        });
        prop_assert!(told, "{mismatch:?} is not in {nearest:?}");
    }
    Ok(())
}

#[test]
fn an_explanation_says_what_is_decided_and_why() {
    let mut runner = proptest::test_runner::TestRunner::new(thorough());
    let codes = std::cell::RefCell::new(BTreeMap::new());
    let checked = runner.run(&(policies(), any::<u64>()), |(policies, seed)| {
        let set = accepted(&policies)?;
        let mut dice = Dice(seed | 1);
        for _ in 0..CALLS {
            let call = Call::random(&mut dice);
            let answer = told(&decided(&set, call));
            let (request, context) = (call.request(), call.context());
            let explanation = set.explain(call.attestation(), &request, &context, usize::MAX);
            let story = |failed: TestCaseError| {
                TestCaseError::fail(format!(
                    "{failed}\n{call:?}\n{explanation:#?}\n{}",
                    written(&policies)
                ))
            };
            same_as_decided(&explanation, &answer).map_err(story)?;
            same_as_decided(&explanation, &evaluate(&policies, call)).map_err(story)?;
            checks_are_true(&explanation, &policies, call).map_err(story)?;
            parts_fit_the_checks(&explanation).map_err(story)?;
            the_decisive_policy_is_the_verdicts(&explanation).map_err(story)?;
            the_other_policies_allow_the_verdict(&explanation).map_err(story)?;
            the_nearest_policy_is_the_verdicts(&explanation).map_err(story)?;
            *codes.borrow_mut().entry(answer.code).or_insert(0_u32) += 1;
        }
        Ok(())
    });
    if let Err(failed) = checked {
        panic!("{failed}");
    }
    // Each kind of verdict was explained, and not for want of cases none.
    let codes = codes.into_inner();
    for code in [
        "allow",
        "denied-by-policy",
        "no-policy",
        "attribute-mismatch",
        "trust-provider-not-accepted",
        "condition-not-met",
        "condition-unavailable",
        "credential-conflict",
        "destination-plaintext",
        "token-expired",
    ] {
        assert!(codes.contains_key(code), "{code}: {codes:?}");
    }
}
