use attache_core::{
    attestation::ProviderKind,
    claims::{CustomClaims, Template},
    jwt::RejectedToken,
    spiffe_id::TrustDomain,
};
use attache_trust::{KeySource, ProviderConfig, TrustSettings};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, jwk::JwkSet};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::{
    config::{Environment, IssuerUrl},
    custody::tests::Memory,
    signer,
};

const NOW: Timestamp = Timestamp::from_seconds(1_781_000_000);
const CLUSTER: &str = "https://cluster.example.com";
const TTL: Duration = Duration::from_secs(300);
const AUDIENCE: &str = "https://api.stripe.com";

/// A cluster whose ServiceAccount tokens are evidence; an independent library signs them.
struct Cluster {
    signing: EncodingKey,
    jwk: Value,
}

impl Cluster {
    fn new() -> Self {
        let pkcs8 = signer::generate(Algorithm::Es256).unwrap();
        let public = signer::parse(Algorithm::Es256, &pkcs8)
            .unwrap()
            .public_key()
            .clone();
        Self {
            signing: EncodingKey::from_ec_der(&pkcs8),
            jwk: public.jwk(Algorithm::Es256),
        }
    }

    fn trust(&self) -> Arc<Trust> {
        let trust = Trust::new(TrustSettings::new(Arc::new(|| NOW)));
        let config = ProviderConfig::new(
            "cluster",
            ProviderKind::KubernetesServiceAccount,
            CLUSTER,
            KeySource::Inline(json!({ "keys": [self.jwk] }).to_string()),
            TrustDomain::parse("cluster.local").unwrap(),
        );
        trust.replace(vec![config]).unwrap();
        Arc::new(trust)
    }

    /// A token of payment-svc in production that lives for an hour, after `change`.
    fn evidence(&self, change: impl FnOnce(&mut Value)) -> Evidence {
        let iat = NOW.as_seconds();
        let mut claims = json!({
            "iss": CLUSTER,
            "sub": "system:serviceaccount:production:payment-svc",
            "aud": ["attache"],
            "iat": iat,
            "nbf": iat,
            "exp": iat + 3600,
            "kubernetes.io": {
                "namespace": "production",
                "pod": { "name": "payment-7d9", "uid": "2b1f0c7e-0000-4000-8000-000000000001" },
                "serviceaccount": {
                    "name": "payment-svc", "uid": "2b1f0c7e-0000-4000-8000-000000000002"
                },
            },
        });
        change(&mut claims);
        let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = self.jwk["kid"].as_str().map(str::to_owned);
        Evidence::Token(Secret::new(
            jsonwebtoken::encode(&header, &claims, &self.signing).unwrap(),
        ))
    }

    fn payment_service(&self) -> Evidence {
        self.evidence(|_| {})
    }
}

fn config() -> IssuerConfig {
    let url = IssuerUrl::parse("https://attache.example.com").unwrap();
    let trust_domain = TrustDomain::parse("cluster.local").unwrap();
    IssuerConfig::new(url, Environment::parse("test").unwrap(), trust_domain)
}

async fn open(store: &Arc<Memory>, trust: Arc<Trust>) -> Issuer {
    let sealing_key = SealingKey::parse(&format!("a1{}", "5c".repeat(31))).unwrap();
    let store = Arc::clone(store) as Arc<dyn KeyStore>;
    Issuer::open(store, sealing_key, config(), trust, NOW)
        .await
        .unwrap()
}

/// A cluster and an issuer that trusts it.
async fn setting() -> (Cluster, Issuer) {
    let cluster = Cluster::new();
    let issuer = open(&Arc::default(), cluster.trust()).await;
    (cluster, issuer)
}

fn plan(audience: &str) -> TokenPlan {
    TokenPlan {
        form: TokenForm::OidcToken,
        audiences: vec![audience.to_owned()],
        ttl: TTL,
        algorithm: Algorithm::Rs256,
        claims: CustomClaims::default(),
    }
}

