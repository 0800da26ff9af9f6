//! The proof that a caller is who it says: made by `trust` from evidence, consumed by `policy`.

use alloc::string::String;

use crate::{attributes::Attributes, spiffe_id::SpiffeId, time::Timestamp};

/// How evidence was verified. Its text is `spec.type` of the TrustProvider document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProviderKind {
    /// A Kubernetes cluster's projected ServiceAccount token.
    KubernetesServiceAccount,
    /// An ID token of any OpenID Connect issuer.
    Oidc,
}

impl ProviderKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::KubernetesServiceAccount, Self::Oidc];

    /// The kind's name in documents, logs and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KubernetesServiceAccount => "kubernetes-service-account",
            Self::Oidc => "oidc",
        }
    }

    /// `workload_type` of the audit event.
    pub const fn workload_type(self) -> &'static str {
        match self {
            Self::KubernetesServiceAccount => "kubernetes-pod",
            Self::Oidc => "oidc-workload",
        }
    }
}

/// A caller whose evidence was verified.
#[derive(Debug)]
pub struct Attestation {
    proven: Proven,
}

/// What a trust provider found proven in one piece of evidence.
#[derive(Debug)]
pub struct Proven {
    /// The qualified name of the TrustProvider document.
    pub provider: String,
    /// The provider's kind.
    pub kind: ProviderKind,
    /// The workload's SPIFFE ID, derived from proven attributes alone.
    pub spiffe_id: SpiffeId,
    /// What was proven, by name.
    pub attributes: Attributes,
    /// When the evidence expires.
    pub expires_at: Timestamp,
}

impl Attestation {
    /// SECURITY: called by `attache-trust` alone, after it verified the evidence; clippy's
    /// `disallowed-methods` refuses any other caller.
    pub const fn attested(proven: Proven) -> Self {
        Self { proven }
    }

    /// The qualified name of the TrustProvider that verified the evidence.
    pub fn provider(&self) -> &str {
        &self.proven.provider
    }

    /// The kind of that provider.
    pub const fn kind(&self) -> ProviderKind {
        self.proven.kind
    }

    /// The workload's SPIFFE ID.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.proven.spiffe_id
    }

    /// What was proven, by name.
    pub const fn attributes(&self) -> &Attributes {
        &self.proven.attributes
    }

    /// When the evidence expires; the attestation holds no longer.
    pub const fn expires_at(&self) -> Timestamp {
        self.proven.expires_at
    }
}
