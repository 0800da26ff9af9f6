mod freshness;
mod stored;

use std::{
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use attache_core::{
    attestation::{Agreement, Attestation, Proven, ProviderKind},
    attributes::Attributes,
    claims::RenderedClaims,
    jwt::Algorithm,
    request::{Host, Request, RequestPath, Transport},
    secret::Secret,
    spiffe_id::{SpiffeId, TrustDomain},
};
use attache_policy::{Compiled, Context, Decision, Source, compile};
use tokio::task::JoinSet;

use super::*;
use crate::{
    mint::{MintFailed, Minted, Order},
    secrets::SecretRoots,
};

const NOW: Timestamp = Timestamp::from_seconds(1_781_000_000);

const POLICIES: &str = r#"
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: { name: cluster }
spec: { type: kubernetes-service-account, issuer: "https://cluster.example.com" }
---
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: { name: other-cluster }
spec: { type: kubernetes-service-account, issuer: "https://other.example.com", trustDomain: other.local }
---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: { name: anyone }
spec: { match: [ { k8s.namespace: production } ] }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: bearer }
spec: { host: bearer.example.com }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: key }
spec: { host: key.example.com, authentication: { method: header, name: X-Api-Key } }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: other }
spec: { host: other.example.com }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: open }
spec: { host: open.example.com }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: token }
spec: { type: oidc-token, audience: "https://api.example.com", ttl: 300 }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: pod-token }
spec: { type: jwt-svid, audience: "https://pods.example.com", claims: { pod: "{k8s.podName}", team: payments } }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: pods }
spec: { host: pods.example.com }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: pods }
spec: { effect: allow, client: anyone, server: pods, trustProviders: [cluster], credentialProvider: pod-token, actions: [all] }
---
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: { name: forge }
spec: { type: oidc, issuer: "https://forge.example.com", trustDomain: forge.local }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: role-token }
spec: { type: oidc-token, audience: "https://roles.example.com", claims: { role: "{claims.role}" } }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: roles }
spec: { host: roles.example.com }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: roles }
spec: { effect: allow, client: anyone, server: roles, trustProviders: [cluster], credentialProvider: role-token, actions: [all] }
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: { name: other-token }
spec: { type: oidc-token, audience: "https://other.example.com", ttl: 300 }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: bearer }
spec: { effect: allow, client: anyone, server: bearer, trustProviders: [cluster, other-cluster], credentialProvider: token, actions: [all] }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: key }
spec: { effect: allow, client: anyone, server: key, trustProviders: [cluster], credentialProvider: token, actions: [all] }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: other }
spec: { effect: allow, client: anyone, server: other, trustProviders: [cluster], credentialProvider: other-token, actions: [all] }
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: open }
spec: { effect: allow, client: anyone, server: open, trustProviders: [cluster], actions: [all] }
"#;

fn policies() -> Compiled {
    let source = Source {
        name: "policies.yaml".to_owned(),
        text: POLICIES.as_bytes().to_vec(),
    };
    let trust_domain = TrustDomain::parse("cluster.local").unwrap();
    let settings = attache_policy::Settings {
        trust_domain,
        trust_providers: Vec::new(),
    };
    compile(&[source], &settings).unwrap_or_else(|problems| panic!("{problems}"))
}

fn workload(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://cluster.local/ns/production/sa/{name}")).unwrap()
}

fn attestation(provider: &str, spiffe_id: SpiffeId) -> Attestation {
    attestation_of(provider, spiffe_id, "")
}

/// The attestation of a pod; one without a name is bound to none.
fn attestation_of(provider: &str, spiffe_id: SpiffeId, pod: &str) -> Attestation {
    let mut attributes = Attributes::new();
    attributes.set("k8s.namespace", "production");
    if !pod.is_empty() {
        attributes.set("k8s.podName", pod);
    }
    let proven = Proven {
        provider: provider.into(),
        kind: ProviderKind::KubernetesServiceAccount,
        spiffe_id,
        attributes,
        expires_at: NOW.plus(Duration::from_secs(3600)),
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "policy asks for an attestation, trust is not here"
    )]
    Attestation::attested(proven)
}

/// Evidence that proves `name` to [`TestMint`].
fn evidence(name: &str) -> Evidence {
    Evidence::Token(Secret::new(workload(name).as_str().to_owned()))
}

