//! The proof that a caller is who it says: made by `trust` from evidence, consumed by `policy`.

use alloc::{string::String, sync::Arc, vec::Vec};

use compact_str::CompactString;
use thiserror::Error;

use crate::{
    attributes::{Attributes, SPIFFE_ID, is_single},
    spiffe_id::SpiffeId,
    time::Timestamp,
};

#[cfg(test)]
mod tests;

/// How evidence was verified. Its text is `spec.type` of the TrustProvider document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProviderKind {
    /// A Kubernetes cluster's projected ServiceAccount token.
    KubernetesServiceAccount,
    /// An ID token of any OpenID Connect issuer.
    Oidc,
    /// The ID token of a GitHub Actions job.
    GithubActions,
    /// The ID token of a GitLab CI/CD job.
    Gitlab,
    /// The workload identity token of an HCP Terraform run.
    TerraformCloud,
    /// The web identity token that AWS gives to a role, for a Lambda function and everything else.
    AwsLambdaOidc,
    /// A JWT-SVID of a SPIFFE trust domain.
    SpiffeJwt,
    /// An X.509-SVID of a SPIFFE trust domain.
    SpiffeX509,
}

impl ProviderKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::KubernetesServiceAccount,
        Self::Oidc,
        Self::GithubActions,
        Self::Gitlab,
        Self::TerraformCloud,
        Self::AwsLambdaOidc,
        Self::SpiffeJwt,
        Self::SpiffeX509,
    ];

    /// The kind's name in documents, logs and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KubernetesServiceAccount => "kubernetes-service-account",
            Self::Oidc => "oidc",
            Self::GithubActions => "github-actions",
            Self::Gitlab => "gitlab",
            Self::TerraformCloud => "terraform-cloud",
            Self::AwsLambdaOidc => "aws-lambda-oidc",
            Self::SpiffeJwt => "spiffe-jwt",
            Self::SpiffeX509 => "spiffe-x509",
        }
    }

    /// `workload_type` of the audit event.
    pub const fn workload_type(self) -> &'static str {
        match self {
            Self::KubernetesServiceAccount => "kubernetes-pod",
            Self::Oidc => "oidc-workload",
            Self::GithubActions => "github-actions-job",
            Self::Gitlab => "gitlab-job",
            Self::TerraformCloud => "terraform-run",
            Self::AwsLambdaOidc => "aws-role",
            Self::SpiffeJwt | Self::SpiffeX509 => "spiffe-workload",
        }
    }
}

/// A caller whose evidence was verified: by one trust provider, or by several that agree.
/// A copy of it is the same proof: where one provider proved it, that costs no memory.
#[derive(Clone, Debug)]
pub struct Attestation {
    first: Arc<Proven>,
    others: Vec<Arc<Proven>>,
    /// What all proved; `None` if that is what the first did.
    together: Option<Attributes>,
}

/// What a trust provider found proven in one piece of evidence.
#[derive(Debug)]
pub struct Proven {
    /// The qualified name of the TrustProvider document.
    pub provider: CompactString,
    /// The provider's kind.
    pub kind: ProviderKind,
    /// The workload's SPIFFE ID, derived from proven attributes alone.
    pub spiffe_id: SpiffeId,
    /// What was proven, by name.
    pub attributes: Attributes,
    /// When the evidence expires.
    pub expires_at: Timestamp,
}

/// When several pieces of evidence for one call agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Agreement {
    /// If they prove one SPIFFE ID.
    OneWorkload,
    /// They may prove several; then only a policy applies that demands the proof of each provider.
    NamedByPolicy,
}

/// Two pieces of evidence of one call cannot both be about its caller.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Disagreement {
    /// They prove two SPIFFE IDs, where they must prove one.
    #[error("the evidence proves two workloads, {one} and {other}")]
    TwoWorkloads {
        /// By the first.
        one: SpiffeId,
        /// By another.
        other: SpiffeId,
    },
    /// One trust provider verified both: a policy that names it could not tell them apart.
    #[error("the trust provider {0} verified two pieces of the evidence, show one of them")]
    OneProvider(String),
    /// They prove two values of an attribute that a workload has once.
    #[error("the evidence proves two values of {0}")]
    TwoValues(String),
}

