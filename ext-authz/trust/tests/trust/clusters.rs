//! Several clusters at once: which one a pod is of, and keys from API servers that ask for a token.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use attache_core::{
    attestation::{Agreement, ProviderKind},
    evidence::Evidence,
    identity::IdTemplate,
};
use attache_trust::{BundleSource, KeySource, ProviderConfig, ProviderProblem, check};
use serde_json::{Value, json};

use crate::{
    key_sets_over_tls::{Authority, ok},
    pki::{self, chain, svid},
    signer::{NOW, Signer, claims, code, evidence, jwks, trust, trust_domain, verdict},
    svid_providers,
};

const ONE: &str = "https://one.example";
const TWO: &str = "https://two.example";

fn pod(issuer: &str) -> Value {
    let mut claims = claims(issuer);
    claims["sub"] = json!("system:serviceaccount:shop:web");
    claims["kubernetes.io"] = json!({
        "namespace": "shop",
        "serviceaccount": {"name": "web", "uid": "u"},
        "pod": {"name": "web-1", "uid": "p"},
    });
    claims
}

fn cluster(name: &str, issuer: &str, keys: KeySource) -> ProviderConfig {
    let kind = ProviderKind::KubernetesServiceAccount;
    ProviderConfig::new(name, kind, issuer, keys, trust_domain())
}

fn inline(signer: &Signer) -> KeySource {
    KeySource::Inline(jwks(&[signer.rsa_jwk("rsa")]))
}

#[tokio::test]
async fn a_pod_says_which_cluster_it_is_of_and_only_that_clusters_keys_prove_it() {
    let (one, two) = (Signer::new(), Signer::new());
    let text = "c/{k8s.cluster}/ns/{k8s.namespace}/sa/{k8s.serviceAccount}";
    let template = IdTemplate::parse(text, ProviderKind::KubernetesServiceAccount);
    let template = template.expect("a template");
    let mut configs = vec![
        cluster("eu", ONE, inline(&one)),
        cluster("shop/us", TWO, inline(&two)),
    ];
    for config in &mut configs {
        config.spiffe_id = Some(template.clone());
    }
    configs[1].cluster = Some("us-east".to_owned());
    let trust = trust(configs);
    for (signer, issuer, name) in [(&one, ONE, "eu"), (&two, TWO, "us-east")] {
        let token = evidence(&signer.sign("rsa", &pod(issuer)));
        let attested = trust.attest(&token, NOW).await.expect("attested");
        let cluster = attested
            .attributes()
            .value("k8s.cluster")
            .expect("a cluster");
        assert_eq!(cluster.to_string(), name);
        let id = format!("spiffe://cluster.local/c/{name}/ns/shop/sa/web");
        assert_eq!(attested.spiffe_id().as_str(), id);
    }
    let forged = one.sign("rsa", &pod(TWO));
    assert_eq!(verdict(&trust, &forged).await, "token-signature-invalid");
}

#[test]
fn two_clusters_with_one_issuer_cannot_be_told_apart() {
    let signer = Signer::new();
    let usual = "https://kubernetes.default.svc.cluster.local";
    let mut other = cluster("two", usual, inline(&signer));
    other.trust_domain = attache_core::spiffe_id::TrustDomain::parse("two").expect("a domain");
    let found = check(&[cluster("one", usual, inline(&signer)), other]).expect_err("refused");
    let problems: Vec<_> = found.0.iter().map(|invalid| &invalid.problem).collect();
    assert_eq!(
        problems,
        [&ProviderProblem::SameClusterIssuer("one".to_owned())]
    );
    let text = found.to_string();
    assert!(text.contains("--service-account-issuer"), "{text}");
}

#[test]
fn a_cluster_whose_name_is_no_path_segment_cannot_stand_in_a_template() {
    let signer = Signer::new();
    let mut config = cluster("shop/eu", ONE, inline(&signer));
    let text = "{k8s.cluster}/{k8s.namespace}/{k8s.serviceAccount}";
    let template = IdTemplate::parse(text, config.kind).expect("a template");
    config.spiffe_id = Some(template);
    let found = check(&[config.clone()]).expect_err("refused");
    assert!(matches!(
        found.0[0].problem,
        ProviderProblem::ClusterInTemplate { .. }
    ));
    config.cluster = Some("eu".to_owned());
    assert_eq!(check(&[config]), Ok(()));
}