async fn mint(
    issuer: &Issuer,
    evidence: &Evidence,
    plan: &TokenPlan,
    now: Timestamp,
) -> Result<MintedToken, NotMinted> {
    issuer.mint(MintOrder { evidence, plan }, now).await
}

async fn refusal(issuer: &Issuer, evidence: &Evidence, plan: &TokenPlan) -> NotMinted {
    let minted = mint(issuer, evidence, plan, NOW).await;
    minted.err().expect("nothing may be minted")
}

/// Header and claims, after an independent library verified the token by the key set `jwks`.
fn verify(jwks: &[u8], token: &Secret) -> Option<(Header, Value)> {
    let header = jsonwebtoken::decode_header(token.expose()).ok()?;
    let set: JwkSet = serde_json::from_slice(jwks).unwrap();
    let jwk = set.find(header.kid.as_deref()?)?;
    assert_eq!(
        jwk.common.key_algorithm.unwrap().to_string(),
        format!("{:?}", header.alg)
    );
    let mut validation = Validation::new(header.alg);
    // The library would read the machine's clock; the claims are compared instead.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_jwk(jwk).unwrap();
    let decoded = jsonwebtoken::decode::<Value>(token.expose(), &key, &validation).ok()?;
    Some((decoded.header, decoded.claims))
}

#[tokio::test]
async fn a_token_says_who_calls_for_whom_and_until_when_and_verifies_by_the_published_keys() {
    let (cluster, issuer) = setting().await;
    for algorithm in signer::ALGORITHMS {
        let evidence = cluster.payment_service();
        let minted = mint(
            &issuer,
            &evidence,
            &TokenPlan {
                algorithm,
                ..plan(AUDIENCE)
            },
            NOW,
        )
        .await
        .unwrap();
        let (header, claims) = verify(&issuer.jwks(), &minted.token).expect("must verify");
        assert_eq!(header.typ.as_deref(), Some("JWT"));
        assert_eq!(format!("{:?}", header.alg), algorithm.name());
        let iat = NOW.as_seconds();
        let expected = json!({
            "iss": "https://attache.example.com",
            "sub": "spiffe://cluster.local/ns/production/sa/payment-svc",
            "aud": AUDIENCE,
            "iat": iat,
            "nbf": iat,
            "exp": iat + 300,
            "jti": minted.token_id,
        });
        assert_eq!(claims, expected);
        assert_eq!(minted.spiffe_id.as_str(), claims["sub"]);
        assert_eq!(minted.lifetime, Lifetime::starting(NOW, TTL));
    }
}

#[tokio::test]
async fn every_token_has_an_id_of_its_own_in_the_form_of_the_audit_log() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let one = mint(&issuer, &evidence, &plan(AUDIENCE), NOW)
        .await
        .unwrap()
        .token_id;
    let two = mint(&issuer, &evidence, &plan(AUDIENCE), NOW)
        .await
        .unwrap()
        .token_id;
    assert_ne!(one, two);
    let hex = one.strip_prefix("tok_test_").unwrap();
    assert!(
        hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{one}"
    );
}

#[tokio::test]
async fn a_moment_within_a_second_is_rounded_down_so_that_the_token_is_never_from_the_future() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let late = NOW.plus(Duration::from_millis(999));
    let minted = mint(&issuer, &evidence, &plan(AUDIENCE), late)
        .await
        .unwrap();
    assert_eq!(minted.lifetime, Lifetime::starting(NOW, TTL));
}

#[tokio::test]
async fn tokens_minted_before_a_restart_verify_after_it() {
    let (cluster, store) = (Cluster::new(), Arc::new(Memory::default()));
    let before = open(&store, cluster.trust()).await;
    let evidence = cluster.payment_service();
    let minted = mint(&before, &evidence, &plan(AUDIENCE), NOW)
        .await
        .unwrap();
    drop(before);
    let after = open(&store, cluster.trust()).await;
    assert!(verify(&after.jwks(), &minted.token).is_some());
    let stranger = open(&Arc::default(), cluster.trust()).await;
    assert!(verify(&stranger.jwks(), &minted.token).is_none());
}

