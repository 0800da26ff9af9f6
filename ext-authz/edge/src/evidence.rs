//! Where the evidence of a call is found. Nothing is believed here; `trust` verifies it.

use std::{
    io::{self, Read as _},
    path::Path,
};

use attache_core::{
    attestation::{Agreement, Attestation, Proven},
    attributes::{Attributes, unproven},
    decision::{DenyReason, Fault},
    evidence::{Evidence, EvidenceRef},
    header::HeaderName,
    jwt::{MAX_TOKEN_BYTES, RejectedToken},
    secret::Secret,
    spiffe_id::SpiffeId,
    time::Timestamp,
};
use attache_trust::{Trust, regular_file};
use tracing::warn;

use crate::{
    peer::{self, Shown},
    question::Question,
    refusal::Refusal,
    settings::{EvidenceSource, RequestEvidence},
    xfcc,
};

/// What a call shows of its caller.
#[derive(Default)]
pub(crate) struct Offered<'q> {
    /// A token that is all of it, where it stands in the question.
    token: Option<&'q str>,
    /// All pieces, if that is anything else.
    pieces: Option<Evidence>,
    /// For each piece, the name that it must turn out to prove, if a proxy says one.
    named: Vec<Option<SpiffeId>>,
    /// The name that all of it must prove, though no certificate comes with it.
    said: Option<SpiffeId>,
    /// The proxy whose word the evidence is, or the name.
    proxy: Option<Shown>,
    /// What is said of the caller beside.
    pub(crate) unproven: Attributes,
}

impl EvidenceSource {
    /// What this call shows.
    pub(crate) fn offered<'q>(
        &self,
        question: &'q Question<'_>,
        now: Timestamp,
    ) -> Result<Offered<'q>, Refusal> {
        match self {
            Self::Request(rule) => rule.offered(question).map_err(Refusal::Denied),
            // SECURITY: read for each call, so that a rotated token is used at once and a removed one never.
            Self::TokenFile(path) => match from_file(path) {
                Ok(evidence) => Ok(Offered::only(evidence)),
                Err(error) => {
                    warn!(path = %path.display(), %error, "the pod's own token cannot be read");
                    Err(Refusal::Unavailable(Fault::EvidenceUnreadable))
                }
            },
            Self::WorkloadApi(own) => own
                .evidence(now)
                .map(Offered::only)
                .ok_or(Refusal::Unavailable(Fault::EvidenceUnreadable)),
        }
    }

    /// The headers that carry evidence on this listener.
    pub fn headers(&self) -> impl Iterator<Item = &str> + Clone {
        let (token, forwarded) = match self {
            Self::Request(rule) => (
                rule.header.as_ref().map(HeaderName::as_str),
                rule.peer.as_ref().map(|_| xfcc::HEADER),
            ),
            Self::TokenFile(_) | Self::WorkloadApi(_) => (None, None),
        };
        token.into_iter().chain(forwarded)
    }
}

impl RequestEvidence {
    fn offered<'q>(&self, question: &'q Question<'_>) -> Result<Offered<'q>, DenyReason> {
        if let Some(given) = question.given {
            return self
                .accepts(given)
                .then(|| Offered::only(given.clone()))
                .ok_or(DenyReason::EvidenceMissing);
        }
        let mut offered = Offered::default();
        let mut pieces = Vec::new();
        let token = self
            .header
            .as_ref()
            .map(|name| from_header(name, question))
            .transpose()?
            .flatten();
        if token.is_some() {
            offered.named.push(None);
        }
        if let Some(rule) = &self.peer {
            let spoken = peer::read(rule, question.peer, question.lines(xfcc::HEADER))?;
            // A name counts where nothing is proven.
            if spoken.caller.is_some() || (token.is_none() && spoken.named.is_some()) {
                offered.proxy = spoken.proxy;
            }
            if let Some(shown) = spoken.caller {
                pieces.push(Evidence::Certificate(shown.chain));
                offered.named.push(Some(shown.named));
            }
            if self.agreement == Agreement::OneWorkload {
                offered.said = spoken.said;
            }
            if let Some(named) = spoken.named {
                offered.unproven.set(unproven::PRINCIPAL, named.as_str());
            }
        }
        if pieces.is_empty() {
            offered.token = token;
        } else {
            let token = token.map(|token| EvidenceRef::Token(token).to_evidence());
            pieces.splice(..0, token);
            offered.pieces = Evidence::together(pieces, self.agreement);
        }
        // Where something is proven, nobody asks for more.
        if offered.evidence().is_none()
            && let Some(address) = question.address
        {
            let address = address.to_canonical().to_string();
            offered.unproven.set(unproven::SOURCE_ADDRESS, &address);
        }
        Ok(offered)
    }

