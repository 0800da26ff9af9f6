//! Providers of type `spiffe-jwt` and `spiffe-x509`: bundles from files and endpoints, several trust domains side
//! by side, and what is remembered of what they proved.

use std::{path::Path, time::Duration};

use attache_core::{
    attestation::{Attestation, ProviderKind},
    attributes::{AttributeValue, spiffe},
    evidence::Evidence,
    spiffe_id::TrustDomain,
    time::Timestamp,
};
use attache_trust::{BundleSource, KeySource, ProviderConfig, Trust};
use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use crate::{
    pki::{Authority, ID, chain, svid},
    signer::{self, ISSUER, NOW, Signer, code, oidc, verdict, verdict_at, with, without},
};

pub(crate) const DOMAIN: &str = "cluster.local";

pub(crate) fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).expect("a trust domain")
}

/// Claims of a JWT-SVID that is good at `NOW`.
pub(crate) fn claims(id: &str) -> Value {
    json!({"sub": id, "aud": ["attache"], "exp": NOW.as_seconds() + 300, "iat": NOW.as_seconds()})
}

/// The keys of `signer` and the certificate of `authority`.
pub(crate) fn bundle(sequence: u64, signer: &Signer, authority: &Authority) -> Value {
    let key = with(signer.rsa_jwk("rsa"), "use", "jwt-svid");
    let x5c = vec![Base64::encode_string(&authority.der)];
    let certificate = json!({"kty": "EC", "use": "x509-svid", "x5c": x5c});
    json!({"spiffe_sequence": sequence, "spiffe_refresh_hint": 60, "keys": [key, certificate]})
}

pub(crate) fn write(path: &Path, text: &Value) {
    std::fs::write(path, text.to_string()).expect("a file");
}

/// Both kinds of provider for `name`.
pub(crate) fn both(name: &str, source: &BundleSource) -> Vec<ProviderConfig> {
    let kinds = [ProviderKind::SpiffeJwt, ProviderKind::SpiffeX509];
    let config = |kind: ProviderKind| {
        let called = format!("{}-{name}", kind.name());
        ProviderConfig::spiffe(called, kind, domain(name), source.clone())
    };
    kinds.map(config).to_vec()
}

pub(crate) async fn shown(trust: &Trust, certificates: &[&[u8]], now: Timestamp) -> &'static str {
    code(
        &trust
            .attest(&Evidence::Certificate(chain(certificates)), now)
            .await,
    )
}

struct Files {
    folder: tempfile::TempDir,
    signer: Signer,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let (signer, authority) = (Signer::new(), Authority::named("root"));
        let files = Self {
            folder: tempfile::tempdir().expect("a folder"),
            signer,
            authority,
        };
        files.write(1);
        files
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("bundle.json")
    }

    fn write(&self, sequence: u64) {
        write(
            &self.path(),
            &bundle(sequence, &self.signer, &self.authority),
        );
    }

    fn source(&self) -> BundleSource {
        BundleSource::File(self.path())
    }

    fn token(&self) -> String {
        self.signer.sign("rsa", &claims(ID))
    }
}

fn one(attestation: &Attestation, name: &str) -> Option<String> {
    attestation
        .attributes()
        .value(name)
        .map(AttributeValue::to_string)
}

#[tokio::test]
async fn a_jwt_svid_proves_its_spiffe_id_and_its_claims() {
    let files = Files::new();
    let trust = signer::trust(both(DOMAIN, &files.source()));
    let token = files.signer.sign("rsa", &with(claims(ID), "team", "red"));
    let attested = trust
        .attest(&signer::evidence(&token), NOW)
        .await
        .expect("attested");
    assert_eq!(attested.kind(), ProviderKind::SpiffeJwt);
    assert_eq!(attested.provider(), "spiffe-jwt-cluster.local");
    assert_eq!(attested.spiffe_id().as_str(), ID);
    assert_eq!(attested.expires_at(), NOW.plus(Duration::from_mins(5)));
    let told = |name| one(&attested, name);
    assert_eq!(told(spiffe::TRUST_DOMAIN).as_deref(), Some(DOMAIN));
    assert_eq!(told(spiffe::PATH).as_deref(), Some("/ns/shop/sa/payment"));
    assert_eq!(told("claims.team").as_deref(), Some("red"));
    assert_eq!(
        told("k8s.namespace"),
        None,
        "a path is no attribute of a cluster"
    );
}

