//! `CredentialProvider`: with which credential. It holds no secret: what it says of one is where it is.
//!
//! One file for each family of providers.

pub(super) mod claims;
mod kubernetes;
mod oauth2;
mod parameter;
mod stored;
mod token;
mod vault;

use std::time::Duration;

use attache_core::{
    attestation::Attestation,
    claims::UnavailableClaim,
    token::{TokenForm, TokenPlan},
};

pub(crate) use kubernetes::TTL_SECONDS as KUBERNETES_TTL_SECONDS;
pub use kubernetes::{ApiServer, KubernetesToken};
pub use oauth2::{
    AssertionProfile, ClientAuthentication, ClientCredentials, OauthRequest, OwnToken, Subject,
    TokenEndpoint, TokenExchange,
};
pub use parameter::Parameter;
pub use stored::{ApiKey, HeaderValue, StaticHeader, StaticHeaders, Username, UsernamePassword};
pub(super) use token::audience;
pub(crate) use token::{ASSERTION_TTL_SECONDS, TTL_SECONDS};
pub use vault::{Engine, SecretFields, Vault, VaultLogin, VaultSecret};

use crate::{
    document::{HostPattern, SecretReference, Specification, host},
    problem::Place,
};

/// How a credential is obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialProvider {
    /// The document's qualified name; `<policy>#credentialProvider` if a CredentialPolicy holds it.
    pub name: String,
    /// Where its credentials may go, if they are not Attaché's own tokens, which say by themselves whom they
    /// are for. The host of every target that it serves is one of these: that is compiled, not hoped.
    pub hosts: Option<Vec<HostPattern>>,
    /// What it gives.
    pub kind: CredentialKind,
    /// Where it was written; for messages.
    pub place: Place,
}

/// The types of providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderType {
    /// `oidc-token` or `jwt-svid`: a token of our own issuer.
    Token(TokenForm),
    /// `api-key`: one stored secret.
    ApiKey,
    /// `username-password`: a stored pair.
    UsernamePassword,
    /// `static-headers`: headers of the target's own, with stored values.
    StaticHeaders,
    /// `oauth2-client-credentials` (RFC 6749 §4.4).
    ClientCredentials,
    /// `oauth2-token-exchange` (RFC 8693).
    TokenExchange,
    /// `vault`: a secret, or a token, of a Vault.
    Vault,
    /// `kubernetes-token`: a ServiceAccount's token by TokenRequest.
    KubernetesToken,
}

/// What a provider gives, and how. `T` is [`Parameter`] as a document says it, and `String` as it is for one
/// caller ([`CredentialKind::expand`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind<T = Parameter> {
    /// A token of our own issuer.
    Token(TokenPlan),
    /// One stored secret.
    ApiKey(ApiKey),
    /// A stored pair.
    UsernamePassword(UsernamePassword),
    /// Headers with stored values.
    StaticHeaders(StaticHeaders),
    /// An access token of an authorization server, for a client of it.
    ClientCredentials(ClientCredentials<T>),
    /// An access token of an authorization server, for a token of ours.
    TokenExchange(TokenExchange<T>),
    /// A secret, or a token, of a Vault.
    Vault(Vault<T>),
    /// A ServiceAccount's token.
    KubernetesToken(KubernetesToken<T>),
}

/// What a credential consists of, which says where it can be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistence {
    /// One text.
    Token,
    /// A user name and a password.
    Pair,
    /// Values for headers that the provider names.
    Headers,
    /// A token for the body of one token request.
    Assertion,
}

impl ProviderType {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Token(TokenForm::OidcToken),
        Self::Token(TokenForm::JwtSvid),
        Self::Token(TokenForm::ClientAssertion),
        Self::ApiKey,
        Self::UsernamePassword,
        Self::StaticHeaders,
        Self::ClientCredentials,
        Self::TokenExchange,
        Self::Vault,
        Self::KubernetesToken,
    ];

    /// `type` of the document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token(form) => form.name(),
            Self::ApiKey => "api-key",
            Self::UsernamePassword => "username-password",
            Self::StaticHeaders => "static-headers",
            Self::ClientCredentials => "oauth2-client-credentials",
            Self::TokenExchange => "oauth2-token-exchange",
            Self::Vault => "vault",
            Self::KubernetesToken => "kubernetes-token",
        }
    }
}

