//! SPIFFE bundle endpoints over real TLS: the profiles https_web and https_spiffe, and their polling.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use attache_core::{spiffe_id::SpiffeId, time::Timestamp};
use attache_trust::{BundleSource, Trust, TrustSettings};
use rcgen::{CertificateParams, KeyPair, SanType};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};

use crate::{
    pki::{Authority, ID, svid},
    signer::{self, NOW, Signer, verdict},
    svid_providers::{DOMAIN, both, bundle, claims, shown, write},
};

const ENDPOINT: &str = "spiffe://cluster.local/spire/server";

/// A bundle endpoint on loopback, whose bundle and certificate a test can change while it runs.
struct Endpoint {
    url: String,
    body: Arc<Mutex<String>>,
    tls: Arc<Mutex<Arc<ServerConfig>>>,
    asked: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

fn tls(chain: &[&[u8]], key: &KeyPair) -> Arc<ServerConfig> {
    let chain = chain
        .iter()
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .expect("versions");
    // SPIFFE Federation §5.1: the server asks for no client certificate.
    Arc::new(
        builder
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate"),
    )
}

impl Endpoint {
    async fn start(config: Arc<ServerConfig>, body: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!(
            "https://localhost:{}/bundle",
            listener.local_addr().expect("it").port()
        );
        let body = Arc::new(Mutex::new(answer(&body.to_string())));
        let (tls, asked) = (Arc::new(Mutex::new(config)), Arc::new(AtomicUsize::new(0)));
        let mut server = JoinSet::new();
        let (bodies, configs, count) = (Arc::clone(&body), Arc::clone(&tls), Arc::clone(&asked));
        server.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                count.fetch_add(1, Ordering::SeqCst);
                let acceptor = TlsAcceptor::from(Arc::clone(&configs.lock().expect("a lock")));
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let answer = bodies.lock().expect("a lock").clone();
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self {
            url,
            body,
            tls,
            asked,
            _server: server,
        }
    }

    fn serve(&self, body: &Value) {
        *self.body.lock().expect("a lock") = answer(&body.to_string());
    }
}

fn answer(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Waits in real time, for TLS is real, and little of it.
async fn until(trust: &Trust, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing changed: {:?}", trust.status(NOW));
}

fn last_error(trust: &Trust) -> String {
    let status = trust.status(NOW);
    status
        .iter()
        .find_map(|one| one.last_error.clone())
        .unwrap_or_default()
}

struct Domain {
    folder: tempfile::TempDir,
    signer: Signer,
    authority: Authority,
}

impl Domain {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            folder,
            signer: Signer::new(),
            authority: Authority::named("root"),
        }
    }

    fn bundle(&self, sequence: u64) -> Value {
        bundle(sequence, &self.signer, &self.authority)
    }

    /// Serves the bundle with an X.509-SVID of `id`.
    async fn serve(&self, id: &str) -> Endpoint {
        let key = KeyPair::generate().expect("a key");
        let leaf = self.authority.issue_for(&svid(id), &key);
        Endpoint::start(tls(&[&leaf], &key), &self.bundle(1)).await
    }

    fn https_spiffe(&self, url: &str) -> BundleSource {
        let bundle_file = self.folder.path().join("first.json");
        write(&bundle_file, &self.bundle(1));
        let endpoint_id = SpiffeId::parse(ENDPOINT).expect("an ID");
        BundleSource::HttpsSpiffe {
            url: url.to_owned(),
            endpoint_id,
            bundle_file,
        }
    }
}

#[tokio::test]
async fn a_https_spiffe_endpoint_is_known_by_its_spiffe_id() {
    let domain = Domain::new();
    let endpoint = domain.serve(ENDPOINT).await;
    let trust = signer::trust(both(DOMAIN, &domain.https_spiffe(&endpoint.url)));
    assert_eq!(
        verdict(&trust, &domain.signer.sign("rsa", &claims(ID))).await,
        "attested"
    );
    assert_eq!(
        shown(&trust, &[&domain.authority.issue(&svid(ID))], NOW).await,
        "attested"
    );
}

