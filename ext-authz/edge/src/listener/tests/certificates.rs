//! A listener's certificates, as they are renewed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::{sync::watch, time::timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{listener::renewal::Renewal, settings::TlsBind};

struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for `name` and its key, in PEM.
    fn issue(&self, name: &str) -> (String, KeyPair) {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key)
    }
}

struct Files {
    folder: tempfile::TempDir,
    bind: TlsBind,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| -> PathBuf { folder.path().join(name) };
        let bind = TlsBind {
            address: "127.0.0.1:0".parse().unwrap(),
            certificate: file("tls.crt"),
            key: file("tls.key"),
            client_ca: file("ca.crt"),
            allowed: vec!["envoy.example".to_owned()],
        };
        Self { folder, bind }
    }

    /// Whole or not at all, as a volume is renewed.
    fn put(&self, path: &std::path::Path, text: &str) {
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, path).unwrap();
    }

    fn identity(&self, (certificate, key): &(String, KeyPair)) {
        self.put(&self.bind.certificate, certificate);
        self.put(&self.bind.key, &key.serialize_pem());
    }
}

/// Whether a client of `authority` that trusts `server` comes through; the reason if it does not.
async fn handshake(
    renewal: &Renewal,
    server: &Authority,
    authority: &Authority,
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(server.der.clone()).unwrap();
    let (certificate, key) = authority.issue("envoy.example");
    let certificate = pem(&certificate);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let client = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_client_auth_cert(vec![certificate], key)
    .unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = TlsAcceptor::from(renewal.in_force().load_full());
    let accepting = acceptor.accept(far);
    let name = ServerName::try_from("edge.example").unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let (accepted, connected) = tokio::join!(accepting, connector.connect(name, near));
    connected.map_err(|error| error.to_string())?;
    accepted.map(drop).map_err(|error| error.to_string())
}

fn pem(text: &str) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap()
}

#[tokio::test]
async fn the_next_peer_meets_a_renewed_certificate_and_a_changed_authority() {
    let (files, one, two) = (Files::new(), Authority::new(), Authority::new());
    files.identity(&one.issue("edge.example"));
    files.put(&files.bind.client_ca, &one.pem);
    let renewal = Renewal::start("egress", &files.bind).await.unwrap();
    let (_look, looked) = watch::channel(());
    let following = tokio::spawn(renewal.clone().follow(looked));
    assert_eq!(handshake(&renewal, &one, &one).await, Ok(()));
    assert!(handshake(&renewal, &one, &two).await.is_err());

    files.identity(&two.issue("edge.example"));
    files.put(&files.bind.client_ca, &two.pem);
    let renewed = async {
        while handshake(&renewal, &two, &two).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), renewed)
        .await
        .expect("renewed");
    // SECURITY: an authority that was taken away lets nobody in any more.
    assert!(handshake(&renewal, &two, &one).await.is_err());
    following.abort();
}

#[tokio::test]
async fn files_of_no_use_leave_the_last_good_ones_in_force() {
    let (files, one, two) = (Files::new(), Authority::new(), Authority::new());
    let good = one.issue("edge.example");
    files.identity(&good);
    files.put(&files.bind.client_ca, &one.pem);
    let renewal = Renewal::start("egress", &files.bind).await.unwrap();
    let mut looking = renewal.clone();
    let next = two.issue("edge.example");
    // Half of a pair, as plain copying leaves it for a moment.
    files.put(&files.bind.certificate, &next.0);
    looking.look();
    assert_eq!(handshake(&renewal, &one, &one).await, Ok(()));
    for broken in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        files.put(&files.bind.client_ca, broken);
        looking.look();
        assert_eq!(handshake(&renewal, &one, &one).await, Ok(()), "{broken}");
    }
    std::fs::remove_file(&files.bind.client_ca).unwrap();
    looking.look();
    assert_eq!(handshake(&renewal, &one, &one).await, Ok(()));
    files.put(&files.bind.client_ca, &two.pem);
    files.put(&files.bind.key, &next.1.serialize_pem());
    looking.look();
    assert_eq!(handshake(&renewal, &two, &two).await, Ok(()));
}

#[tokio::test]
async fn files_of_no_use_are_a_refused_start() {
    let (files, one) = (Files::new(), Authority::new());
    assert!(Renewal::start("egress", &files.bind).await.is_err());
    files.identity(&one.issue("edge.example"));
    files.put(&files.bind.client_ca, &one.pem);
    let other = KeyPair::generate().unwrap().serialize_pem();
    files.put(&files.bind.key, &other);
    let refused = Renewal::start("egress", &files.bind).await.err();
    let refused = refused.expect("another key").to_string();
    assert!(!refused.contains("BEGIN"), "{refused}");
}
