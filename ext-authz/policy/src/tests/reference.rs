//! Two properties of decisions, over random sets and random calls: the compiled index says what the
//! documents say, read one by one; and an answer that is kept for its scope and time is the answer that a
//! fresh decision would give.
//!
//! The ordinary run takes forty thousand decisions. `ATTACHE_CASES=1000000 cargo test -p
//! attache-policy reference` takes a million of each.

mod call;
mod evaluator;
mod explained;
mod set;

use std::env;

use attache_core::scope::{Paths, Scope};
use proptest::{prelude::*, test_runner::TestCaseResult};

use self::{
    call::{Call, Dice},
    evaluator::{Answer, evaluate},
    set::{CONDITIONS, Policy, policies, written},
};
use super::{settings, source};
use crate::{Code, Compiled, Decided, Decision, PolicyRef, Source, compile};

/// How many calls are made of each set.
const CALLS: u32 = 1000;

fn cases() -> u32 {
    let wanted = env::var("ATTACHE_CASES").ok();
    let wanted: u32 = wanted.map_or(40_000, |text| text.parse().expect("a number of decisions"));
    wanted.div_ceil(CALLS)
}

fn thorough() -> ProptestConfig {
    ProptestConfig {
        cases: cases(),
        max_global_rejects: 1_000_000,
        // A set is made smaller again and again; a failing one is found soon and read by people.
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

/// What certainly conflicts, and what never applies, is refused; nothing else may be.
fn accepted(policies: &[Policy]) -> Result<Compiled, TestCaseError> {
    let text = written(policies);
    compile(&[source("set.yaml", &text)], &settings()).map_err(|problems| {
        let known = [Code::CredentialConflict, Code::NeverApplies, Code::Shadowed];
        let mut errors = problems
            .iter()
            .filter(|problem| problem.severity == crate::Severity::Error);
        if errors.all(|problem| known.contains(&problem.code)) {
            TestCaseError::reject("a contradictory set")
        } else {
            TestCaseError::fail(format!("{problems}\n{text}"))
        }
    })
}

fn decided(set: &Compiled, call: Call) -> Decided<'_> {
    set.decide(call.attestation(), &call.request(), &call.context())
}

/// The same words that the evaluator uses.
fn told(decided: &Decided<'_>) -> Answer {
    let named = |it: PolicyRef<'_>| (it.name().to_owned(), it.matched().to_owned());
    let mut conditions = [None; CONDITIONS.len()];
    for (name, outcome) in decided.conditions() {
        let place: usize = name.trim_start_matches("if").parse().unwrap();
        assert_eq!(conditions[place], None, "{name} is told once");
        conditions[place] = Some(outcome);
    }
    let (code, policy, credential) = match decided.decision() {
        Decision::Allow(grant) => {
            let policy = (grant.policy().to_owned(), grant.policy_matched().to_owned());
            let credential = grant.credential().map(|provider| {
                let ttl = provider.kind.ttl().unwrap();
                let header = grant.placements()[0].carrier.name().to_owned();
                (provider.name.clone(), header, ttl.as_secs())
            });
            ("allow", Some(policy), credential)
        }
        Decision::Deny(denial) => (denial.reason().code(), denial.policy().map(named), None),
        Decision::Unavailable(fault) => (fault.code(), None, None),
    };
    let would_be = decided.would_be();
    Answer {
        code,
        policy,
        credential,
        would_be: would_be.map(|it| (it.outcome, it.policy.map(named))),
        conditions,
    }
}

fn scope(decided: &Decided<'_>, call: Call) -> Scope {
    match decided.decision() {
        Decision::Allow(grant) => grant.scope(call.kept_under()),
        Decision::Deny(denial) => denial.scope(call.kept_under()),
        Decision::Unavailable(_) => Scope::Once,
    }
}

/// How often something was seen, so that a property does not hold for want of cases.
#[derive(Default)]
struct Seen {
    kept: u32,
    reused_elsewhere: u32,
    exceptions: u32,
    exact: u32,
}

impl Seen {
    fn note(&mut self, scope: &Scope, first: Call, second: Call) {
        let Scope::Region(region) = scope else { return };
        self.kept += 1;
        let elsewhere =
            (first.path, first.method, first.now) != (second.path, second.method, second.now);
        self.reused_elsewhere += u32::from(elsewhere);
        match &region.paths {
            Paths::Under { except, .. } => self.exceptions += u32::from(!except.is_empty()),
            Paths::Exactly(_) => self.exact += 1,
        }
    }
}

/// Answers one call and keeps the answer for others like it.
fn kept_answers_are_fresh(set: &Compiled, dice: &mut Dice, seen: &mut Seen) -> TestCaseResult {
    let first = Call::random(dice);
    let kept = decided(set, first);
    let (scope, answer) = (scope(&kept, first), told(&kept));
    for _ in 0..8 {
        let second = first.varied(dice);
        let caller = second.kept_under();
        if !scope.covers(set.revision(), &caller, &second.request(), second.now) {
            continue;
        }
        seen.note(&scope, first, second);
        let fresh = told(&decided(set, second));
        prop_assert_eq!(
            &fresh,
            &answer,
            "kept {:?} of {:?} for {:?}",
            scope,
            first,
            second
        );
    }
    Ok(())
}

#[test]
fn the_index_decides_as_the_documents_say() {
    let mut runner = proptest::test_runner::TestRunner::new(thorough());
    let codes = std::cell::RefCell::new(std::collections::BTreeMap::new());
    let checked = runner.run(&(policies(), any::<u64>()), |(policies, seed)| {
        let set = accepted(&policies)?;
        let mut dice = Dice(seed | 1);
        for _ in 0..CALLS {
            let call = Call::random(&mut dice);
            let expected = evaluate(&policies, call);
            let answer = told(&decided(&set, call));
            prop_assert_eq!(&answer, &expected, "{:?}\n{}", call, written(&policies));
            *codes.borrow_mut().entry(expected.code).or_insert(0_u32) += 1;
        }
        Ok(())
    });
    if let Err(failed) = checked {
        panic!("{failed}");
    }
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
        let seen = codes.get(code).copied().unwrap_or(0);
        assert!(seen > 0, "{code}: {codes:?}");
    }
}

