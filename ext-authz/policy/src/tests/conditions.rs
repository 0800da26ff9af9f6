//! Conditions, lifetimes and dry-run policies: from documents to decisions.

use attache_core::{
    event::{ConditionOutcome, Outcome},
    request::{Host, Request, RequestPath, Transport},
    scope::{Caller, Scope},
    time::Timestamp,
};

use super::{CLUSTER, compiled, pod, refused, told};
use crate::{Code, Compiled, Context, Decided, Decision};

/// 2026-07-16 is a Thursday.
const THURSDAY_NOON: Timestamp = Timestamp::from_seconds(1_784_203_200);
const THURSDAY_MIDNIGHT: Timestamp = Timestamp::from_seconds(1_784_160_000);

const BASE: &str = "
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{k8s.serviceAccount: web}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.test}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: token}
spec: {type: oidc-token, audience: api, ttl: 600}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: office-hours}
spec: {time: {timeZone: UTC, windows: [{days: [mon, tue, wed, thu, fri], from: '08:00', to: '18:00'}]}}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: inside}
spec: {source: {ranges: [10.0.0.0/8]}}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: production}
spec: {cel: 'request.headers[\"x-env\"] == \"prod\"'}
";

fn policy(name: &str, spec: &str) -> String {
    let head = "---\napiVersion: attache.dev/v1\nkind: AccessPolicy\nmetadata: {name: ";
    format!("{head}{name}}}\nspec: {{client: web, server: api, actions: [all], {spec}}}\n")
}

fn set(policies: &[(&str, &str)]) -> Compiled {
    let policies: String = policies
        .iter()
        .map(|(name, spec)| policy(name, spec))
        .collect();
    compiled(&format!("{CLUSTER}{BASE}{policies}"))
}

const ALLOW: &str = "effect: allow, trustProviders: [cluster]";

/// `GET https://api.test/v1` of the client, under `context`.
fn with<T>(set: &Compiled, context: &Context<'_>, read: impl FnOnce(Decided<'_>) -> T) -> T {
    let caller = pod("any", "web");
    let host = Host::parse("api.test").unwrap();
    let request = Request {
        host: &host,
        port: 443,
        transport: Transport::Tls,
        method: "GET",
        path: RequestPath::parse("/v1").unwrap(),
    };
    read(set.decide(&caller, &request, context))
}

fn answer(set: &Compiled, context: &Context<'_>) -> String {
    with(set, context, |decided| told(decided.decision()))
}

fn checked(set: &Compiled, context: &Context<'_>) -> Vec<(String, ConditionOutcome)> {
    with(set, context, |decided| {
        let conditions = decided.conditions();
        conditions
            .map(|(name, outcome)| (name.to_owned(), outcome))
            .collect()
    })
}

fn from(address: &str) -> Context<'static> {
    Context {
        source: Some(address.parse().unwrap()),
        ..Context::at(THURSDAY_NOON)
    }
}

#[test]
fn all_conditions_of_an_allow_must_hold() {
    let set = set(&[("a", &format!("{ALLOW}, conditions: [office-hours, inside]"))]);
    let allowed = "allow:web:api:all with nothing";
    let not_met = "condition-not-met by allow:web:api:all";
    let unavailable = "condition-unavailable by allow:web:api:all";
    let at_night = |context: Context<'static>| Context {
        now: THURSDAY_MIDNIGHT,
        ..context
    };
    for (context, expected) in [
        (from("10.0.0.1"), allowed),
        (from("192.0.2.1"), not_met),
        (at_night(from("10.0.0.1")), not_met),
        (Context::at(THURSDAY_NOON), unavailable),
        // What certainly does not hold settles it, whatever else cannot be told.
        (Context::at(THURSDAY_MIDNIGHT), not_met),
    ] {
        assert_eq!(answer(&set, &context), expected, "{context:?}");
    }
    let named = |time, source| {
        vec![
            ("office-hours".to_owned(), time),
            ("inside".to_owned(), source),
        ]
    };
    use ConditionOutcome::{Met, NotMet, Unavailable};
    assert_eq!(checked(&set, &from("10.0.0.1")), named(Met, Met));
    assert_eq!(
        checked(&set, &Context::at(THURSDAY_MIDNIGHT)),
        named(NotMet, Unavailable)
    );
}