#[tokio::test]
async fn a_changed_token_does_not_verify() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let minted = mint(&issuer, &evidence, &plan(AUDIENCE), NOW)
        .await
        .unwrap();
    let (input, signature) = minted.token.expose().rsplit_once('.').unwrap();
    let other = mint(&issuer, &evidence, &plan("https://other.example"), NOW)
        .await
        .unwrap();
    let (other_input, _) = other.token.expose().rsplit_once('.').unwrap();
    assert!(verify(&issuer.jwks(), &Secret::new(format!("{input}.{signature}"))).is_some());
    assert!(
        verify(
            &issuer.jwks(),
            &Secret::new(format!("{other_input}.{signature}"))
        )
        .is_none()
    );
}

#[tokio::test]
async fn nothing_is_minted_for_evidence_that_does_not_hold() {
    let (cluster, issuer) = setting().await;
    let denied = |rejected| NotMinted::Denied(DenyReason::EvidenceRejected(rejected));
    let past = NOW.as_seconds() - 10;
    let forged = Cluster {
        signing: Cluster::new().signing,
        jwk: cluster.jwk.clone(),
    };
    for (name, evidence, expected) in [
        (
            "forged",
            forged.payment_service(),
            denied(RejectedToken::SignatureInvalid),
        ),
        (
            "of an unpublished key",
            Cluster::new().payment_service(),
            denied(RejectedToken::UnknownKey),
        ),
        (
            "expired",
            cluster.evidence(|claims| {
                claims["iat"] = Value::from(past - 600);
                claims["nbf"] = Value::from(past - 600);
                claims["exp"] = Value::from(past);
            }),
            denied(RejectedToken::Expired),
        ),
        (
            "for another audience",
            cluster.evidence(|claims| claims["aud"] = json!(["https://kubernetes.default.svc"])),
            denied(RejectedToken::AudienceMismatch),
        ),
        (
            "of another issuer",
            cluster.evidence(|claims| claims["iss"] = json!("https://evil.example")),
            NotMinted::Denied(DenyReason::IssuerUnknown),
        ),
    ] {
        let refused = refusal(&issuer, &evidence, &plan(AUDIENCE)).await;
        assert_eq!(refused, expected, "{name}");
        assert!(refused.denial().is_some());
        assert_eq!(refused.fault(), Fault::CredentialUnavailable);
    }
}

#[tokio::test]
async fn evidence_that_was_good_once_mints_nothing_after_it_expired() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    mint(&issuer, &evidence, &plan(AUDIENCE), NOW)
        .await
        .unwrap();
    let later = NOW.plus(Duration::from_secs(3600));
    let refused = mint(&issuer, &evidence, &plan(AUDIENCE), later)
        .await
        .err()
        .unwrap();
    assert_eq!(
        refused,
        NotMinted::Denied(DenyReason::EvidenceRejected(RejectedToken::Expired))
    );
}

#[tokio::test]
async fn our_own_token_is_no_evidence() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let minted = mint(&issuer, &evidence, &plan("attache"), NOW)
        .await
        .unwrap();
    let refused = refusal(&issuer, &Evidence::Token(minted.token), &plan(AUDIENCE)).await;
    assert_eq!(refused, NotMinted::Denied(DenyReason::IssuerUnknown));
}

#[tokio::test]
async fn a_lifetime_outside_the_limits_is_refused() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let day = Duration::from_secs(86_400);
    for ttl in [MIN_TTL, day] {
        let minted = mint(
            &issuer,
            &evidence,
            &TokenPlan {
                ttl,
                ..plan(AUDIENCE)
            },
            NOW,
        )
        .await;
        assert_eq!(minted.unwrap().lifetime, Lifetime::starting(NOW, ttl));
    }
    for ttl in [
        Duration::ZERO,
        Duration::from_secs(29),
        day + Duration::from_secs(1),
        Duration::MAX,
    ] {
        let refused = refusal(
            &issuer,
            &evidence,
            &TokenPlan {
                ttl,
                ..plan(AUDIENCE)
            },
        )
        .await;
        assert_eq!(
            refused,
            NotMinted::Ttl {
                asked: ttl,
                max: day
            }
        );
    }
}

