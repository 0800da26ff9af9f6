//! `oidc-token` and `jwt-svid`: tokens of our own issuer, which comes in by [`Mint`].

use std::sync::Arc;

use attache_core::decision::Fault;
use attache_policy::document::CredentialKind;

use crate::{
    material::Material,
    mint::{Mint, MintFailed, Minted, Order},
    provider::{NotObtained, Obtained, Obtaining, Provide, Wanted},
};

pub(super) struct TokenProvider {
    mint: Arc<dyn Mint>,
}

impl TokenProvider {
    pub(super) const fn new(mint: Arc<dyn Mint>) -> Self {
        Self { mint }
    }

    pub(super) fn issuer(&self) -> &str {
        self.mint.issuer()
    }
}

impl Provide for TokenProvider {
    fn generation(&self) -> u64 {
        self.mint.generation()
    }

    fn obtain<'a>(&'a self, wanted: &'a Wanted) -> Obtaining<'a> {
        Box::pin(async move {
            let CredentialKind::Token(plan) = &wanted.parameters else {
                return Err(Fault::CredentialUnavailable.into());
            };
            let order = Order {
                evidence: wanted.evidence.clone(),
                plan: plan.clone(),
                now: wanted.now,
            };
            let minted = self.mint.mint(&order).await.map_err(|failed| {
                let (workload, audience) = (&wanted.caller, plan.audience());
                tracing::warn!(%workload, ?audience, "{failed}");
                not_minted(failed)
            })?;
            taken(wanted, minted)
        })
    }
}

fn taken(wanted: &Wanted, minted: Minted) -> Result<Obtained, NotObtained> {
    let workload = &wanted.caller;
    // SECURITY: what is kept under this caller's key names this caller. Another subject means that
    // edge and issuer derive different identities from one piece of evidence.
    if minted.spiffe_id != *workload {
        tracing::error!(%workload, minted_for = %minted.spiffe_id, "the issuer minted for another workload");
        return Err(Fault::CredentialUnavailable.into());
    }
    // SECURITY: and says of it what the caller's own attestation says.
    if minted.claims != wanted.claims {
        tracing::error!(%workload, "the issuer minted with other claims than were ordered");
        return Err(Fault::CredentialUnavailable.into());
    }
    Ok(Obtained {
        material: Material::Token(minted.token),
        lifetime: Some(minted.lifetime),
        id: Some(minted.token_id),
    })
}

const fn not_minted(failed: MintFailed) -> NotObtained {
    match failed {
        MintFailed::EvidenceRefused(_) => NotObtained::evidence_refused(),
        MintFailed::Unavailable(fault) => NotObtained::broken(fault),
    }
}

#[cfg(test)]
mod tests;