#[test]
fn a_deny_whose_condition_does_not_hold_is_none_and_one_that_cannot_be_told_denies() {
    let set = set(&[("a", ALLOW), ("b", "effect: deny, conditions: [inside]")]);
    let denied = "denied-by-policy by deny:web:api:all";
    assert_eq!(answer(&set, &from("10.0.0.1")), denied);
    assert_eq!(
        answer(&set, &from("192.0.2.1")),
        "allow:web:api:all with nothing"
    );
    assert_eq!(answer(&set, &Context::at(THURSDAY_NOON)), denied);
}

#[test]
fn an_allow_that_cannot_be_told_is_not_replaced_by_a_wider_one() {
    let wider = "---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: all}
spec: {host: '*.test'}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: wide}
spec: {client: web, server: all, trustProviders: [cluster], actions: [read], effect: allow}
";
    let narrow = policy("narrow", &format!("{ALLOW}, conditions: [inside]"));
    let set = compiled(&format!("{CLUSTER}{BASE}{narrow}{wider}"));
    assert_eq!(
        answer(&set, &from("10.0.0.1")),
        "allow:web:api:all with nothing"
    );
    assert_eq!(
        answer(&set, &from("192.0.2.1")),
        "allow:web:all:read with nothing"
    );
    let unknown = answer(&set, &Context::at(THURSDAY_NOON));
    assert_eq!(unknown, "condition-unavailable by allow:web:api:all");
}

#[test]
fn one_condition_of_two_policies_is_told_once() {
    let set = set(&[
        ("a", &format!("{ALLOW}, conditions: [inside]")),
        ("b", "effect: deny, conditions: [inside, office-hours]"),
    ]);
    let names: Vec<_> = checked(&set, &from("10.0.0.1"))
        .into_iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(names, ["inside", "office-hours"]);
}

/// What one dry-run policy beside or instead of an enforced one does.
#[test]
fn a_dry_run_policy_changes_nothing_and_tells_what_it_would() {
    let dry_allow = format!("{ALLOW}, mode: dry-run, credentialProvider: token");
    let unknown = format!("{ALLOW}, mode: dry-run, conditions: [inside]");
    let enforced = "allow:web:api:all with nothing";
    let denied = "denied-by-policy by deny:web:api:all";
    let known = |outcome, policy: &str| Some((outcome, Some(policy.to_owned())));
    for (policies, expected, would_be) in [
        (vec![("a", ALLOW)], enforced, None),
        (
            vec![("a", ALLOW), ("b", "effect: deny, mode: dry-run")],
            enforced,
            known(Outcome::Denied, "deny:web:api:all"),
        ),
        (
            vec![("a", "effect: deny, mode: dry-run")],
            "no-policy",
            known(Outcome::Denied, "deny:web:api:all"),
        ),
        (
            vec![("a", dry_allow.as_str())],
            "no-policy",
            known(Outcome::Permitted, "allow:web:api:all"),
        ),
        (
            vec![("a", "effect: deny"), ("b", dry_allow.as_str())],
            denied,
            known(Outcome::Denied, "deny:web:api:all"),
        ),
        // Equal in rank, with another credential: enforced together they would grant nothing.
        (
            vec![("a", ALLOW), ("b", dry_allow.as_str())],
            enforced,
            known(Outcome::Error, "allow:web:api:all"),
        ),
        (
            vec![("a", ALLOW), ("b", unknown.as_str())],
            enforced,
            known(Outcome::Denied, "allow:web:api:all"),
        ),
    ] {
        let set = set(&policies);
        let context = Context::at(THURSDAY_NOON);
        assert_eq!(answer(&set, &context), expected, "{policies:?}");
        let told = with(&set, &context, |decided| {
            let would_be = decided.would_be()?;
            Some((
                would_be.outcome,
                would_be.policy.map(|it| it.matched().to_owned()),
            ))
        });
        assert_eq!(told, would_be, "{policies:?}");
    }
}

