//! With what? A grant becomes a credential, and the credential says how it is injected. The only
//! holder of other people's secrets.
//!
//! SECURITY: nothing here gives out a credential without a [`Grant`](attache_policy::Grant), which
//! only a decision of policy makes, for a caller whose own evidence was verified for this request.

pub mod credential;
pub mod credentials;
pub mod mint;

mod cache;

pub use crate::{
    credential::{Credential, Injection},
    credentials::{Credentials, Settings},
    mint::{Mint, MintFailed, Minted, Order},
};
