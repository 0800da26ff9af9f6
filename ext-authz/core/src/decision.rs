//! Why a caller was denied and what was broken: every reason has one stable code, used unchanged in
//! responses, metrics, audit events and documentation. A denial is a value, not an error.

use alloc::string::String;

use crate::{certificate::RejectedCertificate, jwt::RejectedToken, request::AmbiguousRequest};

/// Why a request was refused. The answer is 403.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// The request carries no evidence where the listener expects it.
    EvidenceMissing,
    /// The request carries more than one piece of evidence.
    EvidenceAmbiguous,
    /// The evidence is not accepted.
    EvidenceRejected(RejectedToken),
    /// The certificate is not accepted.
    CertificateRejected(RejectedCertificate),
    /// No configured trust provider vouches for this issuer.
    IssuerUnknown,
    /// No configured trust provider vouches for this SPIFFE trust domain.
    TrustDomainUnknown,
    /// The caller is proven, but not one that its trust provider is to vouch for.
    NotVouchedFor,
    /// What is proven of the caller makes no SPIFFE ID.
    WorkloadUnnameable,
    /// The pieces of evidence prove different callers.
    EvidenceConflict,
    /// The certificate that the proxy shows does not name the peer that the proxy speaks of.
    PeerMismatch,
    /// `x-forwarded-client-cert` cannot be read in one way.
    ForwardedMalformed,
    /// What `x-forwarded-client-cert` says was not written by a proxy that counts here.
    ForwardedNotVouched,
    /// The caller is proven, but an attribute is not the one that the policies for this target ask for.
    AttributeMismatch(Mismatch),
    /// The caller was proven by a trust provider that the policy does not accept.
    ProviderNotAccepted,
    /// No policy lets this caller make this call.
    NoPolicy,
    /// A policy with effect `deny` covers this call.
    DeniedByPolicy,
    /// A policy would allow this call, but one of its conditions does not hold.
    ConditionNotMet,
    /// A policy would allow this call, but whether one of its conditions holds cannot be told.
    ConditionUnavailable,
    /// Policies let the caller make some calls of the target; a token in its own hands would serve for all.
    PolicyTooNarrow,
    /// Host, path or method can be read in more than one way.
    RequestAmbiguous(AmbiguousRequest),
    /// A header imitates one of ours or one that is injected (`_` for `-`).
    HeaderAmbiguous,
    /// The query holds a parameter that is injected where only some applications see it: behind a `;`.
    ParameterAmbiguous,
    /// A header asks applications for another method or path than the one that is decided about.
    RequestOverridden,
    /// TRACE and CONNECT, and upgrades, go around the policy.
    MethodRefused,
    /// No route of the proxy vouches for where this request goes.
    DestinationNotVouched,
    /// The host that the client names is not the one its route leads to.
    DestinationMismatch,
    /// The target demands TLS and the route leads to it in plaintext.
    DestinationPlaintext,
    /// The OAuth client that a token request names is not the caller.
    ClientIdMismatch,
}

/// The attribute that a policy asked for and the one that was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The attribute's name, such as `k8s.namespace`.
    pub attribute: String,
    /// What the nearest policy's client workload asks for.
    pub expected: String,
    /// What was proven; `None` if the evidence says nothing about it.
    pub actual: Option<String>,
}