#[test]
fn a_target_that_only_dry_run_policies_know_is_as_unknown_as_before() {
    let host = Host::parse("api.test").unwrap();
    let dry = set(&[(
        "a",
        &format!("{ALLOW}, mode: dry-run, credentialProvider: token"),
    )]);
    assert!(dry.target(&host, 443).is_none());
    assert!(dry.rehearses(&host, 443));
    assert!(dry.injectable().is_empty());
    let both = set(&[
        (
            "a",
            &format!("{ALLOW}, mode: dry-run, credentialProvider: token"),
        ),
        ("b", ALLOW),
    ]);
    let target = both.target(&host, 443).expect("a target");
    assert!(target.injectable().is_empty());
    let enforced = set(&[("a", ALLOW)]);
    assert!(enforced.target(&host, 443).is_some());
    assert!(!enforced.rehearses(&host, 443));
}

#[test]
fn a_stranger_is_told_nothing_of_what_dry_run_policies_ask() {
    let set = set(&[("a", &format!("{ALLOW}, mode: dry-run"))]);
    let call = "GET https://api.test/";
    assert_eq!(super::ask(&set, &pod("any", "other"), call), "no-policy");
}

#[test]
fn a_policys_own_lifetime_takes_the_place_of_its_credential_providers() {
    let own = set(&[("a", &format!("{ALLOW}, credentialProvider: token, ttl: 2m"))]);
    let usual = set(&[("a", &format!("{ALLOW}, credentialProvider: token"))]);
    let lifetime = |set: &Compiled| {
        with(set, &Context::at(THURSDAY_NOON), |decided| {
            let Decision::Allow(grant) = decided.into_decision() else {
                panic!("denied")
            };
            let provider = grant.credential().expect("a credential");
            assert_eq!(provider.name, "token");
            let ttl = provider.kind.ttl().unwrap();
            ttl.as_secs()
        })
    };
    assert_eq!(lifetime(&own), 120);
    assert_eq!(lifetime(&usual), 600);
}

fn scope(set: &Compiled, context: &Context<'_>) -> (Scope, Timestamp) {
    let caller = || Caller::Listener("sidecar".to_owned());
    with(set, context, |decided| match decided.into_decision() {
        Decision::Allow(grant) => (grant.scope(caller()), grant.valid_until()),
        Decision::Deny(denial) => (denial.scope(caller()), denial.valid_until()),
        Decision::Unavailable(fault) => panic!("{}", fault.code()),
    })
}

#[test]
fn a_decision_ends_where_a_window_does_and_a_denial_where_one_begins() {
    let set = set(&[("a", &format!("{ALLOW}, conditions: [office-hours]"))]);
    let hour = 3600;
    let midnight = THURSDAY_MIDNIGHT.as_seconds();
    for (at, until) in [
        (midnight + 12 * hour, midnight + 12 * hour + 300),
        (midnight + 18 * hour - 10, midnight + 18 * hour),
        (midnight + 8 * hour - 10, midnight + 8 * hour),
    ] {
        let (scope, valid_until) = scope(&set, &Context::at(Timestamp::from_seconds(at)));
        assert_eq!(valid_until, Timestamp::from_seconds(until));
        let Scope::Region(region) = scope else {
            panic!("once")
        };
        assert_eq!(region.holds.expires_at, valid_until);
        assert_eq!(region.revision, set.revision());
    }
}

#[test]
fn what_a_dry_run_policy_reads_ends_no_answer() {
    let kept = |set: &Compiled, at: i64| {
        let context = Context {
            now: Timestamp::from_seconds(at),
            ..from("10.0.0.1")
        };
        with(set, &context, |decided| match decided.into_decision() {
            Decision::Allow(grant) => grant.kept_until(),
            Decision::Deny(denial) => panic!("{denial:?}"),
            Decision::Unavailable(fault) => panic!("{fault:?}"),
        })
    };
    // Ten seconds before the office closes, from inside of it.
    let at = THURSDAY_MIDNIGHT.as_seconds() + 18 * 3600 - 10;
    let until = |seconds: i64| Some(Timestamp::from_seconds(at + seconds));
    let dry = "effect: deny, mode: dry-run, conditions";
    for (conditions, rehearsed, expected) in [
        ("", "[production]", until(300)),
        ("", "[office-hours]", until(300)),
        // One condition of both: it is read once, and counts for both.
        (", conditions: [office-hours]", "[office-hours]", until(10)),
        (", conditions: [inside]", "[production]", None),
    ] {
        let allow = format!("{ALLOW}{conditions}");
        let set = set(&[("a", &format!("{dry}: {rehearsed}")), ("b", &allow)]);
        assert_eq!(kept(&set, at), expected, "{conditions} {rehearsed}");
    }
}

