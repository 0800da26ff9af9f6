//! Mutual TLS of a TCP listener: TLS 1.2 and 1.3, client certificates mandatory, names listed.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use attache_trust::regular_file;
use aws_lc_rs::digest;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use thiserror::Error;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};
use zeroize::Zeroizing;

use crate::settings::TlsBind;

/// Longest file read, in bytes: the certificates of all public authorities are a quarter of it.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// Why the files of a TLS listener are not usable.
#[derive(Debug, Error)]
pub enum UnusableTls {
    /// The file cannot be read, or holds no PEM of that kind.
    #[error("{} is not a readable PEM file with what is asked of it: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// The file holds no certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// Reading failed: a defect of ours.
    #[error("the files could not be read: {0}")]
    Unread(#[from] tokio::task::JoinError),
    /// The authorities are not usable.
    #[error("client_ca is not usable: {0}")]
    Authorities(#[from] VerifierBuilderError),
    /// Certificate and key are not usable together.
    #[error("certificate and key are not usable: {0}")]
    Identity(#[from] rustls::Error),
}

/// What the three files of a listener hold.
pub(super) struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Vec<u8>,
}

impl Files {
    pub(super) fn read(bind: &TlsBind) -> Result<Self, UnusableTls> {
        Ok(Self {
            certificate: read(&bind.certificate)?,
            key: Zeroizing::new(read(&bind.key)?),
            client_ca: read(&bind.client_ca)?,
        })
    }

    /// By which a change is known; of each file by itself, so that nothing moves between two.
    pub(super) fn digest(&self) -> [Vec<u8>; 3] {
        let hash = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes).as_ref().to_vec();
        [
            hash(&self.certificate),
            hash(&self.key),
            hash(&self.client_ca),
        ]
    }

    pub(super) fn server_config(&self, bind: &TlsBind) -> Result<ServerConfig, UnusableTls> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in certificates(&bind.client_ca, &self.client_ca)? {
            roots.add(authority)?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(unusable(&bind.key))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(&bind.certificate, &self.certificate)?, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // SECURITY: a resumed session would skip the check of a certificate that has expired since.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, UnusableTls> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(unusable(path))?;
    if found.is_empty() {
        return Err(UnusableTls::NoCertificate(path.to_path_buf()));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, UnusableTls> {
    regular_file::read(path, MAX_PEM_BYTES).map_err(|error| unusable(path)(pem::Error::Io(error)))
}

fn unusable(path: &Path) -> impl Fn(pem::Error) -> UnusableTls {
    let path = path.to_path_buf();
    move |error| UnusableTls::File {
        path: path.clone(),
        error,
    }
}

/// The URI and DNS names of the peer's certificate, which the handshake verified.
pub(super) fn peer_names(connection: &ServerConnection) -> Vec<String> {
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    leaf.and_then(|leaf| names(leaf).ok()).unwrap_or_default()
}

fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, io::Error> {
    let unreadable = |_error| io::Error::from(io::ErrorKind::InvalidData);
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(unreadable)?;
    let extension = certificate
        .subject_alternative_name()
        .map_err(|_error| io::Error::from(io::ErrorKind::InvalidData))?;
    let general = extension.map(|extension| extension.value.general_names.as_slice());
    Ok(general
        .unwrap_or_default()
        .iter()
        .filter_map(|name| {
            // Other kinds of names (addresses, directory names) cannot be listed as allowed.
            if let GeneralName::URI(text) | GeneralName::DNSName(text) = name {
                Some((*text).to_owned())
            } else {
                None
            }
        })
        .collect())
}