/// Mints texts that say what they were minted for, for the workload that the evidence names.
struct TestMint {
    issuer: &'static str,
    minted: AtomicUsize,
    generation: AtomicU64,
    /// Revokes a key while this many next tokens are minted.
    revoking: AtomicUsize,
    /// What the issuer finds proven of the caller, if it is not what the edge found.
    claims: Mutex<Option<RenderedClaims>>,
    failure: Mutex<Option<MintFailed>>,
    delay: Mutex<Duration>,
    suffix: &'static str,
}

impl TestMint {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            issuer: "https://attache.example.com",
            minted: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
            revoking: AtomicUsize::new(0),
            claims: Mutex::new(None),
            failure: Mutex::new(None),
            delay: Mutex::default(),
            suffix: "",
        })
    }

    /// How long each token takes from now on.
    fn takes(&self, duration: Duration) {
        *self.delay.lock().unwrap() = duration;
    }

    fn count(&self) -> usize {
        self.minted.load(SeqCst)
    }
}

impl Mint for TestMint {
    fn issuer(&self) -> &str {
        self.issuer
    }

    fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    fn mint<'a>(
        &'a self,
        order: &'a Order,
    ) -> Pin<Box<dyn Future<Output = Result<Minted, MintFailed>> + Send + 'a>> {
        Box::pin(async move {
            let number = self.minted.fetch_add(1, SeqCst);
            tokio::task::yield_now().await;
            let delay = *self.delay.lock().unwrap();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if let Some(failure) = *self.failure.lock().unwrap() {
                return Err(failure);
            }
            let Evidence::Token(evidence) = &order.evidence else {
                panic!("tests mint against tokens");
            };
            if self.revoking.load(SeqCst) > 0 {
                self.revoking.fetch_sub(1, SeqCst);
                self.generation.fetch_add(1, SeqCst);
            }
            let (subject, pod) = evidence
                .expose()
                .split_once('#')
                .unwrap_or((evidence.expose(), ""));
            let claims = self.claims.lock().unwrap().clone();
            let claims = claims.unwrap_or_else(|| {
                let caller = attestation_of("cluster", SpiffeId::parse(subject).unwrap(), pod);
                order.plan.claims.render(&caller).unwrap()
            });
            let (algorithm, audience) = (order.plan.algorithm.name(), order.plan.audience());
            let token = format!("{number}:{algorithm}:{audience}{}", self.suffix);
            Ok(Minted {
                token: Secret::new(token),
                token_id: format!("tok_test_{number}"),
                spiffe_id: SpiffeId::parse(subject).unwrap(),
                claims,
                lifetime: Lifetime::starting(order.now, order.plan.ttl),
            })
        })
    }
}

fn credentials(mint: &Arc<TestMint>) -> Credentials {
    let secrets = Arc::new(SecretStore::new(SecretRoots::nothing()));
    let mint = Arc::clone(mint) as Arc<dyn Mint>;
    Credentials::new(mint, secrets, Reach::default(), Settings::default())
}

/// More patience than anything takes.
fn later() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

/// What `caller`, proven by `provider`, is given for `host` at `now`.
async fn call(
    credentials: &Credentials,
    policies: &Compiled,
    (provider, caller): (&str, &str),
    host: &str,
    now: Timestamp,
) -> Result<Option<Held<Credential>>, Fault> {
    let attestation = attestation(provider, workload(caller));
    call_of(
        credentials,
        policies,
        &attestation,
        &evidence(caller),
        host,
        now,
    )
    .await
}

/// What the caller of `attestation`, who shows `evidence`, is given for `host` at `now`.
async fn call_of(
    credentials: &Credentials,
    policies: &Compiled,
    attestation: &Attestation,
    evidence: &Evidence,
    host: &str,
    now: Timestamp,
) -> Result<Option<Held<Credential>>, Fault> {
    let host = Host::parse(host).unwrap();
    let request = Request {
        host: &host,
        port: 443,
        transport: Transport::Tls,
        method: "GET",
        path: RequestPath::parse("/").unwrap(),
    };
    let grant = match policies
        .decide(attestation, &request, &Context::at(NOW))
        .into_decision()
    {
        Decision::Allow(grant) => grant,
        refused @ (Decision::Deny(_) | Decision::Unavailable(_)) => panic!("{refused:?}"),
    };
    let given = credentials.obtain(&grant, evidence, now, later()).await;
    given.map_err(|why| why.fault)
}

