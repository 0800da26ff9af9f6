//! With what? A grant becomes a credential, and the credential says how it is injected. The only
//! holder of other people's secrets.
//!
//! SECURITY: nothing here gives out a credential without a [`Grant`](attache_policy::Grant), which
//! only a decision of policy makes, for a caller whose own evidence was verified for this request.

//!
//! [`credentials`] is the file to read first: grant → key → cache → provider → injection. [`provider`] says what a
//! provider is and how to add one.

pub mod credential;
pub mod credentials;
pub mod injection;
pub mod material;
pub mod mint;
pub mod provider;
pub mod secrets;

mod cache;
mod counts;
mod providers;

pub use attache_outbound::Reach;

pub use crate::{
    cache::Held,
    counts::{Fetches, ProviderCounts},
    credential::Credential,
    credentials::{Credentials, Settings, Unobtained},
    injection::Injection,
    mint::{EdgeIdentity, Mint, MintFailed, Minted, Order},
    secrets::{
        EdgeLogin, EdgeVault, SecretCounts, SecretRoots, SecretStore, VaultRoot, VaultRoots,
        VaultSettings,
    },
};
