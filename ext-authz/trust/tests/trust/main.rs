//! Real tokens, real keys, real servers: what `attache-trust` believes and what it refuses.
// `cfg(test)` tells clippy that a failed expectation is an answer here.
#![cfg(test)]

mod hostile_tokens;
mod key_sets;
mod key_sets_over_tls;
mod signer;
mod site;
mod workloads;