#[test]
fn what_looks_at_the_address_or_at_headers_is_decided_once() {
    for conditions in ["inside", "production", "office-hours, production"] {
        for effect in [ALLOW, "effect: deny"] {
            let set = set(&[("a", &format!("{effect}, conditions: [{conditions}]"))]);
            let (scope, _) = scope(&set, &from("10.0.0.1"));
            assert_eq!(scope, Scope::Once, "{effect} {conditions}");
        }
    }
    // Also a condition of a policy that only rehearses: its outcome stands in the event.
    let dry = format!("{ALLOW}, mode: dry-run, conditions: [inside]");
    let rehearsing = set(&[("a", ALLOW), ("b", &dry)]);
    assert_eq!(scope(&rehearsing, &from("10.0.0.1")).0, Scope::Once);
    let plain = set(&[("a", ALLOW)]);
    assert_ne!(scope(&plain, &from("10.0.0.1")).0, Scope::Once);
}

#[test]
fn policies_under_different_conditions_may_grant_different_credentials() {
    let other = "---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: other}
spec: {type: oidc-token, audience: other}
";
    let accepted = |one: &str, two: &str| {
        let one = policy("one", &format!("{ALLOW}, credentialProvider: token{one}"));
        let two = policy("two", &format!("{ALLOW}, credentialProvider: other{two}"));
        let text = format!("{CLUSTER}{BASE}{other}{one}{two}");
        crate::compile(&[super::source("set.yaml", &text)], &super::settings())
    };
    for (one, two, certain) in [
        ("", "", true),
        ("", ", conditions: [inside]", true),
        (", conditions: [inside]", "", true),
        (", conditions: [inside]", ", conditions: [inside]", true),
        (
            ", conditions: [inside, production]",
            ", conditions: [production, inside]",
            true,
        ),
        (
            ", conditions: [inside]",
            ", conditions: [office-hours]",
            false,
        ),
        ("", ", mode: dry-run", false),
    ] {
        match accepted(one, two) {
            Ok(_) => assert!(!certain, "{one} {two}"),
            Err(problems) => {
                assert!(certain, "{problems}");
                let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
                assert!(codes.contains(&Code::CredentialConflict), "{problems}");
            }
        }
    }
}

/// The codes of one condition's `spec`.
fn codes(spec: &str) -> Vec<Code> {
    let document = format!(
        "apiVersion: attache.dev/v1\nkind: AccessCondition\nmetadata: {{name: it}}\nspec: {{{spec}}}\n"
    );
    refused(&document)
        .iter()
        .map(|problem| problem.code)
        .collect()
}

