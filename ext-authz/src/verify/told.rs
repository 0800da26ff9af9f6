//! What is told of a verdict. Every text in it may be a stranger's.

use std::fmt::{Display, Write as _};

use attache_core::{
    attestation::Attestation,
    attributes::Attributes,
    jwt::{Verified, VerifiedSvid},
    time::Timestamp,
};
use attache_policy::problem::printable;
use attache_trust::x509::VerifiedCertificate;
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Accepted,
    Rejected,
    /// Its keys could not be had.
    Unavailable,
}

/// The verdict on one piece of evidence.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    verdict: Verdict,
    /// The stable code; none if it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The rule that it breaks, or why it cannot be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it was judged.
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven: Option<Proof>,
    /// Keys that were not used, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// What was proven.
#[derive(Debug, Default, Serialize)]
pub(super) struct Proof {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// All of a token, if no provider gave them names.
    #[serde(skip_serializing_if = "Map::is_empty")]
    claims: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<Attributes>,
}

impl Proof {
    pub(super) fn id_token(token: &Verified) -> Self {
        Self {
            kind: "id-token",
            subject: token.subject().map(str::to_owned),
            expires_at: Some(token.expires_at()),
            claims: token.claims().clone(),
            ..Self::default()
        }
    }

    pub(super) fn jwt_svid(svid: &VerifiedSvid) -> Self {
        Self {
            kind: "jwt-svid",
            spiffe_id: Some(svid.spiffe_id().to_string()),
            expires_at: Some(svid.token().expires_at()),
            claims: svid.token().claims().clone(),
            ..Self::default()
        }
    }

    pub(super) fn x509_svid(svid: &VerifiedCertificate) -> Self {
        Self {
            kind: "x509-svid",
            spiffe_id: Some(svid.spiffe_id().to_string()),
            expires_at: Some(svid.expires_at()),
            ..Self::default()
        }
    }

    pub(super) fn attested(attestation: &Attestation) -> Self {
        Self {
            kind: attestation.kind().name(),
            provider: Some(attestation.provider().to_owned()),
            spiffe_id: Some(attestation.spiffe_id().to_string()),
            expires_at: Some(attestation.expires_at()),
            attributes: Some(attestation.attributes().clone()),
            ..Self::default()
        }
    }
}

impl Report {
    /// What was proven, or code and reason of the rejection.
    pub(super) fn new(at: Timestamp, outcome: Result<Proof, (&'static str, String)>) -> Self {
        let (verdict, proven, refused) = match outcome {
            Ok(proof) => (Verdict::Accepted, Some(proof), None),
            Err(refused) => (Verdict::Rejected, None, Some(refused)),
        };
        let (code, reason) = refused.unzip();
        Self {
            verdict,
            code,
            reason,
            at,
            proven,
            notes: Vec::new(),
        }
    }

    /// It cannot be judged.
    pub(super) fn unavailable(at: Timestamp, code: &'static str, reason: String) -> Self {
        Self {
            verdict: Verdict::Unavailable,
            ..Self::new(at, Err((code, reason)))
        }
    }

    pub(super) fn noting(mut self, ignored: &[impl Display]) -> Self {
        let notes = ignored.iter().map(|one| format!("not used: {one}"));
        self.notes.extend(notes);
        self
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.verdict == Verdict::Accepted
    }

    /// For people; nothing in it moves a terminal.
    pub(super) fn text(&self) -> String {
        let mut told = match self.verdict {
            Verdict::Accepted => "accepted\n".to_owned(),
            Verdict::Rejected => format!("rejected: {}\n", self.code.unwrap_or_default()),
            Verdict::Unavailable => format!("not judged: {}\n", self.code.unwrap_or_default()),
        };
        let mut line = |name: &str, value: &dyn Display| {
            // Writing to a String does not fail.
            let _ = writeln!(told, "  {name:<12} {}", printable(&value.to_string()));
        };
        if let Some(reason) = &self.reason {
            line("reason", reason);
        }
        line("judged at", &self.at);
        if let Some(proof) = &self.proven {
            line("proven as", &proof.kind);
            let texts = [
                ("provider", &proof.provider),
                ("subject", &proof.subject),
                ("SPIFFE ID", &proof.spiffe_id),
            ];
            for (name, text) in texts {
                text.iter().for_each(|text| line(name, text));
            }
            proof.expires_at.iter().for_each(|end| line("expires", end));
            for (name, value) in &proof.claims {
                line("claim", &format_args!("{name}: {value}"));
            }
            for (name, value) in proof.attributes.iter().flat_map(Attributes::iter) {
                let value = serde_json::to_string(value).unwrap_or_default();
                line("attribute", &format_args!("{name}: {value}"));
            }
        }
        self.notes.iter().for_each(|note| line("note", note));
        told
    }
}
