//! Our keys and our tokens: signing keys that rest sealed and take turns, the documents by which a target
//! verifies us (OpenID Connect Discovery 1.0, RFC 7517, SPIFFE bundle), and tokens that are minted against
//! evidence only.
//!
//! SECURITY: the issuer takes no one's word for who the caller is. [`Issuer::mint`] verifies the
//! evidence itself and derives `sub` from its own attestation.

pub mod config;
pub mod custody;
pub mod issuer;
pub mod keys;
pub mod publication;
pub mod rotation;
pub mod sealing;
pub mod signer;
pub mod store;
pub mod told;

mod token;

pub use crate::{
    config::IssuerConfig,
    custody::NotRevoked,
    issuer::{Issuer, MintOrder, MintedToken, NotMinted},
    keys::UnusableKeys,
    rotation::{Schedule, Step},
    sealing::SealingKey,
    store::{KeyState, KeyStore, StoreFailed, StoredKey, StoredRing},
    told::KeysTold,
};