#[test]
fn a_condition_that_cannot_be_meant_is_a_problem() {
    let window = |window: &str| format!("time: {{timeZone: UTC, windows: [{window}]}}");
    let days = "days: [mon]";
    for (spec, code) in [
        (String::new(), Code::MissingField),
        ("source: {ranges: [10.0.0.0/8]}, cel: 'request.port == 1'".into(), Code::ConflictingFields),
        ("time: {timeZone: Europe/Berln, notBefore: 2026-01-01}".into(), Code::UnknownTimeZone),
        ("time: {timeZone: CEST, notBefore: 2026-01-01}".into(), Code::UnknownTimeZone),
        ("time: {timeZone: UTC}".into(), Code::Empty),
        ("time: {timeZone: UTC, windows: []}".into(), Code::Empty),
        ("time: {timeZone: UTC, notBefore: 2026-02-30}".into(), Code::InvalidValue),
        ("time: {timeZone: UTC, notBefore: '20260201'}".into(), Code::InvalidValue),
        (
            "time: {timeZone: UTC, notBefore: 2026-02-02, notAfter: 2026-02-01}".into(),
            Code::NeverOpens,
        ),
        (
            "time: {timeZone: UTC, windows: [{days: [sun], from: '08:00', to: '09:00'}], notBefore: 2026-02-02, notAfter: 2026-02-07}".into(),
            Code::NeverOpens,
        ),
        (window(&format!("{{{days}, from: '08:00', to: '08:00'}}")), Code::NeverOpens),
        (window(&format!("{{{days}, from: '22:00', to: '00:00'}}")), Code::NeverOpens),
        (window(&format!("{{{days}, from: '24:00', to: '08:00'}}")), Code::InvalidValue),
        (window(&format!("{{{days}, from: '8:00', to: '09:00'}}")), Code::InvalidValue),
        (window(&format!("{{{days}, from: '08:60', to: '09:00'}}")), Code::InvalidValue),
        (window(&format!("{{{days}, from: '08:00', to: '24:01'}}")), Code::InvalidValue),
        (window("{days: [monday], from: '08:00', to: '09:00'}"), Code::UnknownChoice),
        (window("{days: [], from: '08:00', to: '09:00'}"), Code::Empty),
        (window("{from: '08:00', to: '09:00'}"), Code::MissingField),
        ("source: {ranges: [10.0.0.0]}".into(), Code::InvalidValue),
        ("source: {ranges: [10.0.0.1/8]}".into(), Code::InvalidValue),
        ("source: {ranges: [10.0.0.0/33]}".into(), Code::InvalidValue),
        ("source: {ranges: ['::ffff:10.0.0.0/104']}".into(), Code::InvalidValue),
        ("source: {ranges: [0.0.0.0/0]}".into(), Code::MatchesEverything),
        ("source: {ranges: ['::/0']}".into(), Code::MatchesEverything),
        ("source: {ranges: []}".into(), Code::Empty),
        ("geography: {countries: [de]}".into(), Code::UnknownChoice),
        ("geography: {countries: [UK]}".into(), Code::UnknownChoice),
        ("geography: {countries: [XX]}".into(), Code::UnknownChoice),
        ("geography: {countries: []}".into(), Code::Empty),
        ("cel: ''".into(), Code::Empty),
        ("cel: request.host".into(), Code::InvalidExpression),
        ("cel: 'request.path.startsWith(\"/v1\"'".into(), Code::InvalidExpression),
    ] {
        assert_eq!(codes(&spec), [code], "{spec}");
    }
}

#[test]
fn what_a_policy_cannot_have_beside_its_conditions_is_a_problem() {
    let problems = |spec: &str| {
        let policy = policy("a", spec);
        let problems = refused(&format!("{CLUSTER}{BASE}{policy}"));
        problems
            .iter()
            .map(|problem| problem.code)
            .collect::<Vec<_>>()
    };
    let listed = |count: usize| {
        let names = vec!["inside"; count].join(", ");
        format!("{ALLOW}, conditions: [{names}]")
    };
    for (spec, code) in [
        (
            format!("{ALLOW}, conditions: [insid]"),
            Code::DanglingReference,
        ),
        (
            format!("{ALLOW}, conditions: [web]"),
            Code::WrongKindReference,
        ),
        (format!("{ALLOW}, conditions: []"), Code::Empty),
        (format!("{ALLOW}, mode: dryrun"), Code::UnknownChoice),
        (format!("{ALLOW}, ttl: 60"), Code::ConflictingFields),
        (
            format!("{ALLOW}, credentialProvider: token, ttl: 29"),
            Code::OutOfRange,
        ),
        (
            format!("{ALLOW}, credentialProvider: token, ttl: 25h"),
            Code::OutOfRange,
        ),
        ("effect: deny, ttl: 60".into(), Code::ConflictingFields),
        (listed(2), Code::DuplicateName),
        (listed(17), Code::OutOfRange),
    ] {
        assert_eq!(problems(&spec), [code], "{spec}");
    }
}
