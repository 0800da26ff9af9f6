//! What evidence says, and what identity attributes would have, for explanations: nothing is verified here,
//! and nothing that comes of it is an attestation.

use attache_core::{
    attestation::{Proven, ProviderKind},
    attributes::{AttributeValue, Attributes, SPIFFE_ID, kubernetes as names},
    decision::DenyReason,
    evidence::Evidence,
    jwt::{RejectedToken, Unverified},
    spiffe_id::{InvalidSpiffeId, SpiffeId, TrustDomain},
    time::Timestamp,
};

use thiserror::Error;

use crate::{attest, kubernetes, oidc};

#[cfg(test)]
mod tests;

/// The end of the year 9999: what was never verified does not expire either.
const NEVER: Timestamp = Timestamp::from_seconds(253_402_300_799);

/// The attribute that an OpenID Connect provider names workloads by.
const SUBJECT: &str = "claims.sub";

/// A provider, as far as it gives names to workloads.
#[derive(Clone, Copy, Debug)]
pub struct Naming<'p> {
    /// Its qualified name.
    pub provider: &'p str,
    /// Its kind.
    pub kind: ProviderKind,
    /// The trust domain of its SPIFFE IDs.
    pub trust_domain: &'p TrustDomain,
}

/// What `evidence` would prove if its signature, its times and its audience were good. `by_issuer` finds the
/// provider that would be asked.
pub fn unverified<'p>(
    evidence: &Evidence,
    by_issuer: impl FnOnce(&str) -> Option<Naming<'p>>,
) -> Result<Proven, DenyReason> {
    let Evidence::Token(token) = evidence;
    let token = Unverified::parse(token.expose()).map_err(DenyReason::EvidenceRejected)?;
    let missing = DenyReason::EvidenceRejected(RejectedToken::ClaimMissing("iss"));
    let issuer = token.issuer().ok_or(missing)?;
    let naming = by_issuer(issuer).ok_or(DenyReason::IssuerUnknown)?;
    let Naming {
        provider,
        kind,
        trust_domain,
    } = naming;
    #[expect(
        clippy::disallowed_methods,
        reason = "told to a person, who asked for it unverified"
    )]
    let claims = token.unproven_claims();
    let workload = attest::workload(kind, provider, trust_domain, claims);
    let (spiffe_id, attributes) = workload.map_err(DenyReason::EvidenceRejected)?;
    Ok(naming.proven(spiffe_id, attributes))
}

/// Why attributes are none that a provider could prove.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotSupposable {
    /// Its SPIFFE ID is made of it.
    #[error(
        "`{0}` is missing: every caller that this trust provider proves has it, and its SPIFFE ID comes of it"
    )]
    Missing(&'static str),
    /// Another kind of provider proves it.
    #[error(
        "`{attribute}` is nothing that the trust provider `{provider}` proves: it is of type {kind}"
    )]
    Foreign {
        /// The attribute.
        attribute: String,
        /// The provider.
        provider: String,
        /// Its kind.
        kind: &'static str,
    },
    /// It has a single value.
    #[error("`{0}` has one value, not a list")]
    List(&'static str),
    /// No identity can be made of it.
    #[error("no SPIFFE ID can be made of it: {0}")]
    Unnameable(RejectedToken),
    /// The SPIFFE ID that is written is none.
    #[error("`spiffe.id`: {0}")]
    InvalidSpiffeId(#[from] InvalidSpiffeId),
    /// The attributes make another one.
    #[error("`spiffe.id` is {written}, and this caller would be {derived}; leave it out")]
    OtherSpiffeId {
        /// As it is written.
        written: SpiffeId,
        /// As the provider would have it.
        derived: SpiffeId,
    },
}

impl Naming<'_> {
    /// What this provider would have proven of a caller with `attributes`. The SPIFFE ID comes of them, or is
    /// among them as `spiffe.id`.
    pub fn supposed(self, attributes: &Attributes) -> Result<Proven, NotSupposable> {
        self.check_names(attributes)?;
        let derived = self.derived(attributes);
        let written = single(attributes, SPIFFE_ID)?
            .map(SpiffeId::parse)
            .transpose()?;
        let spiffe_id = match (written, derived) {
            (None, derived) => derived?,
            (Some(written), Ok(derived)) if written != derived => {
                return Err(NotSupposable::OtherSpiffeId { written, derived });
            }
            (Some(written), _) => written,
        };
        let mut proven = Attributes::new();
        for (name, value) in attributes.iter().filter(|(name, _)| *name != SPIFFE_ID) {
            proven.insert(name, value.clone());
        }
        Ok(self.proven(spiffe_id, proven))
    }

    fn check_names(self, attributes: &Attributes) -> Result<(), NotSupposable> {
        let own = match self.kind {
            ProviderKind::KubernetesServiceAccount => "k8s.",
            ProviderKind::Oidc => "claims.",
        };
        let mut names = attributes.iter().map(|(name, _)| name);
        let foreign = names.find(|name| *name != SPIFFE_ID && !name.starts_with(own));
        foreign.map_or(Ok(()), |name| {
            Err(NotSupposable::Foreign {
                attribute: name.to_owned(),
                provider: self.provider.to_owned(),
                kind: self.kind.name(),
            })
        })
    }

    fn derived(self, attributes: &Attributes) -> Result<SpiffeId, NotSupposable> {
        let required =
            |name: &'static str| single(attributes, name)?.ok_or(NotSupposable::Missing(name));
        let derived = match self.kind {
            ProviderKind::KubernetesServiceAccount => {
                let namespace = required(names::NAMESPACE)?;
                let account = required(names::SERVICE_ACCOUNT)?;
                kubernetes::spiffe_id(self.trust_domain, namespace, account)
            }
            ProviderKind::Oidc => {
                oidc::spiffe_id(self.trust_domain, self.provider, required(SUBJECT)?)
            }
        };
        derived.map_err(NotSupposable::Unnameable)
    }

    fn proven(self, spiffe_id: SpiffeId, attributes: Attributes) -> Proven {
        Proven {
            provider: self.provider.to_owned(),
            kind: self.kind,
            spiffe_id,
            attributes,
            expires_at: NEVER,
        }
    }
}

fn single<'a>(
    attributes: &'a Attributes,
    name: &'static str,
) -> Result<Option<&'a str>, NotSupposable> {
    match attributes.value(name) {
        None => Ok(None),
        Some(AttributeValue::One(value)) => Ok(Some(value)),
        Some(AttributeValue::Many(_)) => Err(NotSupposable::List(name)),
    }
}
