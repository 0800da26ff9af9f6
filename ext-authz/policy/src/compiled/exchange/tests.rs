use attache_core::{decision::DenyReason, time::Timestamp};

use super::*;
use crate::tests::{compiled, pod};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

const BASE: &str = "
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: cluster}
spec: {type: kubernetes-service-account, issuer: 'https://kubernetes.default.svc.cluster.local'}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{k8s.namespace: shop, k8s.serviceAccount: web}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: api}
spec: {host: api.example}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: mirror}
spec: {host: mirror.example}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: below}
spec: {host: '*.below.example'}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: token}
spec: {type: oidc-token, audience: books}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: svid}
spec: {type: jwt-svid, audience: [books, shelves]}
---
";

/// An allow of `client: web`, as it stands in one line.
fn allow(name: &str, server: &str, credential: &str, more: &str, actions: &str) -> String {
    format!(
        "
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{name: {name}}}
spec: {{effect: allow, client: web, server: {server}, trustProviders: [cluster], credentialProvider: {credential}, {more} actions: {actions}}}
---
"
    )
}

fn deny(name: &str, server: &str, actions: &str) -> String {
    format!(
        "
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{name: {name}}}
spec: {{effect: deny, client: web, server: {server}, actions: {actions}}}
---
"
    )
}

/// What `web` is told that asks for `audience` at `target`.
fn asked(policies: &str, audience: Option<&str>, target: Option<&str>) -> String {
    asked_by("web", policies, audience, target)
}

fn asked_by(account: &str, policies: &str, audience: Option<&str>, target: Option<&str>) -> String {
    let set = compiled(&format!("{BASE}{policies}"));
    let caller = pod("shop", account);
    let target = target.map(|url| TokenTarget::parse(url).unwrap());
    let decided = set.hand_out(&caller, audience, target.as_ref(), &Context::at(NOW));
    code(decided)
}

fn code(decided: Result<Decided<'_>, NotHandedOut<'_>>) -> String {
    match decided {
        Ok(decided) => {
            let credential = credential(&decided).expect("an allow has a credential");
            credential.name.clone()
        }
        Err(NotHandedOut {
            why: Withheld::Denied(reason),
            ..
        }) => reason.code().to_owned(),
        Err(NotHandedOut {
            why: Withheld::Unavailable(fault),
            ..
        }) => fault.code().to_owned(),
    }
}

const BOOKS: Option<&str> = Some("books");
const API: Option<&str> = Some("https://api.example");

#[test]
fn a_workload_that_may_do_everything_may_hold_the_token() {
    let all = allow("all", "api", "token", "", "[all]");
    for (audience, target) in [(BOOKS, None), (None, API), (BOOKS, API)] {
        assert_eq!(
            asked(&all, audience, target),
            "token",
            "{audience:?} {target:?}"
        );
    }
}

#[test]
fn nobody_else_may() {
    let all = allow("all", "api", "token", "", "[all]");
    assert_eq!(asked_by("worker", &all, BOOKS, None), "attribute-mismatch");
    assert_eq!(asked_by("worker", &all, None, API), "attribute-mismatch");
}

#[test]
fn another_audience_or_target_is_none() {
    let all = allow("all", "api", "token", "", "[all]");
    let elsewhere = Some("https://mirror.example");
    for (audience, target) in [
        (Some("shelves"), None),
        (Some("shelves"), API),
        (None, Some("https://nowhere.example")),
        (None, elsewhere),
        (None, Some("https://api.example:8443")),
    ] {
        assert_eq!(
            asked(&all, audience, target),
            "no-policy",
            "{audience:?} {target:?}"
        );
    }
}

#[test]
fn a_policy_without_a_credential_gives_no_token() {
    let policy = "
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: bare}
spec: {effect: allow, client: web, server: api, trustProviders: [cluster], actions: [all]}
---
";
    assert_eq!(asked(policy, None, API), "no-policy");
}

#[test]
fn a_policy_for_some_calls_is_too_narrow_for_a_token() {
    for actions in [
        "[read]",
        "[read, write]",
        "[{name: x, methods: [GET], paths: [/]}]",
    ] {
        let some = allow("some", "api", "token", "", actions);
        assert_eq!(asked(&some, BOOKS, None), "policy-too-narrow", "{actions}");
        assert_eq!(asked(&some, None, API), "policy-too-narrow", "{actions}");
    }
    let both =
        allow("all", "api", "token", "", "[all]") + &allow("read", "api", "token", "", "[read]");
    assert_eq!(
        asked(&both, BOOKS, None),
        "token",
        "what one allows, another need not"
    );
}

