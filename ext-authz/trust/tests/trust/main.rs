//! Real tokens, real keys, real servers: what `attache-trust` believes and what it refuses.
// `cfg(test)` tells clippy that a failed expectation is an answer here.
#![cfg(test)]

mod bundle_endpoints;
mod clusters;
mod hostile_tokens;
mod key_sets;
mod key_sets_over_tls;
mod pki;
mod platforms;
mod signer;
mod site;
mod svid_providers;
mod workload_api;
mod workloads;
mod x509_svids;
