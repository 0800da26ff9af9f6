use attache_core::{
    attestation::{Proven, ProviderKind},
    attributes::Attributes,
    event::Outcome,
    request::{Host, Request, RequestPath, Transport},
    spiffe_id::{SpiffeId, TrustDomain},
    time::Timestamp,
};

use super::{Check, Explanation, Part, Standing, Subject, Supposed};
use crate::{Compiled, Context, Settings, Source, compile};

const NOON: Timestamp = Timestamp::from_seconds(1_781_092_800); // 2026-06-10T12:00Z, a Wednesday

const SET: &str = "
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: cluster}
spec: {type: kubernetes-service-account, issuer: https://cluster.example}
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {name: shop}
spec:
  match:
    - {k8s.namespace: shop, k8s.serviceAccount: [checkout, refund-*]}
    - {k8s.namespace: lab, k8s.serviceAccount: probe, k8s.nodeName: node-1}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: bank}
spec: {host: api.bank.example, paths: [/v1]}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {name: all}
spec: {host: '*.bank.example'}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: bank-token}
spec: {type: oidc-token, audience: https://api.bank.example, ttl: 300}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {name: office-hours}
spec:
  time:
    timeZone: Europe/Berlin
    windows: [{days: [mon, tue, wed, thu, fri], from: '08:00', to: '18:00'}]
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: shop-reads}
spec:
  {effect: allow, client: shop, server: bank, trustProviders: [cluster], actions: [read],
   conditions: [office-hours], credentialProvider: bank-token}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: shop-anything}
spec: {effect: allow, client: shop, server: all, trustProviders: [cluster], actions: [all]}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {name: closing}
spec: {effect: deny, mode: dry-run, client: shop, server: bank, actions: [all]}
";

fn set() -> Compiled {
    let settings = Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: Vec::new(),
    };
    let source = Source {
        name: "set.yaml".to_owned(),
        text: SET.as_bytes().to_vec(),
    };
    compile(&[source], &settings).unwrap_or_else(|problems| panic!("{problems}"))
}

fn explain(namespace: &str, account: &str, call: &str, context: &Context<'_>) -> Explanation {
    let mut attributes = Attributes::new();
    attributes.set("k8s.namespace", namespace);
    attributes.set("k8s.serviceAccount", account);
    let domain = TrustDomain::parse("cluster.local").unwrap();
    let caller = Supposed::caller(Proven {
        provider: "cluster".into(),
        kind: ProviderKind::KubernetesServiceAccount,
        spiffe_id: SpiffeId::of(&domain, ["ns", namespace, "sa", account]).unwrap(),
        attributes,
        expires_at: NOON.plus(std::time::Duration::from_secs(600)),
    });
    let (method, rest) = call.split_once(' ').unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let host = Host::parse(host).unwrap();
    let request = Request {
        host: &host,
        port: 443,
        transport: Transport::Tls,
        method,
        path: RequestPath::parse(path).unwrap(),
    };
    caller.explain(&set(), &request, context, 10)
}

fn parts(explanation: &Explanation) -> Vec<(&str, Part)> {
    let policies = explanation.policies.iter();
    policies.map(|it| (it.policy.as_str(), it.part)).collect()
}

/// What does not hold of the first policy.
fn failing(explanation: &Explanation) -> Vec<&Check> {
    let checks = explanation.policies[0].checks.iter();
    checks
        .filter(|check| check.standing != Standing::Holds)
        .collect()
}

#[test]
fn a_permit_names_what_decided_what_it_attaches_and_what_came_second() {
    let told = explain(
        "shop",
        "refund-eu",
        "GET api.bank.example/v1/books",
        &Context::at(NOON),
    );
    assert_eq!(told.verdict.outcome, Outcome::Permitted);
    assert_eq!(
        told.verdict.policy_matched.as_deref(),
        Some("allow:shop:bank:read")
    );
    let credential = told.verdict.credential.as_ref().unwrap();
    assert_eq!(credential.provider, "bank-token");
    assert_eq!(
        (
            credential.header.as_deref(),
            credential.prefix.as_str(),
            credential.ttl_seconds
        ),
        (Some("authorization"), "Bearer ", Some(300))
    );
    assert_eq!(
        parts(&told),
        [
            ("shop-reads", Part::Decides),
            ("shop-anything", Part::Outranked),
            ("closing", Part::Rehearses)
        ]
    );
    assert_eq!(failing(&told), [] as [&Check; 0]);
    let would_be = told.would_be.unwrap();
    assert_eq!(
        (would_be.outcome, would_be.policy.as_deref()),
        (Outcome::Denied, Some("closing"))
    );
}