impl DenyReason {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::EvidenceMissing => "evidence-missing",
            Self::EvidenceAmbiguous => "evidence-ambiguous",
            Self::EvidenceRejected(rejected) => rejected.code(),
            Self::CertificateRejected(rejected) => rejected.code(),
            Self::IssuerUnknown => "issuer-unknown",
            Self::TrustDomainUnknown => "trust-domain-unknown",
            Self::NotVouchedFor => "workload-not-vouched-for",
            Self::WorkloadUnnameable => "workload-unnameable",
            Self::EvidenceConflict => "evidence-conflict",
            Self::PeerMismatch => "peer-certificate-mismatch",
            Self::ForwardedMalformed => "forwarded-certificate-malformed",
            Self::ForwardedNotVouched => "forwarded-certificate-not-vouched",
            Self::AttributeMismatch(_) => "attribute-mismatch",
            Self::ProviderNotAccepted => "trust-provider-not-accepted",
            Self::NoPolicy => "no-policy",
            Self::DeniedByPolicy => "denied-by-policy",
            Self::ConditionNotMet => "condition-not-met",
            Self::ConditionUnavailable => "condition-unavailable",
            Self::PolicyTooNarrow => "policy-too-narrow",
            Self::RequestAmbiguous(ambiguous) => ambiguous.code(),
            Self::HeaderAmbiguous => "header-ambiguous",
            Self::ParameterAmbiguous => "parameter-ambiguous",
            Self::RequestOverridden => "request-overridden",
            Self::MethodRefused => "method-refused",
            Self::DestinationNotVouched => "destination-not-vouched",
            Self::DestinationMismatch => "destination-mismatch",
            Self::DestinationPlaintext => "destination-plaintext",
            Self::ClientIdMismatch => "client-id-mismatch",
        }
    }

    /// A sentence for a person, which tells nothing of the policy's inside.
    pub const fn sentence(&self) -> &'static str {
        match self {
            Self::EvidenceMissing => "the request carries no evidence of who is calling",
            Self::EvidenceAmbiguous => "the request carries more than one piece of evidence",
            Self::EvidenceRejected(rejected) => rejected.sentence(),
            Self::CertificateRejected(rejected) => rejected.sentence(),
            Self::IssuerUnknown => "no trust provider is configured for the issuer of the evidence",
            Self::TrustDomainUnknown => {
                "no trust provider is configured for the trust domain of the evidence"
            }
            Self::NotVouchedFor => "the trust provider does not vouch for this caller",
            Self::WorkloadUnnameable => "what is proven of the caller makes no SPIFFE ID",
            Self::EvidenceConflict => "the evidence of the request proves different callers",
            Self::PeerMismatch => "the certificate does not name the peer that the proxy speaks of",
            Self::ForwardedMalformed => "x-forwarded-client-cert cannot be read",
            Self::ForwardedNotVouched => "no proxy that counts here wrote x-forwarded-client-cert",
            Self::AttributeMismatch(_) | Self::NoPolicy => {
                "no policy lets this workload make this call"
            }
            Self::ProviderNotAccepted => "the policy asks for evidence of another kind",
            Self::DeniedByPolicy => "a policy denies this call",
            Self::ConditionNotMet => "a condition of the policy does not hold for this call",
            Self::ConditionUnavailable => {
                "whether a condition of the policy holds for this call cannot be told"
            }
            Self::PolicyTooNarrow => {
                "policy lets this workload make some calls of the target, and a token would serve for all"
            }
            Self::RequestAmbiguous(ambiguous) => ambiguous.sentence(),
            Self::HeaderAmbiguous => "a header imitates a protected one with `_` for `-`",
            Self::ParameterAmbiguous => "the query imitates a protected parameter behind a `;`",
            Self::RequestOverridden => "a header asks for another method or path than the request",
            Self::MethodRefused => "TRACE, CONNECT and upgrades are not allowed here",
            Self::DestinationNotVouched => "no route of the proxy says where this request goes",
            Self::DestinationMismatch => "the host asked for is not the one this route leads to",
            Self::DestinationPlaintext => {
                "this target is reached in plaintext, and its policy demands TLS"
            }
            Self::ClientIdMismatch => "the client_id is not the caller's SPIFFE ID",
        }
    }
}

/// What was broken, so that no decision or no credential could be had. The answer is 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The keys of the evidence's issuer were never fetched, or are older than their age limit.
    KeysUnavailable,
    /// The pod's own evidence cannot be read.
    EvidenceUnreadable,
    /// Two policies of one rank grant different credentials.
    CredentialConflict,
    /// The credential provider or the issuer gave no credential.
    CredentialUnavailable,
    /// A secret that the credential is made of cannot be read.
    SecretUnavailable,
    /// A claim that the token must have, or another parameter, cannot be made of what is proven of the caller.
    ClaimUnavailable,
    /// The credential cannot stand where it is to go: in a header, or in a pair that a colon divides.
    CredentialNotEncodable,
    /// There is no connection to the credential provider: no name server knows it, nothing listens there, its
    /// certificate is refused, or its address must not be called.
    ProviderUnreachable,
    /// The credential provider did not answer in time.
    ProviderTimeout,
    /// The credential provider is broken or overloaded, by its own word (HTTP 5xx, 429).
    ProviderFailed,
    /// The credential provider does not accept what it was shown or asked for.
    ProviderRefused,
    /// What the credential provider answers is not what its protocol says: a redirect, another content type, too
    /// large, garbage.
    ProviderAnswerInvalid,
    /// What the credential provider gave is expired on arrival.
    ProviderCredentialExpired,
    /// The authorization server refused the client or what it asked for, and said why.
    OauthRefused(OauthError),
    /// The audit event cannot be recorded.
    AuditUnavailable,
    /// So many calls wait for their answers that no more are looked at.
    Overloaded,
}