#[tokio::test]
async fn an_audience_with_odd_characters_arrives_as_it_was_ordered() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let longest = "a".repeat(MAX_AUDIENCE_BYTES);
    for audience in [
        r#"a"b\c/d"#,
        r#"","sub":"spiffe://cluster.local/admin"#,
        "https://münchen.example/päth?q=1&r=2#f",
        "two words",
        "\u{202e}evil",
        "🦀",
        "<script>",
        &longest,
    ] {
        let minted = mint(&issuer, &evidence, &plan(audience), NOW)
            .await
            .unwrap();
        let (_, claims) = verify(&issuer.jwks(), &minted.token).unwrap();
        assert_eq!(claims["aud"], audience);
        assert_eq!(
            claims["sub"],
            "spiffe://cluster.local/ns/production/sa/payment-svc"
        );
    }
}

#[tokio::test]
async fn a_text_that_is_no_audience_is_refused() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let too_long = "a".repeat(MAX_AUDIENCE_BYTES + 1);
    for audience in ["", " ", " a", "a\n", "a\nb", "a\0b", "a\u{85}b", &too_long] {
        let refused = refusal(&issuer, &evidence, &plan(audience)).await;
        assert!(matches!(refused, NotMinted::Audience(_)), "{audience:?}");
        assert!(refused.to_string().len() < 600 && !refused.to_string().contains('\n'));
    }
}

#[tokio::test]
async fn an_algorithm_without_a_key_is_refused() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let algorithm = Algorithm::Es384;
    let refused = refusal(
        &issuer,
        &evidence,
        &TokenPlan {
            algorithm,
            ..plan(AUDIENCE)
        },
    )
    .await;
    assert_eq!(refused, NotMinted::Algorithm(algorithm));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_orders_at_once_are_all_carried_out() {
    let (cluster, issuer) = setting().await;
    let (evidence, issuer) = (cluster.payment_service(), Arc::new(issuer));
    let mut orders = JoinSet::new();
    for _ in 0..200 {
        let (evidence, issuer) = (evidence.clone(), Arc::clone(&issuer));
        orders.spawn(async move { mint(&issuer, &evidence, &plan(AUDIENCE), NOW).await.is_ok() });
    }
    assert!(orders.join_all().await.into_iter().all(|minted| minted));
}

fn claims(texts: &[(&str, &str)]) -> CustomClaims {
    let claims = texts
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Template::parse(text).unwrap()));
    CustomClaims::of(claims).unwrap()
}

fn svid(audiences: &[&str]) -> TokenPlan {
    TokenPlan {
        form: TokenForm::JwtSvid,
        audiences: audiences
            .iter()
            .map(|&audience| audience.to_owned())
            .collect(),
        algorithm: Algorithm::Es256,
        ..plan(AUDIENCE)
    }
}

#[tokio::test]
async fn a_jwt_svid_has_what_the_standard_and_its_readers_ask_for() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let minted = mint(
        &issuer,
        &evidence,
        &svid(&["spiffe://cluster.local/ns/x/sa/y"]),
        NOW,
    )
    .await;
    let minted = minted.unwrap();
    let header = jsonwebtoken::decode_header(minted.token.expose()).unwrap();
    // JWT-SVID §2: alg, kid and typ, and no other header.
    let first = minted.token.expose().split('.').next().unwrap();
    let bytes = Base64UrlUnpadded::decode_vec(first).unwrap();
    let members: Value = serde_json::from_slice(&bytes).unwrap();
    let members: Vec<_> = members.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["alg", "kid", "typ"]);
    assert_eq!(header.alg, jsonwebtoken::Algorithm::ES256);
    let bundle: Value = serde_json::from_slice(&issuer.bundle()).unwrap();
    let key = bundle["keys"].as_array().unwrap().iter();
    let key = key
        .clone()
        .find(|key| key["kid"] == header.kid.as_deref().unwrap());
    assert_eq!(key.expect("the bundle has the key")["use"], "jwt-svid");
    let (_, claims) = verify(&issuer.jwks(), &minted.token).unwrap();
    assert_eq!(claims["aud"], "spiffe://cluster.local/ns/x/sa/y");
    assert_eq!(
        claims["sub"],
        "spiffe://cluster.local/ns/production/sa/payment-svc"
    );
    for name in ["iss", "iat", "exp", "jti"] {
        assert!(!claims[name].is_null(), "{name}");
    }
}