impl<T> CredentialKind<T> {
    /// Its type.
    pub const fn provider_type(&self) -> ProviderType {
        match self {
            Self::Token(plan) => ProviderType::Token(plan.form),
            Self::ApiKey(_) => ProviderType::ApiKey,
            Self::UsernamePassword(_) => ProviderType::UsernamePassword,
            Self::StaticHeaders(_) => ProviderType::StaticHeaders,
            Self::ClientCredentials(_) => ProviderType::ClientCredentials,
            Self::TokenExchange(_) => ProviderType::TokenExchange,
            Self::Vault(_) => ProviderType::Vault,
            Self::KubernetesToken(_) => ProviderType::KubernetesToken,
        }
    }

    /// The plan of a token of our own.
    pub const fn token_plan(&self) -> Option<&TokenPlan> {
        match self {
            Self::Token(plan) => Some(plan),
            Self::ApiKey(_)
            | Self::UsernamePassword(_)
            | Self::StaticHeaders(_)
            | Self::ClientCredentials(_)
            | Self::TokenExchange(_)
            | Self::Vault(_)
            | Self::KubernetesToken(_) => None,
        }
    }

    /// Whom it is for, as an event tells it; `None` if nothing in it says so.
    pub fn audience(&self) -> Option<String> {
        self.token_plan().map(TokenPlan::audience)
    }

    /// The lifetime that is asked for, if one is.
    pub const fn ttl(&self) -> Option<Duration> {
        match self {
            Self::Token(plan) => Some(plan.ttl),
            Self::KubernetesToken(token) => Some(token.ttl),
            Self::ApiKey(_)
            | Self::UsernamePassword(_)
            | Self::StaticHeaders(_)
            | Self::ClientCredentials(_)
            | Self::TokenExchange(_)
            | Self::Vault(_) => None,
        }
    }

    /// What its credentials consist of.
    pub fn consistence(&self) -> Consistence {
        match self {
            Self::Token(plan) if plan.form == TokenForm::ClientAssertion => Consistence::Assertion,
            Self::Token(_)
            | Self::ApiKey(_)
            | Self::ClientCredentials(_)
            | Self::TokenExchange(_)
            | Self::KubernetesToken(_) => Consistence::Token,
            Self::UsernamePassword(_) => Consistence::Pair,
            Self::StaticHeaders(_) => Consistence::Headers,
            Self::Vault(vault) => vault.consistence(),
        }
    }

    /// The secrets that it needs.
    pub fn secrets(&self) -> Vec<&SecretReference> {
        match self {
            Self::Token(_) => Vec::new(),
            Self::ApiKey(key) => vec![&key.key],
            Self::UsernamePassword(pair) => pair.secrets(),
            Self::StaticHeaders(headers) => headers.secrets(),
            Self::ClientCredentials(wanted) => wanted.secrets(),
            Self::TokenExchange(wanted) => wanted.secrets(),
            Self::Vault(vault) => vault.secrets(),
            Self::KubernetesToken(token) => token.api_server.secrets(),
        }
    }
}