#[tokio::test]
async fn a_https_spiffe_endpoint_with_another_id_is_refused() {
    let domain = Domain::new();
    let endpoint = domain.serve("spiffe://cluster.local/spire/agent").await;
    let trust = signer::trust(both(DOMAIN, &domain.https_spiffe(&endpoint.url)));
    let token = domain.signer.sign("rsa", &claims(ID));
    assert_eq!(verdict(&trust, &token).await, "keys-unavailable");
    let error = last_error(&trust);
    assert!(
        error.contains("spire/agent") && error.contains(ENDPOINT),
        "{error}"
    );
}

#[tokio::test]
async fn a_https_spiffe_endpoint_of_another_authority_is_refused() {
    let (domain, stranger) = (Domain::new(), Domain::new());
    let endpoint = stranger.serve(ENDPOINT).await;
    let trust = signer::trust(both(DOMAIN, &domain.https_spiffe(&endpoint.url)));
    let token = stranger.signer.sign("rsa", &claims(ID));
    assert_eq!(verdict(&trust, &token).await, "keys-unavailable");
    let error = last_error(&trust);
    assert!(error.contains("certificate is refused"), "{error}");
}

#[tokio::test]
async fn a_https_spiffe_endpoint_needs_its_certificate_to_be_an_svid() {
    let domain = Domain::new();
    let key = KeyPair::generate().expect("a key");
    let mut params = svid(ENDPOINT);
    params.key_usages.clear();
    let leaf = domain.authority.issue_for(&params, &key);
    let endpoint = Endpoint::start(tls(&[&leaf], &key), &domain.bundle(1)).await;
    let trust = signer::trust(both(DOMAIN, &domain.https_spiffe(&endpoint.url)));
    let token = domain.signer.sign("rsa", &claims(ID));
    assert_eq!(verdict(&trust, &token).await, "keys-unavailable");
    assert!(
        last_error(&trust).contains("key usage"),
        "{}",
        last_error(&trust)
    );
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_changes_its_authority_is_followed_by_what_it_published() {
    let mut domain = Domain::new();
    let endpoint = domain.serve(ENDPOINT).await;
    let source = domain.https_spiffe(&endpoint.url);
    let trust = signer::trust(both(DOMAIN, &source)[1..].to_vec());
    let old = domain.authority.issue(&svid(ID));
    polled(&trust, async || {
        shown(&trust, &[&old], NOW).await == "attested"
    })
    .await;
    // First the next authority is published beside the old one, by the old one.
    let next = Authority::named("next");
    let mut both_authorities = domain.bundle(2);
    let added = bundle(2, &domain.signer, &next)["keys"][1].clone();
    both_authorities["keys"]
        .as_array_mut()
        .expect("keys")
        .push(added);
    endpoint.serve(&both_authorities);
    let leaf = next.issue(&svid(ID));
    polled(&trust, async || {
        shown(&trust, &[&leaf], NOW).await == "attested"
    })
    .await;
    // Then the endpoint itself shows a certificate of the next one, which the first bundle does not know.
    domain.authority = next;
    let key = KeyPair::generate().expect("a key");
    let certificate = domain.authority.issue_for(&svid(ENDPOINT), &key);
    *endpoint.tls.lock().expect("a lock") = tls(&[&certificate], &key);
    endpoint.serve(&domain.bundle(3));
    polled(&trust, async || {
        shown(&trust, &[&old], NOW).await != "attested"
    })
    .await;
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "attested");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_changed_unseen_is_found_again_by_the_first_bundle_once_the_held_one_is_too_old()
 {
    let mut domain = Domain::new();
    let endpoint = domain.serve(ENDPOINT).await;
    let source = domain.https_spiffe(&endpoint.url);
    let seconds = Arc::new(AtomicI64::new(NOW.as_seconds()));
    let clock = Arc::clone(&seconds);
    let now = move || Timestamp::from_seconds(clock.load(Ordering::SeqCst));
    let trust = Trust::new(TrustSettings::new(Arc::new(now.clone())));
    let mut config = both(DOMAIN, &source).remove(1);
    config.max_key_age = Duration::from_hours(1);
    trust.replace(vec![config]).expect("sound");
    let old = domain.authority.issue(&svid(ID));
    polled(&trust, async || {
        shown(&trust, &[&old], now()).await == "attested"
    })
    .await;
    // All at once, and whoever operates this puts the new bundle into the file.
    domain.authority = Authority::named("next");
    let key = KeyPair::generate().expect("a key");
    let certificate = domain.authority.issue_for(&svid(ENDPOINT), &key);
    *endpoint.tls.lock().expect("a lock") = tls(&[&certificate], &key);
    endpoint.serve(&domain.bundle(2));
    domain.https_spiffe(&endpoint.url);
    polled(&trust, async || {
        last_error(&trust).contains("certificate is refused")
    })
    .await;
    assert_eq!(shown(&trust, &[&old], now()).await, "attested");
    seconds.fetch_add(3_601, Ordering::SeqCst);
    let leaf = domain.authority.issue(&svid(ID));
    polled(&trust, async || {
        shown(&trust, &[&leaf], now()).await == "attested"
    })
    .await;
    assert_ne!(shown(&trust, &[&old], now()).await, "attested");
}

/// Lets paused time run to the next polls, and real TLS happen in between.
async fn polled(trust: &Trust, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        for _ in 0..20 {
            tokio::task::spawn_blocking(std::thread::yield_now)
                .await
                .expect("a thread");
        }
    }
    panic!("nothing changed: {:?}", trust.status(NOW));
}

