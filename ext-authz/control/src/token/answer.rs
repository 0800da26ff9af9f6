//! The answers of the token endpoint: RFC 6749 §5.1 and §5.2, RFC 8693 §2.2. Beside the standards' members,
//! a refusal has our stable code, and each decision its id.

use std::borrow::Cow;

use axum::{
    Json,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    Given, NotGiven,
    form::{Grant, JWT},
};

/// The same headers as on a refused call.
const CODE: HeaderName = HeaderName::from_static("x-attache-code");
const DECISION: HeaderName = HeaderName::from_static("x-attache-decision");

/// Why there is no token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: Cow<'static, str>,
    code: Option<&'static str>,
    decision_id: Option<String>,
    /// The scheme by which a client tried to authenticate.
    challenge: Option<&'static str>,
}

impl Refusal {
    fn new(
        status: StatusCode,
        error: &'static str,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            error,
            description: description.into(),
            code: None,
            decision_id: None,
            challenge: None,
        }
    }

    /// The request is not one.
    pub(super) fn request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    pub(super) fn too_large() -> Self {
        let description = format!("a form has at most {} bytes", super::MAX_FORM_BYTES);
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request",
            description,
        )
    }

    pub(super) fn grant_type() -> Self {
        let description = "grant_type must be urn:ietf:params:oauth:grant-type:token-exchange or \
                           urn:ietf:params:oauth:grant-type:jwt-bearer";
        Self::new(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            description,
        )
    }

    pub(super) fn scope() -> Self {
        let description = "tokens have no scope here; policy says what they are for";
        Self::new(StatusCode::BAD_REQUEST, "invalid_scope", description)
    }

    /// The target cannot be had (RFC 8693 §2.2.2).
    pub(super) fn target(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_target", description)
    }

    /// A client authenticates, and there are none (RFC 6749 §5.2).
    pub(super) fn client(authorization: &HeaderValue) -> Self {
        let basic = authorization
            .as_bytes()
            .get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"));
        let challenge = if basic {
            "Basic realm=\"attache\""
        } else {
            "Bearer realm=\"attache\""
        };
        Self {
            challenge: Some(challenge),
            ..Self::client_in_form()
        }
    }

    pub(super) fn client_in_form() -> Self {
        let description = "clients do not authenticate here; the evidence says who asks";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", description)
    }

    pub(super) fn too_many() -> Self {
        let description = "too many requests from this address";
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "temporarily_unavailable",
            description,
        )
    }

    pub(super) fn busy() -> Self {
        let description = "too many requests at once";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            description,
        )
    }

    /// A decision.
    pub(super) fn of(reason: NotGiven, grant: Grant, decision_id: String) -> Self {
        let (refusal, code) = match reason {
            NotGiven::Evidence(code, sentence) => {
                let error = match grant {
                    // RFC 8693 §2.2.2 and RFC 7523 §3.1 name it differently.
                    Grant::Exchange => "invalid_request",
                    Grant::Assertion => "invalid_grant",
                };
                (Self::new(StatusCode::BAD_REQUEST, error, sentence), code)
            }
            NotGiven::Target(code, sentence) => (Self::target(sentence), code),
            NotGiven::Unavailable(code, sentence) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                (Self::new(status, "temporarily_unavailable", sentence), code)
            }
        };
        Self {
            code: Some(code),
            decision_id: Some(decision_id),
            ..refusal
        }
    }
}

/// The body of a refusal.
#[derive(Serialize)]
struct Refused {
    error: &'static str,
    error_description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
}

/// The body of an answer with a token.
#[derive(Serialize)]
struct Issued<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    token_type: &'static str,
    expires_in: u64,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut headers = unstored();
        let come_again = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .contains(&self.status);
        if come_again {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(code) = self.code {
            headers.insert(CODE, HeaderValue::from_static(code));
        }
        note_decision(&mut headers, self.decision_id.as_deref());
        let body = Refused {
            error: self.error,
            error_description: described(&self.description),
            code: self.code,
            decision: self.decision_id,
        };
        (self.status, headers, Json(body)).into_response()
    }
}

/// The token.
pub(super) fn token(given: &Given, grant: Grant, decision_id: &str) -> Response {
    let mut headers = unstored();
    note_decision(&mut headers, Some(decision_id));
    let body = Issued {
        access_token: given.token.expose(),
        issued_token_type: (grant == Grant::Exchange).then_some(JWT),
        token_type: "Bearer",
        expires_in: given.expires_in.as_secs(),
    };
    (StatusCode::OK, headers, Json(body)).into_response()
}

/// RFC 6749 §5.1.
fn unstored() -> HeaderMap {
    HeaderMap::from_iter([
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (PRAGMA, HeaderValue::from_static("no-cache")),
    ])
}

fn note_decision(headers: &mut HeaderMap, decision_id: Option<&str>) {
    let id = decision_id.and_then(|id| HeaderValue::from_str(id).ok());
    if let Some(id) = id {
        headers.insert(DECISION, id);
    }
}

/// In the characters that RFC 6749 §5.2 lets a description have.
fn described(text: &str) -> String {
    let allowed = |letter: &char| matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\');
    text.chars().filter(allowed).collect()
}