#[test]
fn a_server_of_some_paths_is_too_narrow_for_a_token() {
    let narrow = "
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: narrow}
spec: {host: narrow.example, paths: [/v1]}
---
";
    let policy = format!("{narrow}{}", allow("all", "narrow", "token", "", "[all]"));
    assert_eq!(asked(&policy, BOOKS, None), "policy-too-narrow");
}

#[test]
fn a_denial_of_any_call_denies_the_token() {
    let all = allow("all", "api", "token", "", "[all]");
    for actions in [
        "[all]",
        "[{name: purge, methods: [DELETE], paths: [/v1/all]}]",
    ] {
        let policies = format!("{all}{}", deny("no", "api", actions));
        assert_eq!(
            asked(&policies, BOOKS, None),
            "denied-by-policy",
            "{actions}"
        );
        assert_eq!(asked(&policies, None, API), "denied-by-policy", "{actions}");
    }
}

#[test]
fn a_denial_where_the_token_could_be_used_too_denies_it() {
    let policies = allow("all", "api", "token", "", "[all]")
        + &allow("mirror", "mirror", "token", "", "[all]")
        + &deny("no", "mirror", "[write]");
    for (audience, target) in [(BOOKS, None), (None, API), (BOOKS, API)] {
        assert_eq!(asked(&policies, audience, target), "denied-by-policy");
    }
}

#[test]
fn a_dry_run_policy_changes_nothing() {
    let all = allow("all", "api", "token", "", "[all]");
    let more = allow("rehearsed", "mirror", "token", "mode: dry-run,", "[all]")
        + &allow("narrower", "api", "svid", "mode: dry-run,", "[read]");
    assert_eq!(asked(&format!("{all}{more}"), BOOKS, None), "token");
    assert_eq!(asked(&more, BOOKS, None), "no-policy");
}

#[test]
fn different_tokens_for_one_audience_are_a_conflict_until_the_target_is_named() {
    let policies =
        allow("one", "api", "token", "", "[all]") + &allow("two", "mirror", "svid", "", "[all]");
    assert_eq!(asked(&policies, BOOKS, None), "credential-conflict");
    assert_eq!(asked(&policies, BOOKS, API), "token");
    assert_eq!(
        asked(&policies, BOOKS, Some("https://mirror.example")),
        "svid"
    );
    assert_eq!(asked(&policies, Some("shelves"), None), "svid");
}

#[test]
fn a_target_below_a_domain_must_be_named() {
    let policies = allow("below", "below", "token", "", "[all]");
    assert_eq!(asked(&policies, BOOKS, None), "no-policy");
    assert_eq!(
        asked(&policies, BOOKS, Some("https://a.below.example")),
        "token"
    );
}

#[test]
fn conditions_count_as_for_a_call() {
    let condition = "
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: later}
spec: {time: {timeZone: UTC, notBefore: 2099-01-01}}
---
";
    let policies = format!(
        "{condition}{}",
        allow("all", "api", "token", "conditions: [later],", "[all]")
    );
    assert_eq!(asked(&policies, BOOKS, None), "condition-not-met");
}

/// A condition `it` that reads `expression`.
fn condition(expression: &str) -> String {
    format!(
        "
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {{name: it}}
spec: {{cel: '{expression}'}}
---
"
    )
}

/// A deny of every call of `server` under the condition `it`.
fn deny_if(server: &str) -> String {
    deny("no", server, "[all], conditions: [it]")
}

/// What no token's holder has sent yet.
const UNSEEN: [&str; 4] = [
    "request.path.startsWith(\"/admin\")",
    "request.method == \"DELETE\"",
    "request.query.contains(\"admin\")",
    "\"x-admin\" in request.headers",
];

fn asked_without_headers(policies: &str, audience: Option<&str>, target: Option<&str>) -> String {
    let set = compiled(&format!("{BASE}{policies}"));
    let caller = pod("shop", "web");
    let target = target.map(|url| TokenTarget::parse(url).unwrap());
    let context = Context {
        headers: None,
        ..Context::at(NOW)
    };
    let decided = set.hand_out(&caller, audience, target.as_ref(), &context);
    code(decided)
}

#[test]
fn a_denial_by_what_a_call_will_say_denies_the_token() {
    for expression in UNSEEN {
        for expression in [expression.to_owned(), format!("!({expression})")] {
            let policies = condition(&expression)
                + &allow("all", "api", "token", "", "[all]")
                + &deny_if("api");
            for (audience, target) in [(BOOKS, None), (None, API)] {
                let code = asked_without_headers(&policies, audience, target);
                assert_eq!(code, "denied-by-policy", "{expression}");
            }
        }
    }
}

