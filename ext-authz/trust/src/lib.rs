//! Who is calling? The only reader of hostile evidence: it finds the provider that may prove it,
//! verifies it against that issuer's keys, and turns what was proven into an attestation.
//!
//! Every rule about tokens lives in `attache_core::jwt`; here are the keys, the signatures and the
//! names that proven attributes get. No policy, no credentials.
//!
//! # A verdict without a server
//!
//! Evidence, keys and a moment in; what is proven, or the code of the rule that is broken, out. No network, no
//! files, no clock.
//!
//! ```
//! use std::time::Duration;
//!
//! use attache_core::{
//!     certificate::CertificateChain,
//!     jwks::KeySet,
//!     jwt::{Algorithm, Rules},
//!     spiffe_id::TrustDomain,
//!     time::Timestamp,
//! };
//! use attache_trust::{TrustBundle, pem, verify_token, x509};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Timestamp::from_seconds(1_800_000_000);
//!
//! // An ID token of an OpenID Connect issuer, by a JWK Set; `pem::key_set` reads public keys in PEM.
//! let keys = KeySet::parse(br#"{"keys": []}"#)?;
//! let rules = Rules {
//!     issuer: "https://issuer.example",
//!     audience: "attache",
//!     algorithms: &[Algorithm::Rs256, Algorithm::Es256],
//!     max_lifetime: Duration::from_hours(24),
//!     leeway: Duration::from_secs(30),
//! };
//! let refused = verify_token("not.a.token", &keys, &rules, now).err();
//! assert_eq!(refused.map(|rejected| rejected.code()), Some("token-malformed"));
//!
//! // SVIDs, by the SPIFFE bundle of their trust domain.
//! let bundle = TrustBundle::parse(TrustDomain::parse("example.org")?, br#"{"keys": []}"#)?;
//! let refused = bundle.verify_jwt_svid("not.a.token", "attache", now).err();
//! assert_eq!(refused.map(|rejected| rejected.code()), Some("token-malformed"));
//! let chain = CertificateChain::new(vec![b"no certificate".to_vec()])?;
//! let refused = bundle.verify_certificate(&chain, now).err();
//! assert_eq!(refused.map(|rejected| rejected.code()), Some("certificate-malformed"));
//!
//! // An X.509-SVID, by authorities in PEM: `Authorities::new` takes them in DER.
//! assert!(pem::certificates(b"").is_err());
//! let authorities = x509::Authorities::new(TrustDomain::parse("example.org")?, []);
//! assert!(x509::verify(&chain, &authorities, now).is_err());
//! # Ok(())
//! # }
//! ```

mod attest;
mod aws_lc;
mod bundle;
mod bundle_source;
mod cache;
mod confined;
mod keyring;
mod kubernetes;
mod oidc;
mod pace;
pub mod pem;
mod presets;
mod provider;
pub mod regular_file;
mod sequences;
mod source;
mod spiffe;
mod supposed;
mod workload;
mod workload_api;
pub mod x509;

pub use attest::{Clock, NotAttested, ProviderStatus, SvidBundle, Trust, TrustSettings};
pub use aws_lc::AwsLc;
pub use bundle::{TrustBundle, svid_rules, verify_token};
pub use bundle_source::BundleSource;
pub use confined::{leads_outside, read_below};
pub use provider::{
    CLUSTER_CA, InvalidProvider, InvalidProviders, KeySource, ProviderConfig, ProviderProblem,
    check,
};
pub use sequences::{Sequences, UnreadableSequences};
pub use supposed::{NotSupposable, Voucher, recorded, supposed, unverified};
pub use workload::Unnameable;
