//! What every credential provider is: it is asked for one credential for one proven caller, with its parameters
//! as they are for that caller, and gives material with its lifetime, or says what is wrong.
//!
//! To add one: its document in `attache-policy`, an implementation of [`Provide`] in a file of
//! `crate::providers`, an arm in `crate::providers::Providers`, the contract suite (`providers/contract.rs`), and
//! the drills if it calls somebody (`providers/drills.rs`). Caching, refreshing, single flight, back-off, keys and
//! injection are not its business: `crate::credentials` does them for all.

use std::{future::Future, pin::Pin, time::Duration};

use attache_core::{
    claims::RenderedClaims, decision::Fault, evidence::Evidence, freshness::Lifetime,
    spiffe_id::SpiffeId, time::Timestamp,
};
use attache_policy::document::CredentialKind;

use crate::{material::Material, secrets::Secrets};

/// Obtains credentials of one family of types.
pub trait Provide: Send + Sync {
    /// Changes when everything that was obtained before is void: a signing key of ours was revoked. What was
    /// obtained under another generation is not used again.
    fn generation(&self) -> u64 {
        0
    }

    /// Obtains one credential. It may take as long as it takes: who calls it gives it up in time.
    fn obtain<'a>(&'a self, wanted: &'a Wanted) -> Obtaining<'a>;
}

/// A credential on its way.
pub type Obtaining<'a> = Pin<Box<dyn Future<Output = Result<Obtained, NotObtained>> + Send + 'a>>;

/// One credential for one caller.
#[derive(Clone)]
pub struct Wanted {
    /// The qualified name of the provider's document, for the log.
    pub provider: String,
    /// For whom.
    pub caller: SpiffeId,
    /// What proves the caller, for an issuer that wants to see it itself.
    pub evidence: Evidence,
    /// The provider's parameters, as they are for this caller.
    pub parameters: CredentialKind<String>,
    /// What the claims of a token of ours come to for this caller.
    pub claims: RenderedClaims,
    /// The secrets that the parameters refer to, as they are now.
    pub secrets: Secrets,
    /// When it is wanted.
    pub now: Timestamp,
}

/// A credential as its provider gave it.
pub struct Obtained {
    /// What it consists of.
    pub material: Material,
    /// From when until when it is good; `None` if nothing but a change of its source ends it.
    pub lifetime: Option<Lifetime>,
    /// What names it in audit events, without being secret: `jti` of a token of ours.
    pub id: Option<String>,
}

/// Why there is no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotObtained {
    /// What is wrong.
    pub cause: Cause,
    /// How long to wait before asking again, if the provider says so.
    pub retry_after: Option<Duration>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is about the evidence that was shown for this caller, and says nothing about other evidence.
    EvidenceRefused,
    /// Something is broken.
    Broken(Fault),
}

impl NotObtained {
    /// Something is broken, and nobody knows for how long.
    pub const fn broken(fault: Fault) -> Self {
        Self {
            cause: Cause::Broken(fault),
            retry_after: None,
        }
    }

    /// The evidence was not accepted.
    pub const fn evidence_refused() -> Self {
        Self {
            cause: Cause::EvidenceRefused,
            retry_after: None,
        }
    }

    /// What the caller is told.
    pub const fn fault(self) -> Fault {
        match self.cause {
            // The edge's own verification accepted the evidence a moment ago.
            Cause::EvidenceRefused => Fault::CredentialUnavailable,
            Cause::Broken(fault) => fault,
        }
    }
}

impl From<Fault> for NotObtained {
    fn from(fault: Fault) -> Self {
        Self::broken(fault)
    }
}
