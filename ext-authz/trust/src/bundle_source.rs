//! One reading of a trust domain's bundle from a file or a SPIFFE bundle endpoint (SPIFFE Federation §5).
//! What a Workload API sends is [`crate::workload_api`]'s business.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use attache_core::{
    bundle::InvalidBundle,
    certificate::CertificateChain,
    jwks::MAX_SET_BYTES,
    spiffe_id::{SpiffeId, TrustDomain},
    time::Timestamp,
};
use attache_outbound::{Client, Proxy, Reach, Roots, Settings, parse_target};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;

use crate::{
    TrustBundle, pace,
    provider::ProviderConfig,
    source::{self, FetchFailed, Fetched},
    x509::{self, Authorities},
};

/// Where the bundle of a trust domain comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleSource {
    /// A file that holds a SPIFFE bundle; it is read again when it changes.
    File(PathBuf),
    /// A bundle endpoint of the profile `https_web`: its certificate is verified as any web server's.
    HttpsWeb(String),
    /// A bundle endpoint of the profile `https_spiffe`: its certificate is an X.509-SVID.
    HttpsSpiffe {
        /// The endpoint.
        url: String,
        /// Whom its certificate must name.
        endpoint_id: SpiffeId,
        /// A file with a bundle of that ID's trust domain: the first one, got on another way. Once the
        /// endpoint's own trust domain was fetched, what was fetched counts, until it is too old.
        bundle_file: PathBuf,
    },
    /// A SPIFFE Workload API on a unix socket, such as SPIRE's agent offers.
    WorkloadApi(PathBuf),
}

impl fmt::Display for BundleSource {
    /// As a file names it that outlives the process.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::HttpsWeb(url) => write!(f, "https_web {url}"),
            Self::HttpsSpiffe {
                url,
                endpoint_id,
                bundle_file,
            } => {
                let file = bundle_file.display();
                write!(f, "https_spiffe {url} {endpoint_id} {file}")
            }
            Self::WorkloadApi(socket) => write!(f, "workload_api {}", socket.display()),
        }
    }
}

/// Why a bundle that was received is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum RefusedBundle {
    #[error(transparent)]
    Invalid(#[from] InvalidBundle),
    /// SECURITY: an older bundle may hold a key that was withdrawn since.
    #[error(
        "the bundle's `spiffe_sequence` is {found}, and {held} was seen before; an older bundle is not taken"
    )]
    WentBack { found: u64, held: u64 },
    #[error(
        "the bundle has no `spiffe_sequence`, and {0} was seen before; it cannot be told whether it is an older one"
    )]
    SequenceMissing(u64),
    #[error(
        "the bundle has new keys or authorities and still the `spiffe_sequence` {0}; give each change a higher one"
    )]
    SequenceKept(u64),
}

/// Reads a bundle once. `held` are the authorities that the provider holds and that are not too old.
pub(crate) async fn fetch(
    source: &BundleSource,
    config: &ProviderConfig,
    held: Option<&Authorities>,
    reach: &Reach,
    now: Timestamp,
) -> Result<Fetched, FetchFailed> {
    let (bytes, of_file) = match source {
        BundleSource::File(path) => (
            source::read_file(path, config.file_roots.clone(), MAX_SET_BYTES).await?,
            true,
        ),
        BundleSource::HttpsWeb(url) => {
            let url = parse_target(url)?;
            let client = source::client(config, &url, reach).await?;
            (
                source::fetch_body(&client, url, None).await?.into_body(),
                false,
            )
        }
        BundleSource::HttpsSpiffe {
            url,
            endpoint_id,
            bundle_file,
        } => {
            let url = parse_target(url)?;
            let authorities = endpoint_authorities(endpoint_id, bundle_file, config, held).await?;
            let identity = EndpointIdentity::new(authorities, endpoint_id.clone(), now);
            let tls = identity
                .client()
                .map_err(|error| FetchFailed::Tls(error.to_string()))?;
            // SECURITY: straight to the endpoint; the certificate says who it is, whatever its address.
            let client = Client::new(Settings {
                roots: Roots::Tls(Box::new(tls)),
                ..source::settings(&url, reach, Proxy::None)
            });
            let client = client.map_err(|error| FetchFailed::Tls(error.to_string()))?;
            (
                source::fetch_body(&client, url, None).await?.into_body(),
                false,
            )
        }
        // It sends; nobody asks.
        BundleSource::WorkloadApi(_) => return Err(FetchFailed::Pushed),
    };
    let bundle =
        TrustBundle::parse(config.trust_domain.clone(), &bytes).map_err(RefusedBundle::from)?;
    let refresh_after = match of_file {
        true => pace::FILE_REFRESH,
        false => pace::refresh_after(bundle.bundle().refresh_hint()),
    };
    Ok(Fetched {
        keys: bundle.bundle().jwt_keys().clone(),
        sequence: bundle.bundle().sequence(),
        authorities: Some(bundle.authorities().clone()),
        refresh_after,
    })
}

