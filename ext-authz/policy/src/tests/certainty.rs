//! What is told of policies that meet: a policy that is said never to apply never does, and no two
//! credentials ever meet in a call of which nothing was told.

use attache_core::{attestation::Attestation, attributes::AttributeValue};
use proptest::{prelude::*, sample::select};

use super::{CLUSTER, ask, build_job, compiled, pod, refused, settings, source};
use crate::{Code, Problems, compile};

/// Clients, servers and credentials that overlap in every way, and one condition.
const GROUND: &str = r#"
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: shop}
spec: {match: [{k8s.namespace: shop}]}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: web}
spec: {match: [{k8s.namespace: [shop, bank], k8s.serviceAccount: web}]}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: shop-web}
spec: {match: [{spiffe.id: spiffe://cluster.local/ns/shop/sa/web}]}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: some}
spec: {match: [{k8s.serviceAccount: "w*"}, {claims.groups: admins}]}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: builders}
spec: {match: [{claims.groups: builders}]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: exact}
spec: {host: api.example, paths: [/v1]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: again}
spec: {host: api.example}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: below}
spec: {host: "*.example"}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: one}
spec: {type: oidc-token, audience: one}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: two}
spec: {type: oidc-token, audience: two}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: never-now}
spec: {time: {timeZone: UTC, notBefore: 2999-01-01}}
---
"#;

/// One policy; its place in the set is its name.
#[derive(Clone, Debug)]
struct Policy {
    effect: &'static str,
    client: &'static str,
    server: &'static str,
    providers: &'static str,
    credential: &'static str,
    more: &'static str,
    methods: &'static str,
    paths: &'static str,
}

fn policy() -> impl Strategy<Value = Policy> {
    (
        select(vec!["allow", "allow", "deny"]),
        select(vec!["shop", "web", "shop-web", "some", "builders"]),
        select(vec!["exact", "again", "below"]),
        select(vec!["cluster", "forge", "cluster, forge"]),
        select(vec![
            "",
            "credentialProvider: one,",
            "credentialProvider: two,",
        ]),
        select(vec![
            "",
            "",
            "",
            "mode: dry-run,",
            "conditions: [never-now],",
        ]),
        select(vec!["GET", "GET, PUT"]),
        select(vec!["/", "/v1", "/v1/a", "/v1, /v1/a"]),
    )
        .prop_map(
            |(effect, client, server, providers, credential, more, methods, paths)| Policy {
                effect,
                client,
                server,
                providers,
                credential: if effect == "deny" { "" } else { credential },
                more,
                methods,
                paths,
            },
        )
}

fn written(policies: &[Policy]) -> String {
    let ground = format!("{CLUSTER}{GROUND}");
    policies.iter().enumerate().fold(ground, |text, (index, policy)| {
        let Policy { effect, client, server, providers, credential, more, methods, paths } = policy;
        text + &format!(
            "apiVersion: attache.dev/v1\nkind: AccessPolicy\nmetadata: {{name: p{index}}}\nspec: {{effect: {effect}, client: {client}, server: {server}, trustProviders: [{providers}], {credential} {more} actions: [{{name: p{index}, methods: [{methods}], paths: [{paths}]}}]}}\n---\n"
        )
    })
}

fn callers() -> Vec<Attestation> {
    let groups =
        |names: &[&str]| build_job(&[("groups", AttributeValue::many(names.iter().copied()))]);
    vec![
        pod("shop", "web"),
        pod("shop", "cart"),
        pod("bank", "web"),
        pod("bank", "worker"),
        groups(&["admins", "builders"]),
        groups(&["builders"]),
    ]
}

fn codes(problems: &Problems) -> Vec<Code> {
    problems.iter().map(|problem| problem.code).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_to_never_apply_never_does_and_no_conflict_comes_untold(
        policies in prop::collection::vec(policy(), 2..5),
    ) {
        let text = written(&policies);
        let Ok(set) = compile(&[source("set.yaml", &text)], &settings()) else {
            return Err(TestCaseError::reject("a contradictory set"));
        };
        let never: Vec<String> = set
            .warnings()
            .iter()
            .filter(|problem| matches!(problem.code, Code::Shadowed | Code::NeverApplies))
            .map(|problem| {
                let (_, name) = problem.place.path.split_once("AccessPolicy ").unwrap();
                format!(":{}", name.split(':').next().unwrap())
            })
            .collect();
        let conflict_told = codes(set.warnings()).contains(&Code::CredentialConflict);
        for caller in callers() {
            for host in ["api.example", "b.example", "a.b.example"] {
                for call in ["GET", "PUT"].into_iter().flat_map(|method| {
                    ["/", "/v1", "/v1/a", "/v1/a/b", "/v2"].map(|path| format!("{method} https://{host}{path}"))
                }) {
                    let answer = ask(&set, &caller, &call);
                    prop_assert!(answer != "credential-conflict" || conflict_told, "{}\n{}", call, text);
                    let decides = |name: &&String| answer.split([' ', '"']).any(|word| word.ends_with(name.as_str()));
                    let wrong = never.iter().find(decides);
                    // One that does not apply may still be named as what came nearest.
                    let applies = answer.starts_with("allow:") || answer.starts_with("denied-by-policy");
                    prop_assert!(wrong.is_none() || !applies, "{}: {} {:?}\n{}\n{}", call, answer, wrong, set.warnings(), text);
                }
            }
        }
    }
}