impl Attestation {
    /// SECURITY: called by `attache-trust` alone, after it verified the evidence; clippy's
    /// `disallowed-methods` refuses any other caller.
    pub fn attested(proven: Proven) -> Self {
        Self {
            first: Arc::new(proven),
            others: Vec::new(),
            together: None,
        }
    }

    /// This one and `others`, each made from a piece of evidence of the same call.
    ///
    /// SECURITY: nothing is proven here that one of them did not prove, and no workload is put together
    /// from two: neither from two pieces of one provider, nor from two values of what a workload has once.
    pub fn together<'a>(
        &self,
        others: impl IntoIterator<Item = &'a Self>,
        agreement: Agreement,
    ) -> Result<Self, Disagreement> {
        let mut proofs: Vec<Arc<Proven>> = self.proofs().map(Arc::clone).collect();
        for other in others {
            for proof in other.proofs() {
                for known in &proofs {
                    known.agrees_with(proof, agreement)?;
                }
                proofs.push(Arc::clone(proof));
            }
        }
        Ok(Self::of(Arc::clone(&self.first), proofs.split_off(1)))
    }

    /// What remains if only the providers count that `counts` accepts; `None` if all do, or none.
    pub fn narrowed(&self, counts: impl Fn(&str) -> bool) -> Option<Self> {
        let counting = self.proofs().filter(|proof| counts(&proof.provider));
        let mut counting: Vec<Arc<Proven>> = counting.map(Arc::clone).collect();
        let all = counting.len() > self.others.len();
        let first = counting.first().map(Arc::clone).filter(|_| !all)?;
        Some(Self::of(first, counting.split_off(1)))
    }

    fn of(first: Arc<Proven>, others: Vec<Arc<Proven>>) -> Self {
        let together = (!others.is_empty()).then(|| {
            let mut all = first.attributes.clone();
            for other in &others {
                all.join(&other.attributes);
            }
            all
        });
        Self {
            first,
            others,
            together,
        }
    }

    /// What each provider proved, in the order of the evidence.
    pub fn proofs(&self) -> impl Iterator<Item = &Arc<Proven>> {
        core::iter::once(&self.first).chain(&self.others)
    }

    /// Whether several pieces of evidence were verified.
    pub const fn is_by_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// Whether all evidence proves one SPIFFE ID.
    pub fn is_one_workload(&self) -> bool {
        let mut others = self.others.iter();
        others.all(|other| other.spiffe_id == self.first.spiffe_id)
    }

    /// The qualified name of the TrustProvider that verified the first piece of evidence.
    pub fn provider(&self) -> &str {
        &self.first.provider
    }

    /// The kind of that provider.
    pub fn kind(&self) -> ProviderKind {
        self.first.kind
    }

    /// The workload's SPIFFE ID, as the first piece of evidence proves it.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.first.spiffe_id
    }

    /// What was proven, by name, by whichever provider.
    pub fn attributes(&self) -> &Attributes {
        self.together.as_ref().unwrap_or(&self.first.attributes)
    }

    /// When the first piece of evidence expires; the attestation holds no longer.
    pub fn expires_at(&self) -> Timestamp {
        let ends = self.proofs().map(|proof| proof.expires_at);
        ends.min().unwrap_or(self.first.expires_at)
    }
}

impl Proven {
    fn agrees_with(&self, other: &Self, agreement: Agreement) -> Result<(), Disagreement> {
        if agreement == Agreement::OneWorkload && other.spiffe_id != self.spiffe_id {
            return Err(Disagreement::TwoWorkloads {
                one: self.spiffe_id.clone(),
                other: other.spiffe_id.clone(),
            });
        }
        if other.provider == self.provider {
            return Err(Disagreement::OneProvider(
                self.provider.clone().into_string(),
            ));
        }
        let twice = self.attributes.iter().find(|(name, value)| {
            // Whether two IDs agree is said by `agreement`.
            let single = *name != SPIFFE_ID && is_single(name);
            let others = other.attributes.value(name);
            single && others.is_some_and(|other| other != *value)
        });
        twice.map_or(Ok(()), |(name, _)| {
            Err(Disagreement::TwoValues(String::from(name)))
        })
    }
}