/// Who may vouch for the endpoint: what its own trust domain's provider holds, or the configured file.
async fn endpoint_authorities(
    endpoint_id: &SpiffeId,
    bundle_file: &Path,
    config: &ProviderConfig,
    held: Option<&Authorities>,
) -> Result<Authorities, FetchFailed> {
    let own = held.filter(|held| held.trust_domain().as_str() == endpoint_id.trust_domain());
    if let Some(own) = own.filter(|own| own.count() > 0) {
        return Ok(own.clone());
    }
    let bytes = source::read_file(bundle_file, config.file_roots.clone(), MAX_SET_BYTES).await?;
    let domain = TrustDomain::parse(endpoint_id.trust_domain())
        .map_err(|error| FetchFailed::Tls(error.to_string()))?;
    let bundle = TrustBundle::parse(domain, &bytes).map_err(RefusedBundle::from)?;
    Ok(bundle.authorities().clone())
}

/// Verifies a server by its X.509-SVID alone (SPIFFE Federation §5.2.2): its DNS name is not looked at.
#[derive(Debug)]
struct EndpointIdentity {
    authorities: Authorities,
    id: SpiffeId,
    now: Timestamp,
    provider: Arc<CryptoProvider>,
}

impl EndpointIdentity {
    fn new(authorities: Authorities, id: SpiffeId, now: Timestamp) -> Self {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        Self {
            authorities,
            id,
            now,
            provider,
        }
    }

    /// TLS 1.2 and 1.3, with the suites of Mozilla's intermediate profile, which are rustls's own.
    fn client(self) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self));
        Ok(builder.with_no_client_auth())
    }

    fn check(&self, certificates: Vec<Vec<u8>>) -> Result<(), EndpointRefused> {
        let chain = CertificateChain::new(certificates)
            .map_err(|invalid| EndpointRefused::Certificate(invalid.into()))?;
        let verified = x509::verify(&chain, &self.authorities, self.now)?;
        if *verified.spiffe_id() != self.id {
            return Err(EndpointRefused::OtherId {
                found: verified.spiffe_id().clone(),
                expected: self.id.clone(),
            });
        }
        Ok(())
    }
}

/// Why a bundle endpoint is not the one that was asked for.
#[derive(Debug, Error)]
enum EndpointRefused {
    #[error("the endpoint's certificate is refused: {0}")]
    Certificate(#[from] attache_core::certificate::RejectedCertificate),
    #[error("the endpoint is `{found}`, not `{expected}`")]
    OtherId { found: SpiffeId, expected: SpiffeId },
}

impl ServerCertVerifier for EndpointIdentity {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let all = std::iter::once(end_entity).chain(intermediates);
        let refused = self.check(all.map(|one| one.to_vec()).collect()).err();
        // In words, for the error of the fetch shows them to whoever operates this.
        refused.map_or(Ok(ServerCertVerified::assertion()), |refused| {
            Err(TlsError::General(refused.to_string()))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
