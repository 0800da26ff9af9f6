//! Who is calling? The only reader of hostile evidence: it finds the provider that may prove it,
//! verifies it against that issuer's keys, and turns what was proven into an attestation.
//!
//! Every rule about tokens lives in `attache_core::jwt`; here are the keys, the signatures and the
//! names that proven attributes get. No policy, no credentials.

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
pub use confined::leads_outside;
pub use provider::{
    CLUSTER_CA, InvalidProvider, InvalidProviders, KeySource, ProviderConfig, ProviderProblem,
    check,
};
pub use sequences::{Sequences, UnreadableSequences};
pub use supposed::{NotSupposable, Voucher, supposed, unverified};
pub use workload::Unnameable;
