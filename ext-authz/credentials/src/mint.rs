//! Minting, as this crate asks for it. The binary wires it to the issuer of the same process or to
//! the control plane's; this crate depends on neither.

use std::{future::Future, pin::Pin};

use attache_core::{
    claims::RenderedClaims, decision::Fault, evidence::Evidence, freshness::Lifetime,
    secret::Secret, spiffe_id::SpiffeId, time::Timestamp, token::TokenPlan,
};
use thiserror::Error;

/// Mints our own tokens.
pub trait Mint: Send + Sync {
    /// `iss` of the tokens: tokens of two issuers are two tokens.
    fn issuer(&self) -> &str;

    /// Changes when a signing key is revoked: what was minted under another generation is not used again.
    fn generation(&self) -> u64;

    /// Mints a token for whom the evidence proves.
    fn mint<'a>(
        &'a self,
        order: &'a Order,
    ) -> Pin<Box<dyn Future<Output = Result<Minted, MintFailed>> + Send + 'a>>;
}

/// What the edge shows of itself to its own Vault. It is nobody that policies know, and no workload.
pub trait EdgeIdentity: Send + Sync {
    /// Changes when a signing key is revoked.
    fn generation(&self) -> u64;

    /// A token that names the edge, for `audience` alone, to be shown at once.
    fn token<'a>(
        &'a self,
        audience: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Secret, MintFailed>> + Send + 'a>>;
}

/// What to mint.
#[derive(Clone)]
pub struct Order {
    /// What the caller shows of itself. The minter verifies it and derives `sub` from it alone.
    pub evidence: Evidence,
    /// What the token is to be.
    pub plan: TokenPlan,
    /// When it is asked for.
    pub now: Timestamp,
}

/// A token that was minted.
pub struct Minted {
    /// The JWT in compact form.
    pub token: Secret,
    /// Its `jti`.
    pub token_id: String,
    /// Its `sub`.
    pub spiffe_id: SpiffeId,
    /// What it says beside the registered claims.
    pub claims: RenderedClaims,
    /// From `iat` to `exp`.
    pub lifetime: Lifetime,
}

/// Why nothing was minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MintFailed {
    /// The minter does not accept this evidence; another caller's may do.
    #[error("the issuer does not accept the evidence ({0})")]
    EvidenceRefused(&'static str),
    /// The minter, or what it needs, is broken.
    #[error("the issuer gives no token ({code})", code = .0.code())]
    Unavailable(Fault),
}