#[test]
fn an_allow_by_what_a_call_will_say_gives_no_token() {
    for expression in UNSEEN {
        for expression in [expression.to_owned(), format!("!({expression})")] {
            let all = allow("all", "api", "token", "conditions: [it],", "[all]");
            let policies = condition(&expression) + &all;
            for (audience, target) in [(BOOKS, None), (None, API)] {
                let code = asked_without_headers(&policies, audience, target);
                assert_eq!(code, "condition-unavailable", "{expression}");
            }
        }
    }
}

#[test]
fn a_condition_may_read_the_host_and_the_port_of_a_named_target() {
    let all = allow("all", "api", "token", "conditions: [it],", "[all]");
    for (expression, code) in [
        (
            "request.host == \"api.example\" && request.port == 443",
            "token",
        ),
        ("request.host == \"mirror.example\"", "condition-not-met"),
    ] {
        let policies = condition(expression) + &all;
        assert_eq!(asked(&policies, BOOKS, None), code, "{expression}");
    }
}

#[test]
fn a_condition_cannot_read_the_host_of_a_whole_domain() {
    let policies = condition("request.host == \"a.below.example\"")
        + &allow("all", "api", "token", "", "[all]")
        + &allow("below", "below", "token", "", "[all]")
        + &deny_if("below");
    assert_eq!(asked(&policies, BOOKS, None), "denied-by-policy");
}

#[test]
fn a_denial_at_another_audience_of_the_token_denies_it() {
    let policies = allow("all", "api", "svid", "", "[all]")
        + &allow("mirror", "mirror", "token", "", "[all]")
        + &deny("no", "mirror", "[write]");
    for (audience, target) in [(Some("shelves"), None), (Some("shelves"), API), (None, API)] {
        let code = asked(&policies, audience, target);
        assert_eq!(code, "denied-by-policy", "{audience:?} {target:?}");
    }
}

#[test]
fn a_denial_below_a_domain_that_takes_the_token_denies_it() {
    let one_host = "
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: one}
spec: {host: one.deep.below.example}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: deep}
spec: {host: '*.deep.below.example'}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: port}
spec: {host: one.below.example, port: 8443}
---
";
    let allowed = allow("all", "api", "token", "", "[all]")
        + &allow("below", "below", "token", "", "[all]")
        + one_host;
    assert_eq!(asked(&allowed, BOOKS, None), "token");
    for server in ["below", "one", "deep"] {
        let policies = format!("{allowed}{}", deny("no", server, "[write]"));
        for (audience, target) in [(BOOKS, None), (BOOKS, API), (None, API)] {
            let code = asked(&policies, audience, target);
            assert_eq!(code, "denied-by-policy", "{server} {audience:?} {target:?}");
        }
    }
    let elsewhere = format!("{allowed}{}", deny("no", "port", "[write]"));
    assert_eq!(asked(&elsewhere, BOOKS, None), "token");
}

#[test]
fn a_token_for_a_target_that_is_not_wholly_allowed_too_is_too_much() {
    let all = allow("all", "api", "token", "", "[all]");
    for other in [
        allow("some", "mirror", "token", "", "[read]"),
        allow("some", "below", "token", "", "[read]"),
        allow("some", "mirror", "svid", "", "[read]"),
        allow("other", "mirror", "token", "", "[all]").replace("client: web", "client: other")
            + "
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: other}
spec: {match: [{k8s.namespace: shop, k8s.serviceAccount: other}]}
---
",
    ] {
        let policies = format!("{all}{other}");
        for (audience, target) in [(BOOKS, None), (BOOKS, API), (None, API)] {
            let code = asked(&policies, audience, target);
            assert_eq!(code, "policy-too-narrow", "{other} {audience:?} {target:?}");
        }
    }
}

#[test]
fn the_refusal_names_what_it_rests_on() {
    let set = compiled(&format!(
        "{BASE}{}",
        allow("some", "api", "token", "", "[read]")
    ));
    let caller = pod("shop", "web");
    let refused = set
        .hand_out(&caller, BOOKS, None, &Context::at(NOW))
        .unwrap_err();
    assert_eq!(refused.why, Withheld::Denied(DenyReason::PolicyTooNarrow));
    let decided = refused.decided.expect("a call");
    let Decision::Allow(grant) = decided.decision() else {
        panic!("{decided:?}");
    };
    assert_eq!(grant.policy_matched(), "allow:web:api:read");
}
