//! Gives `credentials` the issuer of this process, without either knowing the other.

use std::{future::Future, pin::Pin, sync::Arc};

use attache_credentials::{Mint, MintFailed, Minted, Order};
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