#[tokio::test]
async fn several_audiences_are_a_list_where_they_are_asked_for() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let minted = mint(&issuer, &evidence, &svid(&["one", "two"]), NOW)
        .await
        .unwrap();
    let (_, claims) = verify(&issuer.jwks(), &minted.token).unwrap();
    assert_eq!(claims["aud"], json!(["one", "two"]));
    assert_eq!(
        refusal(&issuer, &evidence, &svid(&[])).await,
        NotMinted::NoAudience
    );
}

#[tokio::test]
async fn a_jwt_svid_is_minted_for_workloads_of_our_trust_domain_alone() {
    let (cluster, _) = setting().await;
    let sealing_key = SealingKey::parse(&format!("a1{}", "5c".repeat(31))).unwrap();
    let ours = IssuerConfig {
        trust_domain: TrustDomain::parse("other.example").unwrap(),
        ..config()
    };
    let store: Arc<Memory> = Arc::default();
    let issuer = Issuer::open(store, sealing_key, ours, cluster.trust(), NOW)
        .await
        .unwrap();
    let evidence = cluster.payment_service();
    let refused = refusal(&issuer, &evidence, &svid(&[AUDIENCE])).await;
    assert!(
        matches!(refused, NotMinted::ForeignTrustDomain { .. }),
        "{refused}"
    );
    assert!(
        mint(&issuer, &evidence, &plan(AUDIENCE), NOW).await.is_ok(),
        "an OIDC token says no such thing"
    );
}