#[test]
fn the_nearest_policy_tells_what_was_expected_and_what_was_proven() {
    let told = explain(
        "staging",
        "checkout",
        "GET api.bank.example/v1",
        &Context::at(NOON),
    );
    assert_eq!(told.verdict.code.as_deref(), Some("attribute-mismatch"));
    assert_eq!(told.policies[0].part, Part::Nearest);
    let failing = failing(&told);
    let [namespace] = failing.as_slice() else {
        panic!("{failing:?}")
    };
    assert_eq!(namespace.name.as_deref(), Some("k8s.namespace"));
    assert_eq!(
        (namespace.expected.as_str(), namespace.actual.as_deref()),
        ("shop", Some("staging"))
    );
    let mismatch = told.verdict.mismatch.as_ref().unwrap();
    assert_eq!(
        (mismatch.attribute.as_str(), mismatch.expected.as_str()),
        ("k8s.namespace", "shop")
    );
}

#[test]
fn the_entry_that_misses_least_is_told() {
    let told = explain(
        "lab",
        "probe",
        "GET api.bank.example/v1",
        &Context::at(NOON),
    );
    let failing = failing(&told);
    let [node] = failing.as_slice() else {
        panic!("{failing:?}")
    };
    assert_eq!(
        (node.name.as_deref(), node.actual.as_deref()),
        (Some("k8s.nodeName"), None)
    );
}

#[test]
fn a_condition_tells_its_hours_and_what_the_clock_shows() {
    let evening = Timestamp::from_seconds(1_781_092_800 - 8 * 86_400 + 5 * 3_600);
    let told = explain(
        "shop",
        "checkout",
        "GET api.bank.example/v1",
        &Context::at(evening),
    );
    // The wider policy still allows it.
    assert_eq!(told.verdict.policy.as_deref(), Some("shop-anything"));
    let reads = told
        .policies
        .iter()
        .find(|it| it.policy == "shop-reads")
        .unwrap();
    assert_eq!(reads.part, Part::DoesNotApply);
    let condition = reads
        .checks
        .iter()
        .find(|it| it.subject == Subject::Condition)
        .unwrap();
    assert_eq!(
        (
            condition.name.as_deref(),
            condition.standing,
            condition.expected.as_str(),
            condition.actual.as_deref()
        ),
        (
            Some("office-hours"),
            Standing::Fails,
            "mon, tue, wed, thu, fri 08:00 to 18:00 Europe/Berlin",
            Some("tue 2026-06-02 19:00"),
        )
    );
}

#[test]
fn a_misspelled_host_has_its_nearest_policy() {
    let told = explain(
        "shop",
        "checkout",
        "GET api.bank.exampel/v1",
        &Context::at(NOON),
    );
    assert_eq!(told.verdict.code.as_deref(), Some("no-policy"));
    let nearest = &told.policies[0];
    assert_eq!(
        (nearest.policy.as_str(), nearest.part),
        ("shop-reads", Part::Nearest)
    );
    let host = &nearest.checks[0];
    assert_eq!(
        (host.subject, host.standing),
        (Subject::Host, Standing::Fails)
    );
    assert_eq!(
        (host.expected.as_str(), host.actual.as_deref()),
        ("api.bank.example", Some("api.bank.exampel"))
    );
}

#[test]
fn no_more_policies_are_told_than_asked_for() {
    let context = Context::at(NOON);
    assert_eq!(
        explain("shop", "checkout", "GET api.bank.example/v1", &context)
            .policies
            .len(),
        3
    );
    let host = Host::parse("api.bank.example").unwrap();
    let request = Request {
        host: &host,
        port: 443,
        transport: Transport::Tls,
        method: "GET",
        path: RequestPath::parse("/").unwrap(),
    };
    let caller = crate::tests::pod("shop", "checkout");
    let told = set().explain(&caller, &request, &context, 1);
    assert_eq!((told.policies.len(), told.policy_count), (1, 3));
}