#[tokio::test]
async fn an_x509_svid_proves_its_spiffe_id_and_no_claims() {
    let files = Files::new();
    let trust = signer::trust(both(DOMAIN, &files.source()));
    let leaf = files.authority.issue(&svid(ID));
    let evidence = Evidence::Certificate(chain(&[&leaf]));
    let attested = trust.attest(&evidence, NOW).await.expect("attested");
    assert_eq!(attested.kind(), ProviderKind::SpiffeX509);
    assert_eq!(attested.spiffe_id().as_str(), ID);
    assert_eq!(
        attested.expires_at(),
        Timestamp::from_seconds(1_800_057_601)
    );
    assert_eq!(
        one(&attested, spiffe::TRUST_DOMAIN).as_deref(),
        Some(DOMAIN)
    );
    assert_eq!(
        one(&attested, spiffe::PATH).as_deref(),
        Some("/ns/shop/sa/payment")
    );
    assert_eq!(attested.attributes().iter().count(), 2);
}

#[tokio::test]
async fn the_audience_of_a_jwt_svid_is_the_providers() {
    let files = Files::new();
    let mut configs = both(DOMAIN, &files.source());
    configs[0].audience = "other".to_owned();
    let trust = signer::trust(configs);
    assert_eq!(
        verdict(&trust, &files.token()).await,
        "token-audience-mismatch"
    );
    let token = files.signer.sign("rsa", &with(claims(ID), "aud", "other"));
    assert_eq!(verdict(&trust, &token).await, "attested");
}

#[tokio::test]
async fn keys_of_two_trust_domains_are_never_mixed() {
    let (ours, theirs) = (Files::new(), Files::new());
    let foreign = "spiffe://partner.example/ns/shop/sa/payment";
    let mut configs = both(DOMAIN, &ours.source());
    configs.extend(both("partner.example", &theirs.source()));
    let trust = signer::trust(configs);
    let tokens = |files: &Files, id| files.signer.sign("rsa", &claims(id));
    assert_eq!(verdict(&trust, &tokens(&ours, ID)).await, "attested");
    assert_eq!(verdict(&trust, &tokens(&theirs, foreign)).await, "attested");
    // The same kid, and a signature that is good: in the other trust domain.
    assert_eq!(
        verdict(&trust, &tokens(&theirs, ID)).await,
        "token-signature-invalid"
    );
    assert_eq!(
        verdict(&trust, &tokens(&ours, foreign)).await,
        "token-signature-invalid"
    );
    let leaf = |files: &Files, id| files.authority.issue(&svid(id));
    assert_eq!(shown(&trust, &[&leaf(&ours, ID)], NOW).await, "attested");
    assert_eq!(
        shown(&trust, &[&leaf(&theirs, foreign)], NOW).await,
        "attested"
    );
    assert_eq!(
        shown(&trust, &[&leaf(&theirs, ID)], NOW).await,
        "certificate-signature-invalid"
    );
    assert_eq!(
        shown(&trust, &[&leaf(&ours, foreign)], NOW).await,
        "certificate-signature-invalid"
    );
}

#[tokio::test]
async fn a_trust_domain_without_a_provider_is_unknown() {
    let files = Files::new();
    let trust = signer::trust(both(DOMAIN, &files.source()));
    let foreign = "spiffe://partner.example/a";
    let token = files.signer.sign("rsa", &claims(foreign));
    assert_eq!(verdict(&trust, &token).await, "trust-domain-unknown");
    let token = files
        .signer
        .sign("rsa", &with(claims(foreign), "iss", "https://a.example"));
    assert_eq!(verdict(&trust, &token).await, "issuer-unknown");
    let leaf = files.authority.issue(&svid(foreign));
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "trust-domain-unknown");
}

#[tokio::test]
async fn a_provider_of_one_kind_of_svid_does_not_take_the_other() {
    let files = Files::new();
    let [jwt, x509] = both(DOMAIN, &files.source()).try_into().expect("two");
    let leaf = files.authority.issue(&svid(ID));
    let trust = signer::trust(vec![jwt]);
    assert_eq!(verdict(&trust, &files.token()).await, "attested");
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "trust-domain-unknown");
    let trust = signer::trust(vec![x509]);
    assert_eq!(
        verdict(&trust, &files.token()).await,
        "trust-domain-unknown"
    );
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "attested");
}