#[tokio::test]
async fn the_assertion_of_a_client_is_issued_by_its_subject_and_for_our_trust_domain_alone() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let assertion = TokenPlan {
        form: TokenForm::ClientAssertion,
        ..svid(&["https://login.example.com"])
    };
    let minted = mint(&issuer, &evidence, &assertion, NOW).await.unwrap();
    let claims = minted.token.expose().split('.').nth(1).unwrap();
    let claims = Base64UrlUnpadded::decode_vec(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let workload = "spiffe://cluster.local/ns/production/sa/payment-svc";
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&json!(workload), &json!(workload))
    );
    assert_eq!(claims["aud"], "https://login.example.com");
    assert!(claims["jti"].is_string());

    let sealing_key = SealingKey::parse(&format!("a1{}", "5c".repeat(31))).unwrap();
    let ours = IssuerConfig {
        trust_domain: TrustDomain::parse("other.example").unwrap(),
        ..config()
    };
    let store: Arc<Memory> = Arc::default();
    let other = Issuer::open(store, sealing_key, ours, cluster.trust(), NOW).await;
    let refused = refusal(&other.unwrap(), &evidence, &assertion).await;
    assert!(
        matches!(refused, NotMinted::ForeignTrustDomain { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn custom_claims_come_from_what_the_evidence_proves() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let claims = claims(&[
        ("team", "{k8s.namespace}"),
        ("pod", "{k8s.podName}@{k8s.podUid}"),
        ("https://acme.example/plan", "gold \"x\""),
    ]);
    let minted = mint(
        &issuer,
        &evidence,
        &TokenPlan {
            claims,
            ..plan(AUDIENCE)
        },
        NOW,
    )
    .await
    .unwrap();
    let (_, claims) = verify(&issuer.jwks(), &minted.token).unwrap();
    assert_eq!(claims["team"], "production");
    assert_eq!(
        claims["pod"],
        "payment-7d9@2b1f0c7e-0000-4000-8000-000000000001"
    );
    assert_eq!(claims["https://acme.example/plan"], "gold \"x\"");
    assert_eq!(
        claims["sub"],
        "spiffe://cluster.local/ns/production/sa/payment-svc"
    );
    assert_eq!(minted.claims.iter().count(), 3);
}

#[tokio::test]
async fn a_claim_that_the_evidence_does_not_prove_gives_no_token() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let claims = claims(&[("node", "{k8s.nodeName}")]);
    let refused = refusal(
        &issuer,
        &evidence,
        &TokenPlan {
            claims,
            ..plan(AUDIENCE)
        },
    )
    .await;
    assert_eq!(refused.fault(), Fault::ClaimUnavailable);
    assert!(refused.to_string().contains("k8s.nodeName"), "{refused}");
}

#[tokio::test]
async fn tokens_of_a_revoked_key_verify_no_more_and_the_generation_says_so() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    let minted = mint(&issuer, &evidence, &plan(AUDIENCE), NOW)
        .await
        .unwrap();
    let header = jsonwebtoken::decode_header(minted.token.expose()).unwrap();
    let before = issuer.generation();
    issuer.revoke(&header.kid.unwrap(), NOW).await.unwrap();
    assert_eq!(issuer.generation(), before + 1);
    assert!(verify(&issuer.jwks(), &minted.token).is_none());
    let next = mint(&issuer, &evidence, &plan(AUDIENCE), NOW)
        .await
        .unwrap();
    assert!(verify(&issuer.jwks(), &next.token).is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_minted_by_keys_that_the_store_has_not_confirmed_for_a_minute() {
    let (cluster, issuer) = setting().await;
    let evidence = cluster.payment_service();
    issuer.turn(NOW).await.unwrap();
    tokio::time::advance(STALE_AFTER).await;
    let refused = refusal(&issuer, &evidence, &plan(AUDIENCE)).await;
    assert_eq!(refused, NotMinted::Stale);
    issuer.turn(NOW).await.unwrap();
    assert!(mint(&issuer, &evidence, &plan(AUDIENCE), NOW).await.is_ok());
}

/// Mints while there is one thread of requests, and one beside it which is busy; whether the token had to wait.
fn waits_for_another_thread(algorithm: Algorithm) -> bool {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build();
    runtime.unwrap().block_on(async {
        let (cluster, issuer) = setting().await;
        let (evidence, mut plan) = (cluster.payment_service(), plan(AUDIENCE));
        plan.algorithm = algorithm;
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let mut minting = std::pin::pin!(mint(&issuer, &evidence, &plan, NOW));
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(minting.as_mut().poll(context)));
        if let std::task::Poll::Ready(minted) = polled.await {
            assert!(minted.is_ok());
            return false;
        }
        drop(let_go);
        assert!(minting.await.is_ok());
        assert!(busy.await.unwrap().is_err());
        true
    })
}

#[test]
fn a_long_signature_is_made_on_a_thread_that_no_request_waits_for_and_a_brief_one_at_once() {
    assert!(waits_for_another_thread(Algorithm::Rs256));
    assert!(!waits_for_another_thread(Algorithm::Es256));
}

#[tokio::test]
async fn the_edges_own_token_names_no_workload_and_lives_a_minute() {
    let (_cluster, issuer) = setting().await;
    let token = issuer.mint_for_edge("berlin", AUDIENCE, NOW).await.unwrap();
    let claims = Base64UrlUnpadded::decode_vec(token.expose().split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["sub"], "attache:edge:berlin");
    assert_eq!(claims["iss"], "https://attache.example.com");
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!(claims["exp"], NOW.as_seconds() + 60);
    let refused = issuer.mint_for_edge("berlin", "", NOW).await.err();
    assert_eq!(refused, Some(NotMinted::Audience(String::new())));
}