const PAYMENTS: (&str, &str) = ("cluster", "payment-svc");

#[tokio::test]
async fn a_grant_becomes_a_header_with_the_token_that_was_ordered() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let given = call(&credentials, &policies, PAYMENTS, "bearer.example.com", NOW).await;
    let given = given.unwrap().unwrap();
    let [(header, value)] = given.injection().headers() else {
        panic!("one header");
    };
    assert_eq!(header.as_str(), "authorization");
    let value = value.expose();
    assert_eq!(
        value,
        format!(
            "Bearer 0:{}:https://api.example.com",
            Algorithm::Rs256.name()
        )
    );
    assert_eq!(
        (given.token_id(), given.audience()),
        (Some("tok_test_0"), Some("https://api.example.com"))
    );
    assert_eq!(given.ttl(), Some(Duration::from_secs(300)));
    assert_eq!(
        given.lifetime(),
        Some(Lifetime::starting(NOW, Duration::from_secs(300)))
    );
}

#[tokio::test]
async fn a_credential_is_in_its_first_use_once() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let host = "bearer.example.com";
    let first = call(&credentials, &policies, PAYMENTS, host, NOW)
        .await
        .unwrap()
        .unwrap();
    let again = call(&credentials, &policies, PAYMENTS, host, NOW)
        .await
        .unwrap()
        .unwrap();
    assert!(first.first_use() && !again.first_use() && !first.first_use());
}

#[tokio::test]
async fn a_grant_without_a_credential_provider_mints_nothing() {
    let (mint, policies) = (TestMint::new(), policies());
    let given = call(
        &credentials(&mint),
        &policies,
        PAYMENTS,
        "open.example.com",
        NOW,
    )
    .await;
    assert!(given.unwrap().is_none());
    assert_eq!(mint.count(), 0);
}