/// Why an authorization server gave no token (RFC 6749 §5.2, RFC 8707 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OauthError {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    /// The client is not known, or its proof is not accepted.
    InvalidClient,
    /// The token that was shown is not accepted.
    InvalidGrant,
    /// The client may not ask in this way.
    UnauthorizedClient,
    /// The server does not give tokens in this way.
    UnsupportedGrantType,
    /// A scope is not known, malformed, or more than is allowed.
    InvalidScope,
    /// A resource or an audience is not known, or not for this client.
    InvalidTarget,
}

impl OauthError {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::InvalidRequest,
        Self::InvalidClient,
        Self::InvalidGrant,
        Self::UnauthorizedClient,
        Self::UnsupportedGrantType,
        Self::InvalidScope,
        Self::InvalidTarget,
    ];

    /// `error` of the answer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
        }
    }

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "oauth-invalid-request",
            Self::InvalidClient => "oauth-invalid-client",
            Self::InvalidGrant => "oauth-invalid-grant",
            Self::UnauthorizedClient => "oauth-unauthorized-client",
            Self::UnsupportedGrantType => "oauth-unsupported-grant-type",
            Self::InvalidScope => "oauth-invalid-scope",
            Self::InvalidTarget => "oauth-invalid-target",
        }
    }
}

impl Fault {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::KeysUnavailable => "keys-unavailable",
            Self::EvidenceUnreadable => "evidence-unreadable",
            Self::CredentialConflict => "credential-conflict",
            Self::CredentialUnavailable => "credential-unavailable",
            Self::SecretUnavailable => "secret-unavailable",
            Self::ClaimUnavailable => "claim-unavailable",
            Self::CredentialNotEncodable => "credential-not-encodable",
            Self::ProviderUnreachable => "provider-unreachable",
            Self::ProviderTimeout => "provider-timeout",
            Self::ProviderFailed => "provider-failed",
            Self::ProviderRefused => "provider-refused",
            Self::ProviderAnswerInvalid => "provider-answer-invalid",
            Self::ProviderCredentialExpired => "provider-credential-expired",
            Self::OauthRefused(error) => error.code(),
            Self::AuditUnavailable => "audit-unavailable",
            Self::Overloaded => "overloaded",
        }
    }

    /// A sentence for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::KeysUnavailable => "the keys that verify the evidence are not available",
            Self::EvidenceUnreadable => "the pod's own evidence cannot be read",
            Self::CredentialConflict => "two policies grant different credentials for this call",
            Self::CredentialUnavailable => "the credential could not be obtained",
            Self::SecretUnavailable => "a secret that the credential is made of cannot be read",
            Self::ClaimUnavailable => {
                "what the credential needs to say of this caller is not proven"
            }
            Self::CredentialNotEncodable => "the credential cannot stand where the target takes it",
            Self::ProviderUnreachable => "the credential provider cannot be reached",
            Self::ProviderTimeout => "the credential provider did not answer in time",
            Self::ProviderFailed => "the credential provider is broken or overloaded",
            Self::ProviderRefused => "the credential provider refused what it was asked for",
            Self::ProviderAnswerInvalid => "the credential provider's answer cannot be used",
            Self::ProviderCredentialExpired => {
                "the credential provider gave a credential that is already expired"
            }
            Self::OauthRefused(_) => "the authorization server refused to give a token",
            Self::AuditUnavailable => {
                "the access could not be recorded, so no credential was given"
            }
            Self::Overloaded => "too many calls wait for an answer; try again",
        }
    }
}