/// An API server that gives its keys to one token, and writes down what it was asked.
struct ApiServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _server: tokio::task::JoinSet<()>,
}

impl ApiServer {
    async fn start(authority: &Authority, bearer: &str, keys: String) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let expected = format!("authorization: Bearer {bearer}\r\n");
        let log = Arc::clone(&asked);
        let answer = move |request: &str| {
            log.lock()
                .expect("no test panics with it")
                .push(request.to_owned());
            if request.starts_with("GET /openid/v1/jwks ") && request.contains(&expected) {
                ok(&keys)
            } else {
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
        };
        let (address, server) = authority.answer("127.0.0.1", answer).await;
        Self {
            address,
            asked,
            _server: server,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panics with it").clone()
    }

    fn provider(&self, authority: &Authority, token_file: PathBuf) -> ProviderConfig {
        let url = format!("https://{}", self.address);
        let mut config = cluster("eu", ONE, KeySource::ApiServer { url, token_file });
        config.ca_file = Some(authority.file.clone());
        config
    }
}

#[tokio::test]
async fn an_api_server_is_asked_with_the_token_that_the_file_holds_now() {
    let (signer, authority) = (Signer::new(), Authority::new());
    let api_server = ApiServer::start(&authority, "second", jwks(&[signer.rsa_jwk("rsa")])).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "first\n").expect("a file");
    let trust = trust(vec![api_server.provider(&authority, file.clone())]);
    let token = signer.sign("rsa", &pod(ONE));
    assert_eq!(verdict(&trust, &token).await, "keys-unavailable");
    let error = trust.status(NOW)[0].last_error.clone().expect("an error");
    assert!(error.contains("401") && !error.contains("first"), "{error}");

    std::fs::write(&file, "second\n").expect("a file");
    let attested = async {
        while verdict(&trust, &token).await != "attested" {
            tokio::task::yield_now().await
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, attested)
        .await
        .expect("the token is read again");
    let asked = api_server.asked();
    assert!(asked[0].contains("Bearer first\r\n"), "{}", asked[0]);
}

#[tokio::test]
async fn the_token_goes_to_the_configured_origin_alone() {
    let (signer, authority) = (Signer::new(), Authority::new());
    let stranger = ApiServer::start(&authority, "secret", jwks(&[signer.rsa_jwk("rsa")])).await;
    let elsewhere = format!("https://{}/openid/v1/jwks", stranger.address);
    let answer = move |_: &str| {
        format!("HTTP/1.1 307 Moved\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n")
    };
    let (address, _server) = authority.answer("127.0.0.1", answer).await;
    let directory = tempfile::tempdir().expect("a directory");
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, "secret").expect("a file");
    let mut config = stranger.provider(&authority, token_file.clone());
    let url = format!("https://{address}");
    config.keys = KeySource::ApiServer { url, token_file };
    let trust = trust(vec![config]);
    let token = signer.sign("rsa", &pod(ONE));
    assert_eq!(verdict(&trust, &token).await, "keys-unavailable");
    let error = trust.status(NOW)[0].last_error.clone().expect("an error");
    assert!(error.contains("307"), "{error}");
    assert!(stranger.asked().is_empty(), "{:?}", stranger.asked());
}

#[tokio::test]
async fn a_token_file_that_holds_no_token_is_named_and_never_shown() {
    let (signer, authority) = (Signer::new(), Authority::new());
    let api_server = ApiServer::start(&authority, "x", signer.jwks()).await;
    let directory = tempfile::tempdir().expect("a directory");
    for (name, content) in [
        ("empty", String::new()),
        ("blank", " \n".to_owned()),
        ("lines", "hunter2\r\nx-evil: 1".to_owned()),
        ("long", "hunter2".repeat(4000)),
        ("missing", String::new()),
    ] {
        let file = directory.path().join(name);
        if name != "missing" {
            std::fs::write(&file, content).expect("a file");
        }
        let trust = trust(vec![api_server.provider(&authority, file.clone())]);
        let verdict = verdict(&trust, &signer.sign("rsa", &pod(ONE))).await;
        assert_eq!(verdict, "keys-unavailable", "{name}");
        let error = trust.status(NOW)[0].last_error.clone().expect("an error");
        assert!(
            error.contains(name) && !error.contains("hunter2"),
            "{error}"
        );
    }
    assert!(api_server.asked().is_empty());
}

