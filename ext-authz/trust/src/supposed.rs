//! What evidence says, and what identity attributes would have, for explanations: nothing is verified here,
//! and nothing that comes of it is an attestation.

use attache_core::{
    attestation::{Proven, ProviderKind},
    attributes::{
        AttributeValue, Attributes, SPIFFE_ID, kubernetes::CLUSTER, spiffe as names_of_spiffe,
    },
    decision::DenyReason,
    evidence::Evidence,
    identity::{Naming, NotDerivable},
    jwt::{RejectedToken, Unverified},
    pattern::{Requirement, vouched_for},
    spiffe_id::{InvalidSpiffeId, SpiffeId, TrustDomain},
    time::Timestamp,
};

use thiserror::Error;

use crate::{
    provider::is_spiffe,
    spiffe,
    workload::{Unnameable, spiffe_id, svid, workload},
    x509,
};

#[cfg(test)]
mod tests;

/// The end of the year 9999: what was never verified does not expire either.
const NEVER: Timestamp = Timestamp::from_seconds(253_402_300_799);

/// What evidence says of who vouches for it; a provider is found by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voucher<'e> {
    /// `iss` of a token.
    Issuer(&'e str),
    /// The trust domain of a JWT-SVID's `sub`, by its name.
    JwtSvid(&'e str),
    /// The trust domain of an X.509-SVID's URI name, by its name.
    X509Svid(&'e str),
}

impl Voucher<'_> {
    /// Whether a provider of such evidence is meant.
    pub fn is(self, kind: ProviderKind, issuer: &str, trust_domain: &TrustDomain) -> bool {
        match self {
            Self::Issuer(wanted) => !is_spiffe(kind) && issuer == wanted,
            Self::JwtSvid(name) => kind == ProviderKind::SpiffeJwt && trust_domain.as_str() == name,
            Self::X509Svid(name) => {
                kind == ProviderKind::SpiffeX509 && trust_domain.as_str() == name
            }
        }
    }
}

/// What `evidence` would prove if its signature, its times and its audience were good. `find` finds the
/// provider that would be asked.
pub fn unverified<'p>(
    evidence: &Evidence,
    find: impl Fn(Voucher<'_>) -> Option<Naming<'p>>,
) -> Result<Proven, DenyReason> {
    let token = match evidence {
        Evidence::Token(token) => token,
        Evidence::Certificate(chain) => {
            let id = x509::named(chain).map_err(DenyReason::CertificateRejected)?;
            let naming = find(Voucher::X509Svid(id.trust_domain()));
            let naming = naming.ok_or(DenyReason::TrustDomainUnknown)?;
            let (spiffe_id, attributes) = svid(naming, &id)?;
            return Ok(proven(naming, spiffe_id, attributes));
        }
        Evidence::Several(_) => return Err(DenyReason::EvidenceAmbiguous),
    };
    let token = Unverified::parse(token.expose()).map_err(DenyReason::EvidenceRejected)?;
    let by_issuer = token
        .issuer()
        .and_then(|issuer| find(Voucher::Issuer(issuer)));
    let id = token.claimed_spiffe_id();
    let by_domain = || find(Voucher::JwtSvid(id.as_ref().ok()?.trust_domain()));
    let naming = by_issuer
        .or_else(by_domain)
        .ok_or_else(|| match (token.issuer(), &id) {
            (Some(_), _) => DenyReason::IssuerUnknown,
            (None, Ok(_)) => DenyReason::TrustDomainUnknown,
            (None, Err(_)) => DenyReason::EvidenceRejected(RejectedToken::ClaimMissing("iss")),
        })?;
    #[expect(
        clippy::disallowed_methods,
        reason = "told to a person, who asked for it unverified"
    )]
    let claims = token.unproven_claims();
    let (spiffe_id, attributes) = workload(naming, claims)?;
    Ok(proven(naming, spiffe_id, attributes))
}

/// Why attributes are none that a provider could prove.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotSupposable {
    /// Its SPIFFE ID is made of it.
    #[error(
        "`{0}` is missing: every caller that this trust provider proves has it, and its SPIFFE ID comes of it"
    )]
    Missing(String),
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
    List(String),
    /// No identity can be made of it.
    #[error("no SPIFFE ID can be made of it: {0}")]
    Unnameable(Unnameable),
    /// Its cluster has one name.
    #[error(
        "`k8s.cluster` is {written}, and the trust provider calls its cluster {own}; leave it out"
    )]
    OtherCluster {
        /// As it is written.
        written: String,
        /// As the provider has it.
        own: String,
    },
    /// The provider's own rules refuse it.
    #[error("the trust provider `{0}` does not vouch for it: no entry of its `match` fits")]
    NotVouchedFor(String),
    /// The SPIFFE ID that is written is none.
    #[error("`spiffe.id`: {0}")]
    InvalidSpiffeId(#[from] InvalidSpiffeId),
    /// The provider vouches for another trust domain.
    #[error("`{id}` is not of the trust domain `{domain}`, which alone the provider vouches for")]
    OtherTrustDomain {
        /// As it is written.
        id: SpiffeId,
        /// The provider's.
        domain: String,
    },
    /// The attributes make another one.
    #[error("`spiffe.id` is {written}, and this caller would be {derived}; leave it out")]
    OtherSpiffeId {
        /// As it is written.
        written: SpiffeId,
        /// As the provider would have it.
        derived: SpiffeId,
    },
}

