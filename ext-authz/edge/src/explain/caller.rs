//! Who would make a call: proven as for a real request, or only supposed.

use std::sync::Arc;

use attache_core::{
    attestation::{Attestation, ProviderKind},
    attributes::{Attributes, SPIFFE_ID},
    decision::DenyReason,
    evidence::Evidence,
    time::Timestamp,
};
use attache_policy::{document::TrustProvider, explain::Supposed};
use attache_trust::{Naming, NotAttested};

use super::{Call, Caller, CallerTold, Explainer, Proof, Unexplainable, Verification};
use crate::{question::Question, refusal::Refusal};

/// A caller whom policy can be asked about.
pub(super) enum Known {
    Proven(Arc<Attestation>),
    Supposed(Supposed),
}

/// Why there is no such caller.
pub(super) enum Nobody {
    /// A real request would end here.
    Refused(Refusal),
    /// No real request could come to this.
    Impossible(Unexplainable),
}

impl Explainer<'_> {
    pub(super) async fn caller(
        &self,
        call: &Call,
        question: &Question<'_>,
        at: Timestamp,
    ) -> Result<(Known, CallerTold), Nobody> {
        let (evidence, verification) = match &call.caller {
            Caller::Attributes {
                trust_provider,
                attributes,
            } => {
                let provider = self.provider(trust_provider.as_deref(), attributes)?;
                return supposed(provider, attributes, Proof::Supposed);
            }
            Caller::Recorded {
                trust_provider,
                attributes,
            } => {
                let provider = self.find(|provider| provider.name == *trust_provider);
                let provider = provider.ok_or(DenyReason::IssuerUnknown)?;
                return supposed(provider, attributes, Proof::Recorded);
            }
            Caller::Unproven {} => return Err(DenyReason::EvidenceMissing.into()),
            Caller::Evidence {
                token,
                verification,
            } => (Evidence::Token(token.0.clone()), *verification),
            Caller::Request {} => (
                self.listener.evidence.evidence(question)?,
                Verification::Verify,
            ),
        };
        match verification {
            Verification::Verify => {
                let attestation = self.trust.attest(&evidence, at).await?;
                let told = CallerTold::attested(&attestation);
                Ok((Known::Proven(attestation), told))
            }
            Verification::Skip => {
                let by_issuer =
                    |issuer: &str| self.find(|provider| provider.issuer == issuer).map(naming);
                let proven = attache_trust::unverified(&evidence, by_issuer)?;
                let told = CallerTold::of(&proven, Proof::Unverified);
                Ok((Known::Supposed(Supposed::caller(proven)), told))
            }
        }
    }

    fn find(&self, wanted: impl Fn(&TrustProvider) -> bool) -> Option<&TrustProvider> {
        let mut providers = self.policies.trust_providers().iter();
        providers.find(|provider| wanted(provider))
    }

    /// The provider of that name, or else the only one that could prove such attributes.
    fn provider(
        &self,
        name: Option<&str>,
        attributes: &Attributes,
    ) -> Result<&TrustProvider, Unexplainable> {
        let providers = self.policies.trust_providers();
        if let Some(name) = name {
            let found = self.find(|provider| provider.name == name);
            return found.ok_or_else(|| Unexplainable::Provider {
                name: name.to_owned(),
                known: known(providers.iter()),
            });
        }
        let fits = |kind: ProviderKind| {
            let prefix = match kind {
                ProviderKind::KubernetesServiceAccount => "k8s.",
                ProviderKind::Oidc => "claims.",
            };
            let mut names = attributes.iter().map(|(name, _)| name);
            names.all(|name| name == SPIFFE_ID || name.starts_with(prefix))
        };
        let fitting = || providers.iter().filter(|provider| fits(provider.kind));
        let mut candidates = fitting();
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Ok(only),
            (_, _) => Err(Unexplainable::ProviderMissing(known(fitting()))),
        }
    }
}

fn supposed(
    provider: &TrustProvider,
    attributes: &Attributes,
    proof: Proof,
) -> Result<(Known, CallerTold), Nobody> {
    let proven = naming(provider)
        .supposed(attributes)
        .map_err(Unexplainable::from)?;
    let told = CallerTold::of(&proven, proof);
    Ok((Known::Supposed(Supposed::caller(proven)), told))
}

const fn naming(provider: &TrustProvider) -> Naming<'_> {
    Naming {
        provider: provider.name.as_str(),
        kind: provider.kind,
        trust_domain: &provider.trust_domain,
    }
}

fn known<'p>(providers: impl Iterator<Item = &'p TrustProvider>) -> String {
    let names: Vec<&str> = providers.map(|provider| provider.name.as_str()).collect();
    match names.as_slice() {
        [] => "the set has none of the fitting type".to_owned(),
        names => format!("the set has {}", names.join(", ")),
    }
}

impl From<Unexplainable> for Nobody {
    fn from(unexplainable: Unexplainable) -> Self {
        Self::Impossible(unexplainable)
    }
}

impl From<Refusal> for Nobody {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<DenyReason> for Nobody {
    fn from(reason: DenyReason) -> Self {
        Self::Refused(reason.into())
    }
}

impl From<NotAttested> for Nobody {
    fn from(not_attested: NotAttested) -> Self {
        Self::Refused(not_attested.into())
    }
}