fn web(name: &str) -> (KeyPair, rcgen::Certificate) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("ASCII"))];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    (key, certificate)
}

fn with_ca(
    mut configs: Vec<attache_trust::ProviderConfig>,
    ca: &Path,
) -> Vec<attache_trust::ProviderConfig> {
    for config in &mut configs {
        config.ca_file = Some(ca.to_owned());
    }
    configs
}

#[tokio::test]
async fn a_https_web_endpoint_is_known_by_its_name() {
    let domain = Domain::new();
    let (key, certificate) = web("localhost");
    let endpoint = Endpoint::start(tls(&[certificate.der()], &key), &domain.bundle(1)).await;
    let ca = domain.folder.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).expect("a file");
    let source = BundleSource::HttpsWeb(endpoint.url.clone());
    let trust = signer::trust(with_ca(both(DOMAIN, &source), &ca));
    assert_eq!(
        verdict(&trust, &domain.signer.sign("rsa", &claims(ID))).await,
        "attested"
    );
    assert_eq!(
        shown(&trust, &[&domain.authority.issue(&svid(ID))], NOW).await,
        "attested"
    );
}

#[tokio::test]
async fn a_https_web_endpoint_of_another_name_or_without_a_known_ca_is_refused() {
    let domain = Domain::new();
    let (key, certificate) = web("other.example");
    let endpoint = Endpoint::start(tls(&[certificate.der()], &key), &domain.bundle(1)).await;
    let ca = domain.folder.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).expect("a file");
    let source = BundleSource::HttpsWeb(endpoint.url.clone());
    let token = domain.signer.sign("rsa", &claims(ID));
    let by_name = signer::trust(with_ca(both(DOMAIN, &source), &ca));
    assert_eq!(verdict(&by_name, &token).await, "keys-unavailable");
    let by_system = signer::trust(both(DOMAIN, &source));
    assert_eq!(verdict(&by_system, &token).await, "keys-unavailable");
}

#[tokio::test]
async fn a_bundle_endpoint_that_redirects_is_not_followed() {
    let domain = Domain::new();
    let endpoint = domain.serve(ENDPOINT).await;
    *endpoint.body.lock().expect("a lock") =
        "HTTP/1.1 302 Found\r\nlocation: https://localhost:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
    let trust = signer::trust(both(DOMAIN, &domain.https_spiffe(&endpoint.url)));
    let token = domain.signer.sign("rsa", &claims(ID));
    assert_eq!(verdict(&trust, &token).await, "keys-unavailable");
    until(&trust, async || last_error(&trust).contains("302")).await;
}

#[tokio::test]
async fn an_endpoint_is_asked_once_and_again_only_at_its_refresh_hint() {
    let domain = Domain::new();
    let endpoint = domain.serve(ENDPOINT).await;
    let trust = signer::trust(both(DOMAIN, &domain.https_spiffe(&endpoint.url))[..1].to_vec());
    for number in 0..20 {
        let token = domain
            .signer
            .sign("rsa", &crate::signer::with(claims(ID), "jti", number));
        assert_eq!(verdict(&trust, &token).await, "attested");
    }
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 1);
}
