//! Tokens of ours that providers are shown: minted for the caller when they are needed, and never kept.

use std::{sync::Arc, time::Duration};

use attache_core::{
    claims::CustomClaims,
    decision::Fault,
    jwt::Algorithm,
    secret::Secret,
    token::{TokenForm, TokenPlan},
};

use super::calls::Failure;
use crate::{
    mint::{Mint, MintFailed, Order},
    provider::{NotObtained, Wanted},
};

/// How long a token lives that a provider is shown at once. A minute bears clocks that differ.
const TTL: Duration = Duration::from_secs(60);

/// Proves callers to providers.
#[derive(Clone)]
pub(super) struct Prover {
    mint: Arc<dyn Mint>,
}

impl Prover {
    pub(super) const fn new(mint: Arc<dyn Mint>) -> Self {
        Self { mint }
    }

    pub(super) fn generation(&self) -> u64 {
        self.mint.generation()
    }

    /// A token for the caller, for `audience` alone. Each has a `jti` of its own.
    pub(super) async fn token(
        &self,
        wanted: &Wanted,
        form: TokenForm,
        audience: &str,
    ) -> Result<Secret, Failure> {
        let algorithm = match form {
            TokenForm::OidcToken => Algorithm::Rs256,
            TokenForm::JwtSvid | TokenForm::ClientAssertion => Algorithm::Es256,
        };
        let plan = TokenPlan {
            form,
            audiences: vec![audience.to_owned()],
            ttl: TTL,
            algorithm,
            claims: CustomClaims::default(),
        };
        let order = Order {
            evidence: wanted.evidence.clone(),
            plan,
            now: wanted.now,
        };
        let minted = self.mint.mint(&order).await.map_err(not_minted)?;
        // SECURITY: what is shown for this caller names this caller.
        if minted.spiffe_id != wanted.caller {
            let told = "the issuer minted for another workload";
            return Err(Failure::new(Fault::CredentialUnavailable, told));
        }
        Ok(minted.token)
    }
}

fn not_minted(failed: MintFailed) -> Failure {
    let told = format!("no token to show: {failed}");
    match failed {
        MintFailed::EvidenceRefused(_) => {
            let mut failure = Failure::new(Fault::CredentialUnavailable, told);
            failure.why = NotObtained::evidence_refused();
            failure
        }
        MintFailed::Unavailable(fault) => Failure::new(fault, told),
    }
}