#[tokio::test]
async fn a_token_accepted_by_one_provider_is_not_thereby_accepted_by_another() {
    let files = Files::new();
    let issuer = Signer::new();
    let mut configs = both(DOMAIN, &files.source());
    let mut forge = oidc("forge", ISSUER, KeySource::Inline(issuer.jwks()));
    forge.trust_domain = domain("forge.example");
    configs.push(forge);
    let trust = signer::trust(configs);
    // An issuer that gives out a SPIFFE ID for a subject gains nothing by it.
    let subject = with(signer::claims(ISSUER), "sub", ID);
    let attested = trust
        .attest(&signer::evidence(&issuer.sign("rsa", &subject)), NOW)
        .await;
    let attested = attested.expect("attested as the issuer's own");
    assert_eq!(attested.kind(), ProviderKind::Oidc);
    assert_eq!(attested.spiffe_id().trust_domain(), "forge.example");
    assert_eq!(one(&attested, spiffe::PATH), None);
    // Without `iss`, or with another, the trust domain's keys must have signed it.
    let without_issuer = issuer.sign("rsa", &without(subject.clone(), "iss"));
    assert_eq!(
        verdict(&trust, &without_issuer).await,
        "token-signature-invalid"
    );
    // And a trust domain that names the issuer is judged by the issuer's keys.
    let named = files.signer.sign("rsa", &with(claims(ID), "iss", ISSUER));
    assert_eq!(verdict(&trust, &named).await, "token-signature-invalid");
    let other = files
        .signer
        .sign("rsa", &with(claims(ID), "iss", "https://spire.example"));
    assert_eq!(verdict(&trust, &other).await, "attested");
}

#[tokio::test]
async fn a_provider_vouches_only_for_whom_it_is_told_to() {
    use attache_core::pattern::{Pattern, Requirement};
    let files = Files::new();
    let mut configs = both(DOMAIN, &files.source());
    for config in &mut configs {
        let patterns = vec![Pattern::Glob("/ns/shop/*".to_owned())];
        let attribute = spiffe::PATH.to_owned();
        config.only = vec![vec![Requirement {
            attribute,
            patterns,
        }]];
    }
    let trust = signer::trust(configs);
    let bank = "spiffe://cluster.local/ns/bank/sa/payment";
    assert_eq!(verdict(&trust, &files.token()).await, "attested");
    let token = files.signer.sign("rsa", &claims(bank));
    assert_eq!(verdict(&trust, &token).await, "workload-not-vouched-for");
    assert_eq!(
        shown(&trust, &[&files.authority.issue(&svid(ID))], NOW).await,
        "attested"
    );
    let leaf = files.authority.issue(&svid(bank));
    assert_eq!(
        shown(&trust, &[&leaf], NOW).await,
        "workload-not-vouched-for"
    );
}

#[tokio::test(start_paused = true)]
async fn a_bundle_file_is_read_again_and_a_dropped_key_drops_what_it_proved() {
    let mut files = Files::new();
    let trust = signer::trust(both(DOMAIN, &files.source()));
    let (token, leaf) = (files.token(), files.authority.issue(&svid(ID)));
    assert_eq!(verdict(&trust, &token).await, "attested");
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "attested");
    files.signer = Signer::new();
    files.authority = Authority::named("root");
    files.write(2);
    changed(&trust, 2, async || {
        verdict(&trust, &token).await != "attested"
    })
    .await;
    changed(&trust, 2, async || {
        shown(&trust, &[&leaf], NOW).await != "attested"
    })
    .await;
    assert_eq!(verdict(&trust, &token).await, "token-signature-invalid");
    assert_eq!(
        shown(&trust, &[&leaf], NOW).await,
        "certificate-signature-invalid"
    );
    assert_eq!(verdict(&trust, &files.token()).await, "attested");
}

/// Waits, in paused time, until `holds`.
async fn changed(trust: &Trust, providers: usize, mut holds: impl AsyncFnMut() -> bool) {
    assert_eq!(trust.status(NOW).len(), providers);
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Files are read on a thread of their own, which paused time does not wait for.
        tokio::task::spawn_blocking(|| ()).await.expect("a thread");
    }
    panic!("nothing changed: {:?}", trust.status(NOW));
}

