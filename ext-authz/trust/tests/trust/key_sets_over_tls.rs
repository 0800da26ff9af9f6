//! Keys over HTTPS: only from a server whose certificate the configured roots vouch for, by name.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use attache_trust::{KeySource, ProviderConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, pki_types::PrivateKeyDer},
};

use crate::signer::{ISSUER, Signer, claims, oidc, trust, verdict};

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).expect("a file");
        Self {
            issuer,
            file,
            _directory: directory,
        }
    }

    /// Serves `keys` under a certificate for `name`.
    async fn serve(&self, name: &str, keys: String) -> (SocketAddr, JoinSet<()>) {
        self.answer(name, move |_request| ok(&keys)).await
    }

    /// Answers each request, which is seen as text, under a certificate for `name`.
    pub(crate) async fn answer(
        &self,
        name: &str,
        answer: impl Fn(&str) -> String + Send + 'static,
    ) -> (SocketAddr, JoinSet<()>) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .expect("a server");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut server = JoinSet::new();
        server.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..length]);
                let _ = stream.write_all(answer(&request).as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        (address, server)
    }
}

/// An answer with a body.
pub(crate) fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn provider(address: SocketAddr, ca_file: Option<PathBuf>) -> ProviderConfig {
    let url = format!("https://127.0.0.1:{}/keys", address.port());
    let mut config = oidc("ci", ISSUER, KeySource::JwksUrl(url));
    config.ca_file = ca_file;
    config
}

#[tokio::test]
async fn keys_come_from_a_server_that_the_ca_file_vouches_for() {
    let (signer, authority) = (Signer::new(), Authority::new());
    let (address, _server) = authority.serve("127.0.0.1", signer.jwks()).await;
    let trust = trust(vec![provider(address, Some(authority.file.clone()))]);
    assert_eq!(
        verdict(&trust, &signer.sign("rsa", &claims(ISSUER))).await,
        "attested"
    );
}

#[tokio::test]
async fn a_server_that_the_roots_do_not_vouch_for_gives_no_keys() {
    let (signer, authority, stranger) = (Signer::new(), Authority::new(), Authority::new());
    let good = signer.sign("rsa", &claims(ISSUER));
    let (address, _server) = authority.serve("127.0.0.1", signer.jwks()).await;
    let (other_name, _other_server) = authority.serve("keys.example", signer.jwks()).await;
    for config in [
        provider(address, None),
        provider(address, Some(stranger.file.clone())),
        provider(other_name, Some(authority.file.clone())),
    ] {
        let trust = trust(vec![config]);
        assert_eq!(verdict(&trust, &good).await, "keys-unavailable");
        let error = trust.status(crate::signer::NOW)[0]
            .last_error
            .clone()
            .expect("an error");
        assert!(error.contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_ca_file_that_is_missing_or_empty_is_named() {
    let (signer, authority) = (Signer::new(), Authority::new());
    let (address, _server) = authority.serve("127.0.0.1", signer.jwks()).await;
    let directory = tempfile::tempdir().expect("a directory");
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").expect("a file");
    for path in [empty, directory.path().join("missing.pem")] {
        let trust = trust(vec![provider(address, Some(path.clone()))]);
        assert_eq!(
            verdict(&trust, &signer.sign("rsa", &claims(ISSUER))).await,
            "keys-unavailable"
        );
        let error = trust.status(crate::signer::NOW)[0]
            .last_error
            .clone()
            .expect("an error");
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}
