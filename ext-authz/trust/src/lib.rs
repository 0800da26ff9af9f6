//! Who is calling? The only reader of hostile evidence: it finds the provider that may prove it,
//! verifies it against that issuer's keys, and turns what was proven into an attestation.
//!
//! Every rule about tokens lives in `attache_core::jwt`; here are the keys, the signatures and the
//! names that proven attributes get. No policy, no credentials.

mod attest;
mod aws_lc;
mod cache;
mod keyring;
mod kubernetes;
mod oidc;
mod pace;
mod provider;
mod source;
mod supposed;

pub use attest::{Clock, NotAttested, ProviderStatus, Trust, TrustSettings};
pub use aws_lc::AwsLc;
pub use provider::{
    InvalidKeyUrl, InvalidProvider, InvalidProviders, KeySource, ProviderConfig, ProviderProblem,
    check,
};
pub use supposed::{Naming, NotSupposable, unverified};
