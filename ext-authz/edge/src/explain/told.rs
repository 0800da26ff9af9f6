//! What an explanation tells. The names of its fields are for programs, and stay.

use std::net::IpAddr;

use attache_core::{
    attestation::{Attestation, Proven},
    attributes::Attributes,
    event::Mode,
    request::{Request, Transport},
    time::Timestamp,
};
use attache_policy::explain::{Explanation, ServedCall, Verdict};
use serde::{Deserialize, Serialize};

use super::Call;
use crate::refusal::Refusal;

/// Why a call is answered as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// How the call ends where decisions are carried out.
    pub verdict: Verdict,
    /// What settled it.
    pub stage: Stage,
    /// `observe`: the edge changes nothing, and the caller sees the call pass whatever the verdict.
    pub mode: Mode,
    /// The listener that would be asked.
    pub listener: String,
    /// The revision of the policy set.
    pub policy_revision: String,
    /// The call as it was understood.
    pub call: CallTold,
    /// The token that was asked for; left out if a call was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenTold>,
    /// Who calls; `null` if that is not known.
    pub caller: Option<CallerTold>,
    /// What policy says; `null` if it was not asked.
    pub policy: Option<Explanation>,
}

/// What settles a call, in the order in which it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The request line: what can be read in two ways is refused.
    Request,
    /// A header that imitates a protected one, or overrides the request line.
    Headers,
    /// No policy matches, and the edge lets that pass.
    Unmatched,
    /// The evidence.
    Evidence,
    /// Policy.
    Policy,
}

/// A token that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenTold {
    /// Whom it is to be for; `null` if that is not said.
    pub audience: Option<String>,
    /// Where it is to be used; `null` if that is not said.
    pub resource: Option<String>,
    /// The call, of all that the token would serve for, that the answer rests on, and that `policy` is about; `null`
    /// if no policy gives such a token.
    pub rests_on: Option<ServedCall>,
}

/// A call as it was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallTold {
    /// As sent.
    pub method: String,
    /// In its one spelling; as sent, if it has none.
    pub host: String,
    /// The port that the route leads to; `null` if the call was not understood.
    pub port: Option<u16>,
    /// `tls` or `plaintext`; `null` if the call was not understood.
    pub transport: Option<String>,
    /// Without its query.
    pub path: String,
    /// The caller's address, if it is known.
    pub source: Option<IpAddr>,
    /// When it is made.
    pub at: Timestamp,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerTold {
    /// What speaks for it.
    pub proof: Proof,
    /// The trust provider.
    pub trust_provider: String,
    /// `kubernetes-service-account` or `oidc`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its SPIFFE ID.
    pub spiffe_id: String,
    /// What is proven of it.
    pub attributes: Attributes,
}

/// What speaks for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Evidence that was verified.
    Verified,
    /// Evidence of which nothing was verified.
    Unverified,
    /// Nothing: attributes were given.
    Supposed,
    /// The audit log: it was proven then.
    Recorded,
}

impl Explained {
    pub(super) fn refused(mut self, stage: Stage, refusal: &Refusal) -> Self {
        self.stage = stage;
        self.verdict = match refusal {
            Refusal::Denied(reason) => Verdict::refused(reason),
            Refusal::Unavailable(fault) => Verdict::fault(*fault),
        };
        self
    }
}

impl CallTold {
    pub(super) fn asked(call: &Call, source: Option<IpAddr>, at: Timestamp) -> Self {
        let path = attache_core::request::without_query(&call.target);
        Self {
            method: call.method.clone(),
            host: call.authority.clone(),
            port: None,
            transport: None,
            path: path.to_owned(),
            source,
            at,
        }
    }

    pub(super) fn understood(&mut self, request: &Request<'_>) {
        request.host.as_str().clone_into(&mut self.host);
        self.port = Some(request.port);
        let transport = match request.transport {
            Transport::Tls => "tls",
            Transport::Plaintext => "plaintext",
        };
        self.transport = Some(transport.to_owned());
    }
}

impl CallerTold {
    pub(super) fn attested(attestation: &Attestation) -> Self {
        Self {
            proof: Proof::Verified,
            trust_provider: attestation.provider().to_owned(),
            kind: attestation.kind().name().to_owned(),
            spiffe_id: attestation.spiffe_id().as_str().to_owned(),
            attributes: attestation.attributes().clone(),
        }
    }

    pub(super) fn of(proven: &Proven, proof: Proof) -> Self {
        Self {
            proof,
            trust_provider: proven.provider.to_string(),
            kind: proven.kind.name().to_owned(),
            spiffe_id: proven.spiffe_id.as_str().to_owned(),
            attributes: proven.attributes.clone(),
        }
    }
}