#[tokio::test]
async fn a_token_is_reused_for_the_same_caller_and_order_and_for_nothing_else() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let other_cluster = ("other-cluster", "payment-svc");
    let mut seen = Vec::new();
    for (caller, host) in [
        (PAYMENTS, "bearer.example.com"),
        (("cluster", "ledger-svc"), "bearer.example.com"),
        (other_cluster, "bearer.example.com"),
        (PAYMENTS, "key.example.com"),
        (PAYMENTS, "other.example.com"),
    ] {
        for _ in 0..3 {
            let given = call(&credentials, &policies, caller, host, NOW)
                .await
                .unwrap()
                .unwrap();
            seen.push(given.injection().headers()[0].1.expose().to_owned());
        }
    }
    assert_eq!(mint.count(), 5);
    seen.dedup();
    let expected = [
        "Bearer 0:RS256:https://api.example.com",
        "Bearer 1:RS256:https://api.example.com",
        "Bearer 2:RS256:https://api.example.com",
        "3:RS256:https://api.example.com",
        "Bearer 4:RS256:https://other.example.com",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_calls_of_two_callers_mint_two_tokens_and_mix_none() {
    let mint = TestMint::new();
    let (credentials, policies) = (Arc::new(credentials(&mint)), Arc::new(policies()));
    let mut calls = JoinSet::new();
    for number in 0..1000 {
        let (credentials, policies) = (Arc::clone(&credentials), Arc::clone(&policies));
        let caller = if number % 2 == 0 {
            "payment-svc"
        } else {
            "ledger-svc"
        };
        calls.spawn(async move {
            let caller_at = ("cluster", caller);
            let given = call(
                &credentials,
                &policies,
                caller_at,
                "bearer.example.com",
                NOW,
            )
            .await;
            (
                caller,
                given.unwrap().unwrap().token_id().unwrap().to_owned(),
            )
        });
    }
    let mut seen = calls.join_all().await;
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_ne!(seen[0].1, seen[1].1);
    assert_eq!(mint.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_for_another_workload_is_neither_given_out_nor_kept() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let attestation = attestation("cluster", workload("payment-svc"));
    let host = Host::parse("bearer.example.com").unwrap();
    let request = Request {
        host: &host,
        port: 443,
        transport: Transport::Tls,
        method: "GET",
        path: RequestPath::parse("/").unwrap(),
    };
    let Decision::Allow(grant) = policies
        .decide(&attestation, &request, &Context::at(NOW))
        .into_decision()
    else {
        panic!()
    };
    let refused = credentials
        .obtain(&grant, &evidence("ledger-svc"), NOW, later())
        .await;
    let fault = refused.err().map(|why| why.fault);
    assert_eq!(fault, Some(Fault::CredentialUnavailable));
    tokio::time::advance(Duration::from_secs(1)).await;
    let given = credentials
        .obtain(&grant, &evidence("payment-svc"), NOW, later())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(given.token_id(), Some("tok_test_1"));
}

#[tokio::test(start_paused = true)]
async fn what_the_minter_says_is_broken_is_what_the_caller_is_told() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    for (failure, fault) in [
        (
            MintFailed::Unavailable(Fault::KeysUnavailable),
            Fault::KeysUnavailable,
        ),
        (
            MintFailed::EvidenceRefused("token-expired"),
            Fault::CredentialUnavailable,
        ),
    ] {
        *mint.failure.lock().unwrap() = Some(failure);
        let given = call(&credentials, &policies, PAYMENTS, "bearer.example.com", NOW).await;
        assert_eq!(given.err(), Some(fault));
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    *mint.failure.lock().unwrap() = None;
    assert!(
        call(&credentials, &policies, PAYMENTS, "bearer.example.com", NOW)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_token_that_would_break_a_header_is_not_injected() {
    let policies = policies();
    for suffix in ["\r\nx-admin: yes", "\n", "\0", "ü", " "] {
        let mint = Arc::new(TestMint {
            suffix,
            ..Arc::into_inner(TestMint::new()).unwrap()
        });
        let given = call(
            &credentials(&mint),
            &policies,
            PAYMENTS,
            "bearer.example.com",
            NOW,
        )
        .await;
        assert_eq!(
            given.err(),
            Some(Fault::CredentialNotEncodable),
            "{suffix:?}"
        );
    }
}

#[tokio::test]
async fn an_expired_token_is_not_given_out_while_the_minter_is_away() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    let host = "bearer.example.com";
    call(&credentials, &policies, PAYMENTS, host, NOW)
        .await
        .unwrap();
    *mint.failure.lock().unwrap() = Some(MintFailed::Unavailable(Fault::CredentialUnavailable));
    assert!(
        call(&credentials, &policies, PAYMENTS, host, at(299))
            .await
            .is_ok()
    );
    let expired = call(&credentials, &policies, PAYMENTS, host, at(300)).await;
    assert_eq!(expired.err(), Some(Fault::CredentialUnavailable));
}

/// Evidence of a pod of payment-svc, as [`TestMint`] reads it.
fn pod_evidence(pod: &str) -> Evidence {
    let id = workload("payment-svc");
    Evidence::Token(Secret::new(format!("{}#{pod}", id.as_str())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_pods_of_one_service_account_never_receive_each_others_token() {
    let mint = TestMint::new();
    let (credentials, policies) = (Arc::new(credentials(&mint)), Arc::new(policies()));
    let mut calls = JoinSet::new();
    for number in 0..1000 {
        let (credentials, policies) = (Arc::clone(&credentials), Arc::clone(&policies));
        let pod = ["payment-a", "payment-b"][number % 2];
        calls.spawn(async move {
            let caller = attestation_of("cluster", workload("payment-svc"), pod);
            let host = "pods.example.com";
            let given = call_of(
                &credentials,
                &policies,
                &caller,
                &pod_evidence(pod),
                host,
                NOW,
            )
            .await;
            (pod, given.unwrap().unwrap().token_id().unwrap().to_owned())
        });
    }
    let mut seen = calls.join_all().await;
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_ne!(seen[0].1, seen[1].1);
    assert_eq!(mint.count(), 2);
}

#[tokio::test]
async fn pods_share_a_token_that_says_nothing_of_the_pod() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    for pod in ["payment-a", "payment-b"] {
        let caller = attestation_of("cluster", workload("payment-svc"), pod);
        let host = "bearer.example.com";
        let given = call_of(
            &credentials,
            &policies,
            &caller,
            &pod_evidence(pod),
            host,
            NOW,
        )
        .await;
        assert_eq!(given.unwrap().unwrap().token_id(), Some("tok_test_0"));
    }
}

#[tokio::test]
async fn a_claim_that_is_not_proven_of_the_caller_gives_no_token() {
    let (mint, policies) = (TestMint::new(), policies());
    let given = call(
        &credentials(&mint),
        &policies,
        PAYMENTS,
        "pods.example.com",
        NOW,
    )
    .await;
    assert_eq!(given.err(), Some(Fault::ClaimUnavailable));
    assert_eq!(mint.count(), 0);
}

#[tokio::test]
async fn a_token_with_other_claims_than_were_ordered_is_not_given_out() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    *mint.claims.lock().unwrap() = Some(RenderedClaims::default());
    let caller = attestation_of("cluster", workload("payment-svc"), "payment-a");
    let evidence = pod_evidence("payment-a");
    let given = call_of(
        &credentials,
        &policies,
        &caller,
        &evidence,
        "pods.example.com",
        NOW,
    )
    .await;
    assert_eq!(given.err(), Some(Fault::CredentialUnavailable));
}

#[tokio::test]
async fn a_token_is_not_used_again_after_a_key_was_revoked() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let host = "bearer.example.com";
    for (generation, expected) in [(0, "tok_test_0"), (0, "tok_test_0"), (1, "tok_test_1")] {
        mint.generation.store(generation, SeqCst);
        let given = call(&credentials, &policies, PAYMENTS, host, NOW).await;
        assert_eq!(given.unwrap().unwrap().token_id(), Some(expected));
    }
}

#[tokio::test]
async fn a_token_whose_key_is_revoked_while_it_is_minted_does_not_leave() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let host = "bearer.example.com";
    mint.revoking.store(1, SeqCst);
    let given = call(&credentials, &policies, PAYMENTS, host, NOW).await;
    assert_eq!(given.unwrap().unwrap().token_id(), Some("tok_test_1"));
    mint.revoking.store(usize::MAX, SeqCst);
    mint.generation.fetch_add(1, SeqCst);
    let given = call(&credentials, &policies, PAYMENTS, host, NOW).await;
    assert_eq!(given.err(), Some(Fault::CredentialUnavailable));
}

#[tokio::test]
async fn a_credential_tells_its_token_without_what_stands_before_it() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    for (host, expected) in [
        ("bearer.example.com", "0:RS256:https://api.example.com"),
        ("key.example.com", "1:RS256:https://api.example.com"),
    ] {
        let given = call(&credentials, &policies, PAYMENTS, host, NOW).await;
        assert_eq!(given.unwrap().unwrap().token(), expected);
    }
}

#[tokio::test]
async fn what_a_provider_proves_that_the_policy_does_not_name_reaches_neither_token_nor_issuer() {
    let (mint, policies) = (TestMint::new(), policies());
    let credentials = credentials(&mint);
    let mut attributes = Attributes::new();
    attributes.set("claims.role", "admin");
    #[expect(
        clippy::disallowed_methods,
        reason = "policy asks for an attestation, trust is not here"
    )]
    let forge = Attestation::attested(Proven {
        provider: "forge".into(),
        kind: ProviderKind::Oidc,
        spiffe_id: workload("payment-svc"),
        attributes,
        expires_at: NOW.plus(Duration::from_secs(3600)),
    });
    let pod = attestation_of("cluster", workload("payment-svc"), "pod-1");
    let agreement = Agreement::OneWorkload;
    let caller = forge.together([&pod], agreement).unwrap();
    let of_pod = Secret::new(format!("{}#pod-1", workload("payment-svc").as_str()));
    let pieces = vec![
        Evidence::Token(Secret::new("of the forge".to_owned())),
        Evidence::Token(of_pod),
    ];
    let shown = Evidence::together(pieces, agreement).unwrap();
    // The mint of this test takes one token, and none of the forge.
    let given = call_of(
        &credentials,
        &policies,
        &caller,
        &shown,
        "pods.example.com",
        NOW,
    )
    .await;
    assert!(given.unwrap().is_some());
    let given = call_of(
        &credentials,
        &policies,
        &caller,
        &shown,
        "roles.example.com",
        NOW,
    )
    .await;
    assert_eq!(given.err(), Some(Fault::ClaimUnavailable));
}
