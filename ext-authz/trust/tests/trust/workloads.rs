//! Which workload a verified token names, and under which attributes.

use attache_core::{attestation::ProviderKind, attributes::AttributeValue};
use attache_trust::{KeySource, ProviderConfig, Trust};
use serde_json::{Value, json};

use crate::signer::{
    NOW, Signer, claims, evidence, jwks, oidc, trust, trust_domain, verdict, with, without,
};

const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";
const CI: &str = "https://ci.example";

struct Providers {
    signer: Signer,
    trust: std::sync::Arc<Trust>,
}

impl Providers {
    fn new() -> Self {
        let signer = Signer::new();
        let keys = KeySource::Inline(jwks(&[signer.rsa_jwk("rsa")]));
        let kind = ProviderKind::KubernetesServiceAccount;
        let cluster = ProviderConfig::new("cluster", kind, CLUSTER, keys.clone(), trust_domain());
        let trust = trust(vec![cluster, oidc("build/ci", CI, keys)]);
        Self { signer, trust }
    }

    async fn verdict(&self, claims: &Value) -> &'static str {
        verdict(&self.trust, &self.signer.sign("rsa", claims)).await
    }

    /// SPIFFE ID and attributes of a token that must be attested.
    async fn proven(&self, claims: &Value) -> (String, Vec<(String, String)>) {
        let token = evidence(&self.signer.sign("rsa", claims));
        let attested = self
            .trust
            .attest(&token, NOW)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        let attributes = attested.attributes().iter();
        let attributes = attributes
            .map(|(name, value)| (name.to_owned(), value.to_string()))
            .collect();
        (attested.spiffe_id().to_string(), attributes)
    }
}