#[test]
fn an_answer_that_is_kept_for_its_scope_is_a_fresh_one() {
    let mut runner = proptest::test_runner::TestRunner::new(thorough());
    let seen = std::cell::RefCell::new(Seen::default());
    let checked = runner.run(&(policies(), any::<u64>()), |(policies, seed)| {
        let set = accepted(&policies)?;
        let mut dice = Dice(seed | 1);
        for _ in 0..CALLS / 8 {
            kept_answers_are_fresh(&set, &mut dice, &mut seen.borrow_mut())?;
        }
        Ok(())
    });
    if let Err(failed) = checked {
        panic!("{failed}");
    }
    let seen = seen.into_inner();
    let enough = cases() * CALLS / 200;
    for (what, count) in [
        ("kept", seen.kept),
        (
            "kept for another path, method or time",
            seen.reused_elsewhere,
        ),
        ("kept with exceptions", seen.exceptions),
    ] {
        assert!(count > enough, "{what}: {count}");
    }
    assert!(seen.exact > 0, "an exact path");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn an_accepted_set_has_no_conflict_for_one_client_on_one_server(
        policies in policies(),
        seed in any::<u64>(),
    ) {
        accepted(&policies)?;
        let counts = |policy: &Policy| !policy.deny && !policy.dry_run && policy.conditions.is_empty();
        for policy in policies.iter().filter(|policy| counts(policy)) {
            let alone: Vec<_> = policies
                .iter()
                .filter(|other| (other.client, other.server) == (policy.client, policy.server))
                .filter(|other| counts(other))
                .cloned()
                .collect();
            let alone_set = accepted(&alone)?;
            let mut dice = Dice(seed | 1);
            for _ in 0..200 {
                let call = Call::random(&mut dice);
                // Who shows evidence of several may meet policies of each, which no set can tell beforehand.
                if call.is_proven_by_several() {
                    continue;
                }
                prop_assert_ne!(told(&decided(&alone_set, call)).code, "credential-conflict", "{:?}", call);
            }
        }
    }

    #[test]
    fn no_bytes_stop_the_compiler(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = compile(&[Source { name: "any".to_owned(), text }], &settings());
    }

    #[test]
    fn no_damage_to_a_sound_set_stops_the_compiler(
        policies in policies(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, "[-:{}\\[\\]*&!|> \n'\"a]{0,6}"), 1..6),
    ) {
        let mut text = written(&policies);
        for (at, kind, new) in damage {
            let mut cut = at.index(text.len());
            while !text.is_char_boundary(cut) {
                cut -= 1;
            }
            let end = if kind == 0 { cut } else { text.len().min(cut + usize::from(kind)) };
            text.replace_range(cut..end, &new);
        }
        if let Err(problems) = compile(&[source("set.yaml", &text)], &settings()) {
            prop_assert!(!problems.is_empty());
        }
    }
}
