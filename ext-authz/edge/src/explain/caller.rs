//! Who would make a call: proven as for a real request, or only supposed.

use std::iter;

use attache_core::{
    attestation::{Attestation, ProviderKind},
    attributes::{AttributeValue, Attributes, SPIFFE_ID},
    decision::DenyReason,
    evidence::Evidence,
    spiffe_id::SpiffeId,
    time::Timestamp,
};
use attache_policy::{document::TrustProvider, explain::Supposed};
use attache_trust::{NotAttested, Voucher};

use super::{Call, Caller, CallerTold, Explainer, Proof, Unexplainable, Verification};
use crate::{question::Question, refusal::Refusal};

/// A caller whom policy can be asked about.
pub(super) enum Known {
    Proven(Attestation),
    Supposed(Supposed),
    /// It shows no evidence; this is said of it.
    Unproven(Attributes),
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
    ) -> Result<(Known, Option<CallerTold>), Nobody> {
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
                also_by,
                spiffe_id,
                attributes,
            } => {
                let spiffe_id = SpiffeId::parse(spiffe_id);
                let spiffe_id = spiffe_id.map_err(|_invalid| DenyReason::WorkloadUnnameable)?;
                let providers = iter::once(trust_provider).chain(also_by);
                return self.recorded(providers, &spiffe_id, attributes);
            }
            Caller::Unproven { said } => return Ok((Known::Unproven(said.clone()), None)),
            Caller::Evidence {
                token,
                verification,
            } => (Evidence::Token(token.0.clone()), *verification),
            Caller::Request {} => {
                let offered = self.listener.evidence.offered(question, at)?;
                let attestation = offered.attested(self.trust, at).await?;
                let Some(attestation) = attestation else {
                    return Ok((Known::Unproven(offered.unproven), None));
                };
                let told = CallerTold::attested(&attestation);
                return Ok((Known::Proven(attestation), Some(told)));
            }
        };
        match verification {
            Verification::Verify => {
                let attestation = self.trust.attest(&evidence, at).await?;
                let told = CallerTold::attested(&attestation);
                Ok((Known::Proven(attestation), Some(told)))
            }
            Verification::Skip => {
                let vouching = |voucher: Voucher<'_>| {
                    let is = |it: &TrustProvider| voucher.is(it.kind, &it.issuer, &it.trust_domain);
                    self.find(is).map(TrustProvider::naming)
                };
                let proven = attache_trust::unverified(&evidence, vouching)?;
                let told = CallerTold::of(&proven, Proof::Unverified);
                Ok((Known::Supposed(Supposed::caller(proven)), Some(told)))
            }
        }
    }

    /// A caller whom these providers proved once. The first one's word is its identity.
    fn recorded<'n>(
        &self,
        providers: impl Iterator<Item = &'n String>,
        spiffe_id: &SpiffeId,
        attributes: &Attributes,
    ) -> Result<(Known, Option<CallerTold>), Nobody> {
        // Where two workloads were proven, the IDs stand in the order of the providers.
        let ids = match attributes.value(SPIFFE_ID) {
            Some(AttributeValue::Many(ids)) => ids.as_slice(),
            Some(AttributeValue::One(_)) | None => &[],
        };
        let mut proven = Vec::new();
        for (place, name) in providers.enumerate() {
            let provider = self.find(|provider| provider.name == *name);
            let provider = provider.ok_or(DenyReason::IssuerUnknown)?;
            let naming = provider.naming();
            let own = ids.get(place).and_then(|id| SpiffeId::parse(id).ok());
            let own = own.as_ref().unwrap_or(spiffe_id);
            proven.push(attache_trust::recorded(naming, own, attributes)?);
        }
        let told = proven.first().map(|first| CallerTold {
            attributes: attributes.clone(),
            ..CallerTold::of(first, Proof::Recorded)
        });
        let supposed = Supposed::together(proven).ok_or(DenyReason::EvidenceConflict)?;
        Ok((Known::Supposed(supposed), told))
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
        let fits = |kind: ProviderKind| attributes.iter().all(|(name, _)| kind.proves(name));
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
) -> Result<(Known, Option<CallerTold>), Nobody> {
    let proven =
        attache_trust::supposed(provider.naming(), attributes).map_err(Unexplainable::from)?;
    let told = CallerTold::of(&proven, proof);
    Ok((Known::Supposed(Supposed::caller(proven)), Some(told)))
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
