//! Our keys and our tokens: signing keys that rest sealed, the documents by which a target verifies
//! us (OpenID Connect Discovery 1.0, RFC 7517), and tokens that are minted against evidence only.
//!
//! SECURITY: the issuer takes no one's word for who the caller is. [`Issuer::mint`] verifies the
//! evidence itself and derives `sub` from its own attestation.

pub mod config;
pub mod issuer;
pub mod keys;
pub mod publication;
pub mod sealing;
pub mod signer;
pub mod store;

mod token;

pub use crate::{
    config::IssuerConfig,
    issuer::{Issuer, MintOrder, MintedToken, NotMinted},
    keys::UnusableKeys,
    sealing::SealingKey,
    store::{KeyStore, StoreFailed, StoredKey},
};