    /// Whether evidence of that kind counts on this listener.
    pub(crate) fn accepts(&self, evidence: &Evidence) -> bool {
        match evidence {
            Evidence::Token(_) => self.header.is_some(),
            Evidence::Certificate(_) => self.peer.is_some(),
            Evidence::Several(several) => several.pieces().iter().all(|piece| self.accepts(piece)),
        }
    }
}

impl Offered<'_> {
    fn only(evidence: Evidence) -> Self {
        Self {
            pieces: Some(evidence),
            ..Self::default()
        }
    }

    /// All of it; `None` if there is none.
    pub(crate) fn evidence(&self) -> Option<EvidenceRef<'_>> {
        let pieces = self.pieces.as_ref().map(EvidenceRef::from);
        self.token.map(EvidenceRef::Token).or(pieces)
    }

    /// Who calls, proven; `None` if the call shows no evidence.
    ///
    /// SECURITY: a certificate proves the name that its proxy said, or nothing; and what a proxy forwards
    /// counts only after the proxy is proven itself.
    pub(crate) async fn attested(
        &self,
        trust: &Trust,
        now: Timestamp,
    ) -> Result<Option<Attestation>, Refusal> {
        if let Some(proxy) = &self.proxy {
            let certificate = Evidence::Certificate(proxy.chain.clone());
            let attestation = trust.attest(&certificate, now).await?;
            if *attestation.spiffe_id() != proxy.named {
                return Err(DenyReason::PeerMismatch.into());
            }
        }
        let Some(evidence) = self.evidence() else {
            return Ok(None);
        };
        let attestation = trust.attest(evidence, now).await?;
        self.check_names(&attestation)?;
        Ok(Some(attestation))
    }

    /// SECURITY: whoever is named beside a token did not steal it.
    fn check_names(&self, attestation: &Attestation) -> Result<(), DenyReason> {
        let differs = |named: &Option<SpiffeId>, proof: &Proven| {
            named
                .as_ref()
                .is_some_and(|named| *named != proof.spiffe_id)
        };
        let mut proofs = attestation.proofs().zip(&self.named);
        if proofs.any(|(proof, named)| differs(named, proof)) {
            return Err(DenyReason::PeerMismatch);
        }
        let mut proofs = attestation.proofs();
        if proofs.any(|proof| differs(&self.said, proof)) {
            return Err(DenyReason::EvidenceConflict);
        }
        Ok(())
    }
}

fn from_header<'q>(
    name: &HeaderName,
    question: &'q Question<'_>,
) -> Result<Option<&'q str>, DenyReason> {
    let mut values = question.values(name);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(DenyReason::EvidenceAmbiguous);
    }
    let text = str::from_utf8(value)
        .map_err(|_not_utf8| DenyReason::EvidenceRejected(RejectedToken::Malformed("not ASCII")))?;
    token(text).map(Some).ok_or(DenyReason::EvidenceMissing)
}

/// The token itself, without `Bearer ` (RFC 6750 §2.1) in front.
fn token(value: &str) -> Option<&str> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        rest.trim_ascii_start()
    } else {
        value
    };
    Some(token).filter(|token| !token.is_empty())
}

fn from_file(path: &Path) -> io::Result<Evidence> {
    let mut text = String::new();
    // One byte over the limit, so that a token that is too large is refused as such and not as truncated.
    let limit = u64::try_from(MAX_TOKEN_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    // SECURITY: a pipe in its place would hold up the call.
    let file = regular_file::open(path)?;
    file.take(limit).read_to_string(&mut text)?;
    let token = token(&text).ok_or_else(|| io::Error::other("the file is empty"))?;
    Ok(Evidence::Token(Secret::new(token.to_owned())))
}

#[cfg(test)]
mod tests;
