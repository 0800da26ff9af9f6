//! Why a call gets no credential: policy's `no`, or something broken. Both are answers, not errors.

use attache_core::decision::{DenyReason, Fault};
use attache_trust::NotAttested;

/// Why a call was not permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The answer is 403.
    Denied(DenyReason),
    /// The answer is 503.
    Unavailable(Fault),
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Denied(reason) => reason.code(),
            Self::Unavailable(fault) => fault.code(),
        }
    }

    /// A sentence for a person.
    pub const fn sentence(&self) -> &'static str {
        match self {
            Self::Denied(reason) => reason.sentence(),
            Self::Unavailable(fault) => fault.sentence(),
        }
    }
}

impl From<DenyReason> for Refusal {
    fn from(reason: DenyReason) -> Self {
        Self::Denied(reason)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(fault)
    }
}

impl From<NotAttested> for Refusal {
    fn from(not_attested: NotAttested) -> Self {
        match not_attested {
            NotAttested::Denied(reason) => Self::Denied(reason),
            NotAttested::Unavailable(fault) => Self::Unavailable(fault),
        }
    }
}
