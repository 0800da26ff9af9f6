//! Answers of the filter's own: a stable code in `x-attache-code`, a sentence as JSON, and on the way in the
//! challenge of RFC 6750 §3.

use attache_core::{
    decision::{DenyReason, Fault},
    jwt::RejectedToken,
};

use attache_proto::token::v1::{AssertionResponse, FetchResponse};

use crate::host::{Answer, Failure, Host};

/// Why a request does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: u32,
    code: String,
    sentence: String,
    /// What stands in `www-authenticate`; nothing on the way out.
    challenge: Option<Challenge>,
    /// The id of the edge's audit event, if the edge refused.
    decision_id: Option<String>,
}

/// RFC 6750 §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Challenge {
    /// The request shows no token: no error is told.
    Bare,
    /// `invalid_request`, `invalid_token` or `insufficient_scope`.
    Error(&'static str),
}

impl Refusal {
    /// The way in: the request carries no token.
    pub(crate) fn missing() -> Self {
        Self::inbound(401, &DenyReason::EvidenceMissing, Challenge::Bare)
    }

    /// The way in: the request itself is not well-formed.
    pub(crate) fn malformed(reason: &DenyReason) -> Self {
        Self::inbound(400, reason, Challenge::Error("invalid_request"))
    }

    /// The way in: the token is not accepted.
    pub(crate) fn token(rejected: RejectedToken) -> Self {
        let reason = DenyReason::EvidenceRejected(rejected);
        Self::untrusted(&reason)
    }

    /// The way in: what the token claims is not proven, for another reason than the token's.
    pub(crate) fn untrusted(reason: &DenyReason) -> Self {
        Self::inbound(401, reason, Challenge::Error("invalid_token"))
    }

    /// The way in: the caller is known and may not do this.
    pub(crate) fn forbidden(reason: &DenyReason) -> Self {
        Self::inbound(403, reason, Challenge::Error("insufficient_scope"))
    }

    /// Something is broken.
    pub(crate) fn fault(fault: Fault) -> Self {
        Self::unavailable(fault.code(), fault.sentence())
    }

    /// Something is broken that only the filter knows.
    pub(crate) fn unavailable(code: &str, sentence: &str) -> Self {
        Self::unsent(503, code, sentence)
    }

    /// The way out: the request is not one that can go on.
    pub(crate) fn unsent(status: u32, code: &str, sentence: &str) -> Self {
        Self {
            status,
            code: code.to_owned(),
            sentence: sentence.to_owned(),
            challenge: None,
            decision_id: None,
        }
    }

    /// The way in: the edge's word on a token, with its code and sentence.
    pub(crate) fn by_edge(status: u32, code: &str, sentence: &str) -> Self {
        Self {
            challenge: (status == 401).then_some(Challenge::Error("invalid_token")),
            status,
            ..Self::unavailable(code, sentence)
        }
    }

    fn inbound(status: u32, reason: &DenyReason, challenge: Challenge) -> Self {
        Self {
            status,
            code: reason.code().to_owned(),
            sentence: reason.sentence().to_owned(),
            challenge: Some(challenge),
            decision_id: None,
        }
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The way out: the edge's answer, with the id of its event.
    pub(crate) fn of_edge(status: u32, response: &FetchResponse) -> Self {
        Self {
            decision_id: told(&response.decision_id),
            ..Self::unsent(status, &response.code, &response.message)
        }
    }

    /// The way out: the edge makes no assertion, with the id of its event.
    pub(crate) fn of_assertion(status: u32, response: &AssertionResponse) -> Self {
        Self {
            decision_id: told(&response.decision_id),
            ..Self::unsent(status, &response.code, &response.message)
        }
    }

    /// The same on the way in: the edge's word on who calls, or on what the caller may do (RFC 6750 §3.1).
    pub(crate) fn of_caller(mut self) -> Self {
        let of_evidence = ["token-", "evidence-", "certificate-"];
        let of_evidence = of_evidence.iter().any(|start| self.code.starts_with(start))
            || ["trust-domain-unknown", "issuer-unknown"].contains(&self.code.as_str());
        if self.status == 403 && of_evidence {
            self.status = 401;
        }
        self.challenge = match self.status {
            401 => Some(Challenge::Error("invalid_token")),
            403 => Some(Challenge::Error("insufficient_scope")),
            _ => None,
        };
        self
    }

    /// Answers the request that runs.
    pub(crate) fn answer<H: Host>(&self, host: &H) -> Result<(), Failure> {
        let body = serde_json::json!({ "code": self.code, "message": self.sentence }).to_string();
        let challenge = self.challenge.map(|challenge| match challenge {
            Challenge::Bare => "Bearer".to_owned(),
            Challenge::Error(error) => format!(
                "Bearer error=\"{error}\", error_description=\"{}: {}\"",
                self.code,
                self.sentence.replace(['"', '\\'], "'")
            ),
        });
        let mut headers: Vec<(&str, &[u8])> = vec![
            ("content-type", b"application/json"),
            ("x-attache-code", self.code.as_bytes()),
        ];
        headers.extend(
            challenge
                .as_deref()
                .map(|text| ("www-authenticate", text.as_bytes())),
        );
        let decision_id = self.decision_id.as_deref();
        headers.extend(decision_id.map(|id| ("x-attache-decision", id.as_bytes())));
        host.answer(Answer {
            status: self.status,
            headers: &headers,
            body: body.as_bytes(),
            details: &self.code,
        })
    }
}

/// The id of an event, if there is one.
fn told(decision_id: &str) -> Option<String> {
    (!decision_id.is_empty()).then(|| decision_id.to_owned())
}