#[tokio::test]
async fn nothing_is_fetched_from_a_link_local_address() {
    let signer = Signer::new();
    let url = "https://169.254.169.254/keys".to_owned();
    let trust = trust(vec![cluster("eu", ONE, KeySource::JwksUrl(url))]);
    let token = signer.sign("rsa", &pod(ONE));
    assert_eq!(verdict(&trust, &token).await, "keys-unavailable");
    let error = trust.status(NOW)[0].last_error.clone().expect("an error");
    assert!(error.contains("no connection is made"), "{error}");
}

/// A cluster and the SVIDs of its mesh, which have the IDs of its pods.
struct Mesh {
    signer: Signer,
    authority: pki::Authority,
    folder: tempfile::TempDir,
}

impl Mesh {
    fn new() -> Self {
        let (signer, authority) = (Signer::new(), pki::Authority::named("root"));
        let folder = tempfile::tempdir().expect("a folder");
        let bundle = svid_providers::bundle(1, &signer, &authority);
        svid_providers::write(&folder.path().join("bundle.json"), &bundle);
        Self {
            signer,
            authority,
            folder,
        }
    }

    /// Both providers, with what each says of others.
    fn configs(&self, of_cluster: &[&str], of_svids: &[&str]) -> Vec<ProviderConfig> {
        let source = BundleSource::File(self.folder.path().join("bundle.json"));
        let kind = ProviderKind::SpiffeX509;
        let mut svids = ProviderConfig::spiffe("mesh", kind, trust_domain(), source);
        let mut pods = cluster("cluster", ONE, inline(&self.signer));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        pods.shares_identities_with = names(of_cluster);
        svids.shares_identities_with = names(of_svids);
        vec![pods, svids]
    }
}

#[test]
fn providers_share_spiffe_ids_only_if_both_say_so() {
    let mesh = Mesh::new();
    let verdict =
        |of_cluster: &[&str], of_svids: &[&str]| check(&mesh.configs(of_cluster, of_svids));
    assert_eq!(verdict(&["mesh"], &["cluster"]), Ok(()));
    for (of_cluster, of_svids) in [
        (&[][..], &[][..]),
        (&["mesh"][..], &[][..]),
        (&[][..], &["cluster"][..]),
        (&["mesh"][..], &["other"][..]),
    ] {
        let found = verdict(of_cluster, of_svids).expect_err("refused");
        let problem = ProviderProblem::SameIds("cluster".to_owned());
        assert_eq!(found.0[0].problem, problem, "{of_cluster:?} {of_svids:?}");
    }
}

#[tokio::test]
async fn a_pod_of_a_mesh_is_proven_by_its_token_and_its_certificate_together() {
    let mesh = Mesh::new();
    let trust = trust(mesh.configs(&["mesh"], &["cluster"]));
    let of = |id: &str| Evidence::Certificate(chain(&[&mesh.authority.issue(&svid(id))]));
    let token = evidence(&mesh.signer.sign("rsa", &pod(ONE)));
    let agreement = Agreement::OneWorkload;
    let both =
        |id: &str| Evidence::together(vec![token.clone(), of(id)], agreement).expect("two pieces");
    let id = "spiffe://cluster.local/ns/shop/sa/web";
    let attested = trust.attest(&both(id), NOW).await.expect("attested");
    assert_eq!(attested.spiffe_id().as_str(), id);
    let vouchers: Vec<_> = attested
        .proofs()
        .map(|proof| proof.provider.as_str())
        .collect();
    assert_eq!(vouchers, ["cluster", "mesh"]);
    // SECURITY: a stolen token beside a certificate of one's own, or the other way round, is no workload.
    let stolen = trust
        .attest(&both("spiffe://cluster.local/ns/shop/sa/thief"), NOW)
        .await;
    assert_eq!(code(&stolen), "evidence-conflict");
    // The certificate alone proves the ID, and nothing that only the cluster knows.
    let attested = trust.attest(&of(id), NOW).await.expect("attested");
    assert_eq!(attested.provider(), "mesh");
    assert!(attested.attributes().value("k8s.namespace").is_none());
    assert!(attested.attributes().value("k8s.podUid").is_none());
}