/// As kube-apiserver 1.35 writes them for a pod.
fn pod_claims() -> Value {
    let mut claims = claims(CLUSTER);
    claims["sub"] = json!("system:serviceaccount:production:payment-svc");
    claims["aud"] = json!(["attache"]);
    claims["jti"] = json!("7ee52be0-9045-4653-aa5e-0da57b8dccdc");
    claims["kubernetes.io"] = json!({
        "namespace": "production",
        "serviceaccount": {"name": "payment-svc", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
        "pod": {"name": "payment-7d9f", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
        "node": {"name": "node-1", "uid": "97c5a0a4-4f19-4c9a-9d36-6a6f0a2b4a2f"},
        "warnafter": 1_800_003_607,
    });
    claims
}

fn pod_claims_with(pointer: &str, value: Value) -> Value {
    let mut claims = pod_claims();
    *claims.pointer_mut(pointer).expect("a member") = value;
    claims
}

fn pod_claims_without(object: &str, name: &str) -> Value {
    let mut claims = pod_claims();
    let object = claims
        .pointer_mut(object)
        .and_then(Value::as_object_mut)
        .expect("an object");
    object.remove(name);
    claims
}

#[tokio::test]
async fn a_pod_is_its_namespace_and_service_account() {
    let (spiffe_id, attributes) = Providers::new().proven(&pod_claims()).await;
    assert_eq!(
        spiffe_id,
        "spiffe://cluster.local/ns/production/sa/payment-svc"
    );
    let expected = [
        ("k8s.cluster", "cluster"),
        ("k8s.namespace", "production"),
        ("k8s.nodeName", "node-1"),
        ("k8s.podName", "payment-7d9f"),
        ("k8s.podUid", "5e0bd49b-f040-43b0-99b7-22765a53f7f3"),
        ("k8s.serviceAccount", "payment-svc"),
        (
            "k8s.serviceAccountUid",
            "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798",
        ),
    ];
    assert_eq!(
        attributes,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn an_attestation_says_who_vouched_and_until_when() {
    let providers = Providers::new();
    let token = evidence(&providers.signer.sign("rsa", &pod_claims()));
    let attested = providers.trust.attest(&token, NOW).await.expect("attested");
    assert_eq!(attested.provider(), "cluster");
    assert_eq!(attested.kind(), ProviderKind::KubernetesServiceAccount);
    assert_eq!(attested.expires_at().as_seconds(), NOW.as_seconds() + 600);
}

#[tokio::test]
async fn a_token_that_is_bound_to_no_pod_names_none() {
    let providers = Providers::new();
    let mut claims = pod_claims_without("/kubernetes.io", "pod");
    claims["kubernetes.io"]
        .as_object_mut()
        .expect("the claim")
        .remove("node");
    let (_, attributes) = providers.proven(&claims).await;
    let names: Vec<_> = attributes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "k8s.cluster",
            "k8s.namespace",
            "k8s.serviceAccount",
            "k8s.serviceAccountUid"
        ]
    );
    // The node was deleted: its name stands without a uid.
    let (_, attributes) = providers
        .proven(&pod_claims_without("/kubernetes.io/node", "uid"))
        .await;
    assert!(attributes.contains(&("k8s.nodeName".to_owned(), "node-1".to_owned())));
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test]
async fn a_service_account_token_that_contradicts_itself_is_refused() {
    let providers = Providers::new();
    let malformed = "token-claim-malformed";
    let accounts = "/kubernetes.io/serviceaccount";
    for (claims, code) in [
        (
            without(pod_claims(), "kubernetes.io"),
            "token-claim-missing",
        ),
        (without(pod_claims(), "sub"), "token-claim-missing"),
        (
            with(
                pod_claims(),
                "sub",
                "system:serviceaccount:production:other",
            ),
            malformed,
        ),
        (
            with(
                pod_claims(),
                "sub",
                "system:serviceaccount:other:payment-svc",
            ),
            malformed,
        ),
        (
            with(
                pod_claims(),
                "sub",
                "system:serviceaccount:production:payment-svc:x",
            ),
            malformed,
        ),
        (with(pod_claims(), "sub", "payment-svc"), malformed),
        (with(pod_claims(), "kubernetes.io", json!([])), malformed),
        (with(pod_claims(), "kubernetes.io", json!({})), malformed),
        (
            pod_claims_with("/kubernetes.io/namespace", json!(["production"])),
            malformed,
        ),
        (
            pod_claims_with("/kubernetes.io/namespace", json!("")),
            malformed,
        ),
        (
            pod_claims_with("/kubernetes.io/pod", json!("payment-7d9f")),
            malformed,
        ),
        (
            pod_claims_with("/kubernetes.io/pod", json!(null)),
            malformed,
        ),
        (
            pod_claims_with("/kubernetes.io/pod/name", json!(7)),
            malformed,
        ),
        (
            pod_claims_with("/kubernetes.io/node/name", json!(null)),
            malformed,
        ),
        (pod_claims_without("/kubernetes.io/pod", "uid"), malformed),
        (pod_claims_without(accounts, "uid"), malformed),
        (pod_claims_without(accounts, "name"), malformed),
        (
            pod_claims_without("/kubernetes.io", "serviceaccount"),
            malformed,
        ),
        (pod_claims_without("/kubernetes.io", "namespace"), malformed),
    ] {
        assert_eq!(providers.verdict(&claims).await, code, "{claims}");
    }
}

#[tokio::test]
async fn a_namespace_that_is_no_path_segment_names_nobody() {
    let providers = Providers::new();
    for namespace in ["..", "a/sa/b", "a b", "é", "a%2fb"] {
        let mut claims = pod_claims_with("/kubernetes.io/namespace", json!(namespace));
        claims["sub"] = json!(format!("system:serviceaccount:{namespace}:payment-svc"));
        assert_eq!(
            providers.verdict(&claims).await,
            "token-claim-malformed",
            "{namespace}"
        );
    }
}

#[tokio::test]
async fn a_legacy_token_from_a_secret_is_refused() {
    let mut legacy = claims(CLUSTER);
    legacy["sub"] = json!("system:serviceaccount:production:payment-svc");
    legacy["kubernetes.io/serviceaccount/namespace"] = json!("production");
    legacy["kubernetes.io/serviceaccount/service-account.name"] = json!("payment-svc");
    let providers = Providers::new();
    assert_eq!(providers.verdict(&legacy).await, "token-claim-missing");
    assert_eq!(
        providers.verdict(&without(legacy, "exp")).await,
        "token-claim-missing"
    );
}

#[tokio::test]
async fn a_token_that_the_api_server_would_take_is_refused() {
    let providers = Providers::new();
    for audience in [
        json!([CLUSTER]),
        json!(["attache", CLUSTER]),
        json!(["attache", "https://kubernetes.default.svc"]),
        json!(["attache", "https://kubernetes.default.svc.cluster.local/"]),
    ] {
        let claims = with(pod_claims(), "aud", audience);
        assert_eq!(
            providers.verdict(&claims).await,
            "token-audience-mismatch",
            "{claims}"
        );
    }
}

#[tokio::test]
async fn an_id_token_is_its_subject_and_its_claims() {
    let mut claims = claims(CI);
    claims["repository"] = json!("acme/payments");
    claims["run"] = json!(42);
    claims["ratio"] = json!(0.5);
    claims["protected"] = json!(true);
    claims["groups"] = json!(["admins", "payments"]);
    claims["nobody"] = json!([]);
    claims["google"] = json!({"compute_engine": {"zone": "eu-1"}, "empty": {}});
    claims["nothing"] = json!(null);
    claims["mixed"] = json!(["a", 1]);
    let providers = Providers::new();
    let (spiffe_id, attributes) = providers.proven(&claims).await;
    assert_eq!(
        spiffe_id,
        "spiffe://cluster.local/oidc/build/ci/sub/build-42"
    );
    let expected = [
        ("claims.aud", "attache"),
        ("claims.exp", "1800000600"),
        ("claims.google.compute_engine.zone", "eu-1"),
        ("claims.groups", "admins, payments"),
        ("claims.iat", "1799999990"),
        ("claims.iss", CI),
        ("claims.mixed", "a, 1"),
        ("claims.nobody", ""),
        ("claims.protected", "true"),
        ("claims.ratio", "0.5"),
        ("claims.repository", "acme/payments"),
        ("claims.run", "42"),
        ("claims.sub", "build-42"),
    ];
    assert_eq!(
        attributes,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    let token = evidence(&providers.signer.sign("rsa", &claims));
    let attested = providers.trust.attest(&token, NOW).await.expect("attested");
    let groups = attested.attributes().value("claims.groups");
    assert_eq!(
        groups,
        Some(&AttributeValue::Many(vec![
            "admins".into(),
            "payments".into()
        ]))
    );
}

#[tokio::test]
async fn a_claim_that_can_be_read_in_part_is_not_left_out() {
    let providers = Providers::new();
    for part in [
        json!(["contractor", null]),
        json!(["contractor", {"since": 1}]),
        json!([["x"], true]),
    ] {
        let claims = with(claims(CI), "role", part);
        assert_eq!(
            providers.verdict(&claims).await,
            "token-claim-malformed",
            "{claims}"
        );
    }
    // Of which nothing is a text: no attribute.
    let claims = with(claims(CI), "role", json!([{"name": "contractor"}, null]));
    let (_, attributes) = providers.proven(&claims).await;
    assert!(attributes.iter().all(|(name, _)| name != "claims.role"));
}

#[tokio::test]
async fn an_id_token_cannot_claim_what_only_a_cluster_proves() {
    let mut claims = claims(CI);
    claims["k8s.namespace"] = json!("production");
    claims["k8s"] = json!({"serviceAccount": "payment-svc"});
    claims["spiffe.id"] = json!("spiffe://cluster.local/ns/production/sa/payment-svc");
    let (spiffe_id, attributes) = Providers::new().proven(&claims).await;
    assert_eq!(
        spiffe_id,
        "spiffe://cluster.local/oidc/build/ci/sub/build-42"
    );
    assert!(
        attributes
            .iter()
            .all(|(name, _)| name.starts_with("claims."))
    );
}

#[tokio::test]
async fn a_subject_that_is_no_path_segment_is_hashed() {
    let providers = Providers::new();
    let id = async |subject: &str| providers.proven(&with(claims(CI), "sub", subject)).await.0;
    assert_eq!(
        id("repo:acme/payments:ref:refs/heads/main").await,
        "spiffe://cluster.local/oidc/build/ci/sha256/\
         7697bcaf4052a65cb6f92f059d7ef7591032418c518b16eb3c31d2c2f3a29a74"
    );
    let all = [
        "a", "A", "a/b", "a%2Fb", "..", ".", "sha256", "sub", "a b", "é", "sub/a", "sha256/a",
    ];
    let mut ids = Vec::new();
    for subject in all {
        ids.push(id(subject).await);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "two subjects share an ID: {ids:#?}");
    let long = id(&"a".repeat(2048)).await;
    assert!(long.contains("/sha256/") && long.len() < 200, "{long}");
}

#[tokio::test]
async fn claims_that_collide_or_overflow_are_refused_not_dropped() {
    let providers = Providers::new();
    let mut collision = claims(CI);
    collision["a.b"] = json!("one");
    collision["a"] = json!({"b": "other"});
    assert_eq!(providers.verdict(&collision).await, "token-claim-malformed");

    let numbered = |count: usize| {
        let mut claims = claims(CI);
        for at in 0..count {
            claims[format!("c{at}")] = json!("x");
        }
        claims
    };
    // `claims` itself brings five.
    assert_eq!(providers.verdict(&numbered(251)).await, "attested");
    assert_eq!(
        providers.verdict(&numbered(252)).await,
        "token-claim-malformed"
    );

    let nested = |depth: usize| {
        let inner = (0..depth).fold(json!("x"), |inner, _| json!({ "a": inner }));
        with(claims(CI), "n", inner)
    };
    assert_eq!(providers.verdict(&nested(7)).await, "attested");
    assert_eq!(providers.verdict(&nested(8)).await, "token-claim-malformed");
}
