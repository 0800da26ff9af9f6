//! What an SVID proves: its SPIFFE ID as it stands, and the claims of a JWT-SVID under `claims.*`.

use attache_core::{
    attributes::{Attributes, spiffe},
    jwt::RejectedToken,
    spiffe_id::{SpiffeId, TrustDomain},
};
use serde_json::{Map, Value};

use crate::oidc;

/// The workload that the claims of a JWT-SVID name (JWT-SVID §3.1), if it is of `trust_domain`.
pub(crate) fn claimed(
    claims: &Map<String, Value>,
    trust_domain: &TrustDomain,
) -> Result<(SpiffeId, Attributes), RejectedToken> {
    let subject = claims.get("sub").and_then(Value::as_str);
    let subject = subject.ok_or(RejectedToken::ClaimMissing("sub"))?;
    let malformed = RejectedToken::ClaimMalformed("sub");
    let spiffe_id = SpiffeId::parse(subject)
        .ok()
        .filter(|id| id.trust_domain() == trust_domain.as_str() && !id.path().is_empty())
        .ok_or(malformed)?;
    let mut attributes = attributes(&spiffe_id);
    oidc::flatten(&mut attributes, "claims", claims, oidc::MAX_DEPTH)?;
    Ok((spiffe_id, attributes))
}

/// What a SPIFFE ID says of itself.
pub(crate) fn attributes(id: &SpiffeId) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.set(spiffe::TRUST_DOMAIN, id.trust_domain());
    attributes.set(spiffe::PATH, id.path());
    attributes
}
