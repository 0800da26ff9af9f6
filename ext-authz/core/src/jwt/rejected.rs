//! Why a token is not accepted: one stable code for each reason.

use thiserror::Error;

use super::MAX_TOKEN_BYTES;

/// Why a token is not accepted. Never holds any part of the token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RejectedToken {
    /// Not three base64url parts with JSON objects of unique members.
    #[error("not a well-formed JWT: {0}")]
    Malformed(&'static str),
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("longer than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
    /// `none`, HMAC, or an algorithm outside the provider's list.
    #[error("its algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// `crit`, `b64`, `jku`, `x5u`, `jwk`, `x5c`, or another `typ` than `JWT` and `JOSE`.
    #[error("its header `{0}` is not allowed")]
    HeaderNotAllowed(&'static str),
    /// No key of the issuer has its `kid`; or it has none, and not exactly one key fits its `alg`.
    #[error("its key is not one of the issuer's")]
    UnknownKey,
    /// A JWT-SVID has no `kid`; all its keys have one.
    #[error("it has no `kid`")]
    KeyIdMissing,
    /// The key of that `kid` is of another type, curve, use or algorithm.
    #[error("its key is not for its algorithm")]
    KeyMismatch,
    /// The signature does not verify.
    #[error("its signature does not verify")]
    SignatureInvalid,
    /// `exp` has passed.
    #[error("it has expired")]
    Expired,
    /// `nbf` or `iat` lies ahead.
    #[error("it is not valid yet")]
    NotYetValid,
    /// A claim is missing.
    #[error("it has no `{0}`")]
    ClaimMissing(&'static str),
    /// A claim has another type or form than its standard says.
    #[error("its `{0}` is malformed")]
    ClaimMalformed(&'static str),
    /// `iss` is not the provider's issuer.
    #[error("its issuer is not the provider's")]
    IssuerMismatch,
    /// The SPIFFE ID that is its `sub` is of another trust domain than the keys.
    #[error("its subject is of another trust domain than the provider's")]
    TrustDomainMismatch,
    /// `aud` does not hold our audience.
    #[error("its audience is not ours")]
    AudienceMismatch,
    /// It lives longer than the provider accepts.
    #[error("it lives longer than is accepted")]
    LivesTooLong,
}

impl RejectedToken {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "token-malformed",
            Self::TooLarge => "token-too-large",
            Self::AlgorithmNotAllowed => "token-algorithm-not-allowed",
            Self::HeaderNotAllowed(_) => "token-header-not-allowed",
            Self::UnknownKey => "token-key-unknown",
            Self::KeyIdMissing => "token-key-id-missing",
            Self::KeyMismatch => "token-key-mismatch",
            Self::SignatureInvalid => "token-signature-invalid",
            Self::Expired => "token-expired",
            Self::NotYetValid => "token-not-yet-valid",
            Self::ClaimMissing(_) => "token-claim-missing",
            Self::ClaimMalformed(_) => "token-claim-malformed",
            Self::IssuerMismatch => "token-issuer-mismatch",
            Self::TrustDomainMismatch => "token-trust-domain-mismatch",
            Self::AudienceMismatch => "token-audience-mismatch",
            Self::LivesTooLong => "token-lives-too-long",
        }
    }

    /// A sentence for a person.
    pub const fn sentence(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "the evidence is not a well-formed JWT",
            Self::TooLarge => "the evidence is too large",
            Self::AlgorithmNotAllowed => {
                "the evidence is signed with an algorithm that is not allowed"
            }
            Self::HeaderNotAllowed(_) => "the evidence has a header that is not allowed",
            Self::UnknownKey => {
                "the evidence is signed with a key that its issuer does not publish"
            }
            Self::KeyIdMissing => "the evidence does not name the key that it is signed with",
            Self::KeyMismatch => "the evidence is signed with a key that is not for its algorithm",
            Self::SignatureInvalid => "the signature of the evidence does not verify",
            Self::Expired => "the evidence has expired",
            Self::NotYetValid => "the evidence is not valid yet",
            Self::ClaimMissing(_) => "the evidence lacks a claim that is required",
            Self::ClaimMalformed(_) => "a claim of the evidence is malformed",
            Self::IssuerMismatch => "the evidence is of another issuer",
            Self::TrustDomainMismatch => "the evidence is of another trust domain",
            Self::AudienceMismatch => "the evidence is meant for another audience",
            Self::LivesTooLong => "the evidence lives longer than is accepted",
        }
    }
}
