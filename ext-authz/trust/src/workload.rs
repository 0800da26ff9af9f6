//! The workload that verified claims speak of: its attributes, each in the name space of the provider's kind,
//! the SPIFFE ID that is made of them, and whether its provider is to vouch for it at all.

use attache_core::{
    attestation::ProviderKind,
    attributes::{AttributeValue, Attributes},
    decision::DenyReason,
    identity::{Naming, NotDerivable},
    jwt::RejectedToken,
    pattern::vouched_for,
    spiffe_id::SpiffeId,
};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{kubernetes, oidc, presets, spiffe};

/// What `claims` prove.
pub(crate) fn workload(
    naming: Naming<'_>,
    claims: &Map<String, Value>,
) -> Result<(SpiffeId, Attributes), DenyReason> {
    let (spiffe_id, attributes) = if naming.kind == ProviderKind::SpiffeJwt {
        spiffe::claimed(claims, naming.trust_domain).map_err(DenyReason::EvidenceRejected)?
    } else {
        let attributes = attributes(naming, claims).map_err(DenyReason::EvidenceRejected)?;
        let spiffe_id = spiffe_id(naming, &attributes).map_err(|unnameable| {
            let provider = naming.provider;
            tracing::debug!(provider, %unnameable, "a workload gets no SPIFFE ID");
            DenyReason::from(unnameable)
        })?;
        (spiffe_id, attributes)
    };
    only_vouched_for(naming, spiffe_id, attributes)
}

/// What a certificate of `id` proves.
pub(crate) fn svid(
    naming: Naming<'_>,
    id: &SpiffeId,
) -> Result<(SpiffeId, Attributes), DenyReason> {
    only_vouched_for(naming, id.clone(), spiffe::attributes(id))
}

fn only_vouched_for(
    naming: Naming<'_>,
    spiffe_id: SpiffeId,
    attributes: Attributes,
) -> Result<(SpiffeId, Attributes), DenyReason> {
    // SECURITY: before anything is said of the workload, and for what is remembered too.
    if !vouched_for(naming.only, &spiffe_id, &attributes) {
        return Err(DenyReason::NotVouchedFor);
    }
    Ok((spiffe_id, attributes))
}

fn attributes(
    naming: Naming<'_>,
    claims: &Map<String, Value>,
) -> Result<Attributes, RejectedToken> {
    match naming.kind {
        ProviderKind::KubernetesServiceAccount => kubernetes::attributes(claims, naming.cluster),
        ProviderKind::Oidc => oidc::attributes(claims),
        ProviderKind::GithubActions
        | ProviderKind::Gitlab
        | ProviderKind::TerraformCloud
        | ProviderKind::AwsLambdaOidc => presets::attributes(naming.kind, claims),
        // SECURITY: such a provider reads certificates alone; no token is proof for it.
        ProviderKind::SpiffeJwt | ProviderKind::SpiffeX509 => {
            Err(RejectedToken::Malformed("not a certificate"))
        }
    }
}

/// Why no SPIFFE ID can be made of attributes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unnameable {
    /// The template does not fit.
    #[error(transparent)]
    Template(#[from] NotDerivable),
    /// The attribute that holds the subject is not there, or a list.
    #[error("there is no `{0}`")]
    NoSubject(&'static str),
    /// The subject is empty.
    #[error("`sub`: {0}")]
    Subject(RejectedToken),
}

impl From<Unnameable> for DenyReason {
    fn from(unnameable: Unnameable) -> Self {
        match unnameable {
            Unnameable::Template(_) => Self::WorkloadUnnameable,
            Unnameable::NoSubject(_) => Self::EvidenceRejected(RejectedToken::ClaimMissing("sub")),
            Unnameable::Subject(rejected) => Self::EvidenceRejected(rejected),
        }
    }
}

/// The SPIFFE ID of a workload with these attributes, which brings none of its own.
pub(crate) fn spiffe_id(
    naming: Naming<'_>,
    attributes: &Attributes,
) -> Result<SpiffeId, Unnameable> {
    if let Some(template) = naming.template() {
        return Ok(template.spiffe_id(naming.trust_domain, |name| attributes.value(name))?);
    }
    let subject = naming.kind.subject().unwrap_or("spiffe.id");
    let Some(AttributeValue::One(value)) = attributes.value(subject) else {
        return Err(Unnameable::NoSubject(subject));
    };
    oidc::spiffe_id(naming.trust_domain, naming.provider, value).map_err(Unnameable::Subject)
}