/// Two policies `first` and `second`, each with what differs.
fn pair(first: &str, second: &str) -> String {
    let policy = |name: &str, what: &str| {
        format!(
            "apiVersion: attache.dev/v1\nkind: AccessPolicy\nmetadata: {{name: {name}}}\nspec: {{trustProviders: [cluster, forge], actions: [all], {what}}}\n---\n"
        )
    };
    format!(
        "{CLUSTER}{GROUND}{}{}",
        policy("first", first),
        policy("second", second)
    )
}

#[test]
fn clients_that_nobody_is_both_of_are_no_conflict() {
    let warned = |one: &str, two: &str| {
        let client = |name: &str, entry: &str| {
            format!(
                "apiVersion: attache.dev/v1\nkind: ClientWorkload\nmetadata: {{name: {name}}}\nspec: {{match: [{{{entry}}}]}}\n---\n"
            )
        };
        let policies = pair(
            "effect: allow, client: a, server: exact, credentialProvider: one",
            "effect: allow, client: b, server: exact, credentialProvider: two",
        );
        let set = compiled(&format!(
            "{policies}{}{}",
            client("a", one),
            client("b", two)
        ));
        codes(set.warnings()).contains(&Code::CredentialConflict)
    };
    for (one, two, possible) in [
        ("claims.sub: a", "claims.sub: b", false),
        ("claims.sub: a", "claims.sub: 'b*'", false),
        ("claims.groups: a", "claims.groups: b", true),
        ("k8s.namespace: a", "k8s.namespace: 'b-*'", false),
        ("k8s.namespace: 'a-*'", "k8s.namespace: 'b-*'", false),
        ("k8s.namespace: '*-a'", "k8s.namespace: '*-b'", false),
        (
            "k8s.namespace: [a, 'c-*']",
            "k8s.namespace: ['b-*', d]",
            false,
        ),
        (
            "k8s.namespace: [a, 'c-*']",
            "k8s.namespace: ['b-*', c-d]",
            true,
        ),
        ("k8s.namespace: 'a-*'", "k8s.namespace: 'a*'", true),
        ("k8s.namespace: 'a-*'", "k8s.namespace: '*-b'", true),
        ("k8s.namespace: a", "k8s.serviceAccount: b", true),
    ] {
        assert_eq!(warned(one, two), possible, "{one} | {two}");
        assert_eq!(warned(two, one), possible, "{two} | {one}");
    }
}

#[test]
fn two_credentials_are_an_error_only_where_some_caller_certainly_gets_both() {
    let allow = |client: &str, credential: &str| {
        format!("effect: allow, client: {client}, server: again, credentialProvider: {credential}")
    };
    for (one, other) in [("shop", "shop"), ("shop-web", "shop-web"), ("web", "some")] {
        let problems = refused(&pair(&allow(one, "one"), &allow(other, "two")));
        assert_eq!(
            codes(&problems),
            [Code::CredentialConflict],
            "{one} {other}: {problems}"
        );
    }
    // A SPIFFE ID says nothing of the other attributes: a template may make it of any.
    for (one, other) in [
        ("shop", "web"),
        ("shop", "some"),
        ("some", "builders"),
        ("shop-web", "web"),
        ("shop-web", "shop"),
    ] {
        let set = compiled(&pair(&allow(one, "one"), &allow(other, "two")));
        assert_eq!(
            codes(set.warnings()),
            [Code::CredentialConflict],
            "{one} {other}: {}",
            set.warnings()
        );
    }
    for (one, other) in [("shop", "builders"), ("shop-web", "builders")] {
        let set = compiled(&pair(&allow(one, "one"), &allow(other, "two")));
        assert!(
            set.warnings().is_empty(),
            "{one} {other}: {}",
            set.warnings()
        );
    }
    let set = compiled(&pair(&allow("shop", "one"), &allow("web", "one")));
    assert!(set.warnings().is_empty(), "{}", set.warnings());
}

#[test]
fn a_policy_is_shadowed_only_by_one_that_decides_all_its_calls() {
    let shadowed = |first: &str, second: &str| {
        let set = compiled(&pair(first, second));
        codes(set.warnings()) == [Code::Shadowed]
    };
    let allow = "effect: allow, client: shop-web, server: exact";
    assert!(shadowed(
        "effect: deny, client: shop-web, server: below",
        allow
    ));
    assert!(shadowed(
        "effect: deny, client: web, server: again",
        &allow.replace("shop-web", "web")
    ));
    assert!(!shadowed(
        "effect: deny, client: shop, server: below, mode: dry-run",
        allow
    ));
    assert!(!shadowed(
        "effect: deny, client: shop-web, server: below, conditions: [never-now]",
        allow
    ));
    assert!(!shadowed(
        "effect: deny, client: builders, server: below",
        allow
    ));
    assert!(!shadowed(allow, &allow.replace("exact", "again")));
    assert!(shadowed(
        &allow.replace("exact", "again"),
        &allow.replace("exact", "again")
    ));
    assert!(!shadowed(
        &format!("{allow}, credentialProvider: one"),
        &allow.replace("exact", "again")
    ));
}
