//! Gives `credentials` the issuer of this process, without either knowing the other.

use std::{future::Future, pin::Pin, sync::Arc};

use attache_core::secret::Secret;
use attache_credentials::{EdgeIdentity, Mint, MintFailed, Minted, Order};
use attache_edge::clock;
use attache_issuer::{Issuer, MintOrder};

/// The issuer in this process.
pub(crate) struct LocalIssuer(pub(crate) Arc<Issuer>);

impl Mint for LocalIssuer {
    fn issuer(&self) -> &str {
        self.0.url().as_str()
    }

    fn generation(&self) -> u64 {
        self.0.generation()
    }

    fn mint<'a>(
        &'a self,
        order: &'a Order,
    ) -> Pin<Box<dyn Future<Output = Result<Minted, MintFailed>> + Send + 'a>> {
        Box::pin(async {
            let Order {
                evidence,
                plan,
                now,
            } = order;
            let asked = MintOrder { evidence, plan };
            let minted = self.0.mint(asked, *now).await.map_err(|not_minted| {
                not_minted.denial().map_or_else(
                    || MintFailed::Unavailable(not_minted.fault()),
                    |denial| MintFailed::EvidenceRefused(denial.code()),
                )
            })?;
            let attache_issuer::MintedToken {
                token,
                token_id,
                spiffe_id,
                claims,
                lifetime,
            } = minted;
            Ok(Minted {
                token,
                token_id,
                spiffe_id,
                claims,
                lifetime,
            })
        })
    }
}

/// The edge in this process, by its name in audit events.
pub(crate) struct OwnIdentity {
    pub(crate) name: String,
    pub(crate) issuer: Arc<Issuer>,
}

impl EdgeIdentity for OwnIdentity {
    fn generation(&self) -> u64 {
        self.issuer.generation()
    }

    fn token<'a>(
        &'a self,
        audience: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Secret, MintFailed>> + Send + 'a>> {
        Box::pin(async move {
            let now = clock::now();
            let minted = self.issuer.mint_for_edge(&self.name, audience, now).await;
            minted.map_err(|not_minted| MintFailed::Unavailable(not_minted.fault()))
        })
    }
}