impl CredentialKind {
    /// The attributes of the caller that it reads.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let claims = self.token_plan().map(|plan| plan.claims.attributes());
        let parameters = self.parameters().into_iter();
        let claims = claims.into_iter().flatten();
        claims.chain(parameters.flat_map(Parameter::attributes))
    }

    fn parameters(&self) -> Vec<&Parameter> {
        match self {
            Self::Token(_)
            | Self::ApiKey(_)
            | Self::UsernamePassword(_)
            | Self::StaticHeaders(_) => Vec::new(),
            Self::ClientCredentials(it) => {
                it.client_id.iter().chain(it.request.parameters()).collect()
            }
            Self::TokenExchange(it) => it.client_id.iter().chain(it.request.parameters()).collect(),
            Self::Vault(vault) => vault.parameters(),
            Self::KubernetesToken(token) => vec![&token.namespace, &token.service_account],
        }
    }

    /// The same for one caller: its parameters with what is proven of it. What `claims` of a token come to is
    /// found apart, for the issuer finds it too.
    pub fn expand(&self, caller: &Attestation) -> Result<CredentialKind<String>, UnavailableClaim> {
        Ok(match self {
            Self::Token(plan) => CredentialKind::Token(plan.clone()),
            Self::ApiKey(key) => CredentialKind::ApiKey(key.clone()),
            Self::UsernamePassword(pair) => CredentialKind::UsernamePassword(pair.clone()),
            Self::StaticHeaders(headers) => CredentialKind::StaticHeaders(headers.clone()),
            Self::ClientCredentials(it) => CredentialKind::ClientCredentials(it.expand(caller)?),
            Self::TokenExchange(it) => CredentialKind::TokenExchange(it.expand(caller)?),
            Self::Vault(vault) => CredentialKind::Vault(vault.expand(caller)?),
            Self::KubernetesToken(token) => CredentialKind::KubernetesToken(token.expand(caller)?),
        })
    }

    /// The same with another lifetime; `None` if nobody can ask for one.
    pub(crate) fn lasting(&self, ttl: Duration) -> Option<Self> {
        match self {
            Self::Token(plan) if !token::lasts(plan.form).contains(&ttl.as_secs()) => None,
            Self::Token(plan) => Some(Self::Token(TokenPlan {
                ttl,
                ..plan.clone()
            })),
            Self::KubernetesToken(token) if ttl >= kubernetes::LEAST_TTL => {
                let token = token.clone();
                Some(Self::KubernetesToken(KubernetesToken { ttl, ..token }))
            }
            Self::KubernetesToken(_)
            | Self::ApiKey(_)
            | Self::UsernamePassword(_)
            | Self::StaticHeaders(_)
            | Self::ClientCredentials(_)
            | Self::TokenExchange(_)
            | Self::Vault(_) => None,
        }
    }
}

impl CredentialProvider {
    pub(super) fn lower(fields: Specification<'_, '_>, name: String) -> Option<Self> {
        let place = fields.at().place();
        let types = ProviderType::ALL.map(|of| (of.name(), of));
        let Some(of) = fields.required("type", |at| at.one_of(&types)) else {
            fields.leave_rest();
            return None;
        };
        let hosts = match of {
            ProviderType::Token(_) => Some(None),
            ProviderType::ApiKey
            | ProviderType::UsernamePassword
            | ProviderType::StaticHeaders
            | ProviderType::ClientCredentials
            | ProviderType::TokenExchange
            | ProviderType::Vault
            | ProviderType::KubernetesToken => fields
                .required("hosts", |at| at.some_list(host::host_pattern))
                .map(Some),
        };
        let kind = match of {
            ProviderType::Token(form) => token::lower(fields, form).map(CredentialKind::Token),
            ProviderType::ApiKey => ApiKey::lower(fields).map(CredentialKind::ApiKey),
            ProviderType::UsernamePassword => {
                UsernamePassword::lower(fields).map(CredentialKind::UsernamePassword)
            }
            ProviderType::StaticHeaders => {
                StaticHeaders::lower(fields).map(CredentialKind::StaticHeaders)
            }
            ProviderType::ClientCredentials => {
                ClientCredentials::lower(fields).map(CredentialKind::ClientCredentials)
            }
            ProviderType::TokenExchange => {
                TokenExchange::lower(fields).map(CredentialKind::TokenExchange)
            }
            ProviderType::Vault => Vault::lower(fields).map(CredentialKind::Vault),
            ProviderType::KubernetesToken => {
                KubernetesToken::lower(fields).map(CredentialKind::KubernetesToken)
            }
        };
        Some(Self {
            name,
            hosts: hosts?,
            kind: kind?,
            place,
        })
    }
}