/// What a provider would have proven of a caller with `attributes`. The SPIFFE ID comes of them, or is
/// among them as `spiffe.id`.
pub fn supposed(naming: Naming<'_>, attributes: &Attributes) -> Result<Proven, NotSupposable> {
    check_names(naming, attributes)?;
    let mut own = attributes.some(usize::MAX, |name, _| name != SPIFFE_ID);
    own_cluster(naming, &mut own)?;
    let written = single(attributes, SPIFFE_ID)?
        .map(SpiffeId::parse)
        .transpose()?;
    let derived = if is_spiffe(naming.kind) {
        supposed_svid(naming, attributes)
    } else {
        spiffe_id(naming, &own).map_err(NotSupposable::from)
    };
    let spiffe_id = match (written, derived) {
        (None, derived) => derived?,
        (Some(written), Ok(derived)) if written != derived => {
            return Err(NotSupposable::OtherSpiffeId { written, derived });
        }
        (Some(written), _) => written,
    };
    if is_spiffe(naming.kind) {
        own.join(&spiffe::attributes(&spiffe_id));
    }
    if !vouched_for(naming.only, &spiffe_id, &own) {
        return Err(NotSupposable::NotVouchedFor(naming.provider.to_owned()));
    }
    Ok(proven(naming, spiffe_id, own))
}

/// What a provider of today proves of a caller whom it proved once, as the audit log tells: `spiffe_id`, and of its
/// attributes those that are known. What is not known is not held against it.
pub fn recorded(
    naming: Naming<'_>,
    spiffe_id: &SpiffeId,
    attributes: &Attributes,
) -> Result<Proven, DenyReason> {
    let proves = |name: &str| name != SPIFFE_ID && naming.kind.proves(name);
    let mut own = attributes.some(usize::MAX, |name, _| proves(name));
    if let Some(cluster) = naming.cluster {
        own.set(CLUSTER, cluster);
    }
    let id = if is_spiffe(naming.kind) {
        if spiffe_id.trust_domain() != naming.trust_domain.as_str() {
            return Err(DenyReason::TrustDomainUnknown);
        }
        own.join(&spiffe::attributes(spiffe_id));
        spiffe_id.clone()
    } else {
        // Its path may be made of an attribute that the event does not keep.
        self::spiffe_id(naming, &own).unwrap_or_else(|_unknown| spiffe_id.clone())
    };
    let may_hold = |requirement: &Requirement| {
        let is_known =
            requirement.attribute == SPIFFE_ID || own.value(&requirement.attribute).is_some();
        !is_known || requirement.holds(&id, &own)
    };
    let mut entries = naming.only.iter();
    if !naming.only.is_empty() && !entries.any(|entry| entry.iter().all(may_hold)) {
        return Err(DenyReason::NotVouchedFor);
    }
    Ok(proven(naming, id, own))
}

impl From<Unnameable> for NotSupposable {
    fn from(unnameable: Unnameable) -> Self {
        match unnameable {
            Unnameable::Template(NotDerivable::Missing(name)) => Self::Missing(name),
            Unnameable::Template(NotDerivable::Several(name)) => Self::List(name),
            Unnameable::NoSubject(name) => Self::Missing(name.to_owned()),
            other @ (Unnameable::Template(_) | Unnameable::Subject(_)) => Self::Unnameable(other),
        }
    }
}

fn check_names(naming: Naming<'_>, attributes: &Attributes) -> Result<(), NotSupposable> {
    let mut names = attributes.iter().map(|(name, _)| name);
    let foreign = names.find(|name| !naming.kind.proves(name));
    foreign.map_or(Ok(()), |name| {
        Err(NotSupposable::Foreign {
            attribute: name.to_owned(),
            provider: naming.provider.to_owned(),
            kind: naming.kind.name(),
        })
    })
}

/// All pods of a cluster have its name, written or not.
fn own_cluster(naming: Naming<'_>, attributes: &mut Attributes) -> Result<(), NotSupposable> {
    let Some(own) = naming.cluster else {
        return Ok(());
    };
    match single(attributes, CLUSTER)? {
        Some(written) if written != own => Err(NotSupposable::OtherCluster {
            written: written.to_owned(),
            own: own.to_owned(),
        }),
        _same => {
            attributes.set(CLUSTER, own);
            Ok(())
        }
    }
}

/// The ID of an SVID: as it is written, or the one of its path.
fn supposed_svid(naming: Naming<'_>, attributes: &Attributes) -> Result<SpiffeId, NotSupposable> {
    let domain = naming.trust_domain.as_str();
    let (path, id) = (
        single(attributes, names_of_spiffe::PATH)?,
        single(attributes, SPIFFE_ID)?,
    );
    let id = match (path, id) {
        (Some(path), _) => SpiffeId::parse(&format!("spiffe://{domain}{path}"))?,
        (None, Some(id)) => SpiffeId::parse(id)?,
        (None, None) => return Err(NotSupposable::Missing(SPIFFE_ID.to_owned())),
    };
    if id.trust_domain() != domain {
        return Err(NotSupposable::OtherTrustDomain {
            id,
            domain: domain.to_owned(),
        });
    }
    Ok(id)
}

fn proven(naming: Naming<'_>, spiffe_id: SpiffeId, attributes: Attributes) -> Proven {
    Proven {
        provider: naming.provider.into(),
        kind: naming.kind,
        spiffe_id,
        attributes,
        expires_at: NEVER,
    }
}

fn single<'a>(
    attributes: &'a Attributes,
    name: &'static str,
) -> Result<Option<&'a str>, NotSupposable> {
    match attributes.value(name) {
        None => Ok(None),
        Some(AttributeValue::One(value)) => Ok(Some(value)),
        Some(AttributeValue::Many(_)) => Err(NotSupposable::List(name.to_owned())),
    }
}