#[tokio::test(start_paused = true)]
async fn an_older_sequence_is_refused_and_told_and_the_last_good_bundle_stays() {
    let mut files = Files::new();
    files.write(7);
    let trust = signer::trust(both(DOMAIN, &files.source()));
    let token = files.token();
    assert_eq!(verdict(&trust, &token).await, "attested");
    let withdrawn = std::mem::replace(&mut files.signer, Signer::new());
    files.write(6);
    let told = async || {
        let status = trust.status(NOW);
        let error = status[0].last_error.as_deref().unwrap_or_default();
        error.contains("`spiffe_sequence` is 6, and 7 was seen")
    };
    changed(&trust, 2, told).await;
    assert_eq!(verdict(&trust, &token).await, "attested");
    // A later one is taken.
    files.write(8);
    changed(&trust, 2, async || {
        verdict(&trust, &token).await != "attested"
    })
    .await;
    files.signer = withdrawn;
    files.write(9);
    changed(&trust, 2, async || {
        verdict(&trust, &token).await == "attested"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bundle_without_the_sequence_or_with_new_keys_under_the_same_one_is_refused() {
    let mut files = Files::new();
    files.write(7);
    let trust = signer::trust(both(DOMAIN, &files.source()));
    let token = files.token();
    assert_eq!(verdict(&trust, &token).await, "attested");
    let refused = async |why: &str| {
        let told = async || {
            let status = trust.status(NOW);
            let error = status[0].last_error.as_deref().unwrap_or_default();
            error.contains(why)
        };
        changed(&trust, 2, told).await;
    };
    let held = std::mem::replace(&mut files.signer, Signer::new());
    write(
        &files.path(),
        &without(
            bundle(7, &files.signer, &files.authority),
            "spiffe_sequence",
        ),
    );
    refused("has no `spiffe_sequence`, and 7 was seen").await;
    files.write(7);
    refused("still the `spiffe_sequence` 7").await;
    assert_eq!(
        verdict(&trust, &files.token()).await,
        "token-signature-invalid"
    );
    assert_eq!(verdict(&trust, &token).await, "attested");
    // An edit of the provider forgets nothing of that, and the bundle in place is still refused.
    let mut configs = both(DOMAIN, &files.source());
    for config in &mut configs {
        config.max_lifetime = Duration::from_hours(1);
        config.ca_file = Some(files.folder.path().join("ca.pem"));
    }
    trust.replace(configs).expect("sound");
    files.write(6);
    refused("is 6, and 7 was seen").await;
    // A key may go without a new number: nothing is trusted by it that was not.
    files.signer = held;
    files.write(8);
    changed(&trust, 2, async || {
        verdict(&trust, &token).await == "attested"
    })
    .await;
    write(&files.path(), &json!({"spiffe_sequence": 8, "keys": []}));
    changed(&trust, 2, async || {
        verdict(&trust, &token).await == "token-key-unknown"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_private_key_in_a_bundle_drops_keys_and_authorities() {
    let files = Files::new();
    let trust = signer::trust(both(DOMAIN, &files.source()));
    let (token, leaf) = (files.token(), files.authority.issue(&svid(ID)));
    assert_eq!(verdict(&trust, &token).await, "attested");
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "attested");
    let mut leaking = bundle(2, &files.signer, &files.authority);
    leaking["keys"][0]["d"] = "AQAB".into();
    write(&files.path(), &leaking);
    changed(&trust, 2, async || {
        trust.status(NOW).iter().all(|one| one.last_error.is_some())
    })
    .await;
    assert_ne!(verdict(&trust, &token).await, "attested");
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "certificate-untrusted");
}

#[tokio::test(start_paused = true)]
async fn without_a_bundle_evidence_cannot_be_judged() {
    let files = Files::new();
    std::fs::remove_file(files.path()).expect("removed");
    let trust = signer::trust(both(DOMAIN, &files.source()));
    assert_eq!(verdict(&trust, &files.token()).await, "keys-unavailable");
    let leaf = files.authority.issue(&svid(ID));
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "keys-unavailable");
    let status = trust.status(NOW);
    assert!(
        status
            .iter()
            .all(|one| !one.usable && one.last_error.is_some()),
        "{status:?}"
    );
}

#[tokio::test]
async fn the_last_good_bundle_serves_until_its_age_limit() {
    let files = Files::new();
    let trust = signer::trust(both(DOMAIN, &files.source()));
    let long = with(claims(ID), "exp", NOW.as_seconds() + 86_400);
    let token = files.signer.sign("rsa", &long);
    assert_eq!(verdict(&trust, &token).await, "attested");
    // The clock of the fetches stands still, so that the bundle is as old as `now` says.
    let day = Duration::from_hours(24);
    assert_eq!(
        verdict_at(&trust, &token, NOW.plus(day - Duration::from_secs(1))).await,
        "attested"
    );
    let late = NOW.plus(day + Duration::from_millis(1));
    assert_eq!(verdict_at(&trust, &token, late).await, "keys-unavailable");
}

#[tokio::test(start_paused = true)]
async fn an_empty_bundle_makes_everything_of_its_domain_untrusted() {
    let files = Files::new();
    write(&files.path(), &json!({"keys": []}));
    let trust = signer::trust(both(DOMAIN, &files.source()));
    // Unavailable while a newer bundle is looked for, then refused.
    let token = files.token();
    changed(&trust, 2, async || {
        verdict(&trust, &token).await == "token-key-unknown"
    })
    .await;
    let leaf = files.authority.issue(&svid(ID));
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "certificate-untrusted");
}

#[tokio::test]
async fn what_of_a_bundle_is_not_used_is_told() {
    let files = Files::new();
    let leaf = Base64::encode_string(&files.authority.issue(&svid(ID)));
    let document = json!({"keys": [
        {"kty": "EC", "use": "wit-svid"},
        {"kty": "EC", "use": "x509-svid", "x5c": [leaf]},
    ]});
    write(&files.path(), &document);
    let trust = signer::trust(both(DOMAIN, &files.source()));
    let _ = verdict(&trust, &files.token()).await;
    let _ = shown(&trust, &[&files.authority.issue(&svid(ID))], NOW).await;
    let status = trust.status(NOW);
    let ignored = status[1].ignored_keys.join("; ");
    assert!(ignored.contains("its `use` is neither"), "{ignored}");
    assert!(ignored.contains("x509-svid certificate 0"), "{ignored}");
}

#[tokio::test]
async fn a_verified_chain_is_remembered_as_long_as_its_path_is_good() {
    let files = Files::new();
    let trust = signer::trust(both(DOMAIN, &files.source()));
    let leaf = files.authority.issue(&svid(ID));
    let evidence = Evidence::Certificate(chain(&[&leaf]));
    let first = trust.attest(&evidence, NOW).await.expect("attested");
    let again = trust.attest(&evidence, NOW).await.expect("attested");
    assert!(
        std::ptr::eq(first.spiffe_id(), again.spiffe_id()),
        "verified once"
    );
    let expired = Timestamp::from_seconds(1_800_057_601);
    assert_eq!(
        shown(&trust, &[&leaf], expired).await,
        "certificate-expired"
    );
}

#[test]
fn one_provider_for_each_kind_of_svid_of_a_trust_domain() {
    let source = BundleSource::File("bundle.json".into());
    let mut configs = both(DOMAIN, &source);
    assert!(attache_trust::check(&configs).is_ok());
    let mut twin = configs[0].clone();
    twin.name = "twin".to_owned();
    configs.push(twin);
    let invalid = attache_trust::check(&configs)
        .expect_err("a collision")
        .to_string();
    assert!(invalid.contains("same trust domain"), "{invalid}");
}

#[test]
fn svids_take_bundles_and_tokens_of_issuers_do_not() {
    let check = |config: ProviderConfig| attache_trust::check(&[config]).is_ok();
    let bundle = KeySource::Bundle(BundleSource::File("bundle.json".into()));
    let mut of_issuer = oidc("forge", ISSUER, bundle);
    assert!(!check(of_issuer.clone()));
    of_issuer.kind = ProviderKind::SpiffeX509;
    assert!(check(of_issuer.clone()));
    of_issuer.keys = KeySource::File("keys.json".into());
    assert!(!check(of_issuer));
}

#[test]
fn a_bundle_endpoint_is_https_without_user_information() {
    let check = |url: &str| {
        let source = BundleSource::HttpsWeb(url.to_owned());
        attache_trust::check(&both(DOMAIN, &source)).is_ok()
    };
    assert!(check("https://spire.example/bundle"));
    for url in [
        "http://127.0.0.1/bundle",
        "http://spire.example/",
        "https://u:p@spire.example/",
        "x",
    ] {
        assert!(!check(url), "{url}");
    }
}

#[test]
fn a_chain_is_verified_on_a_thread_that_no_request_waits_for() {
    // There is one thread of requests, and one beside it.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build();
    runtime.unwrap().block_on(async {
        let files = Files::new();
        let trust = signer::trust(both(DOMAIN, &files.source()));
        let leaf = files.authority.issue(&svid(ID));
        // The bundle is there then.
        assert_eq!(shown(&trust, &[&leaf], NOW).await, "attested");
        let another = Evidence::Certificate(chain(&[&files.authority.issue(&svid(ID))]));
        // The other thread is busy until it is let go.
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let mut attesting = std::pin::pin!(trust.attest(&another, NOW));
        let at_once = futures::future::poll_immediate(&mut attesting).await;
        assert!(at_once.is_none());
        drop(let_go);
        assert!(attesting.await.is_ok());
        assert!(busy.await.unwrap().is_err());
        // What is remembered is answered at once.
        let again = std::pin::pin!(trust.attest(&another, NOW));
        assert!(futures::future::poll_immediate(again).await.is_some());
    });
}
