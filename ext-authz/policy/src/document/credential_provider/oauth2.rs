//! Access tokens of authorization servers: `oauth2-client-credentials` (RFC 6749 §4.4) and
//! `oauth2-token-exchange` (RFC 8693).

use attache_core::{
    attestation::Attestation, claims::UnavailableClaim, jwt::Algorithm, token::TokenForm,
};

use super::{parameter::Parameter, token};
use crate::{
    document::{SecretReference, Specification, endpoint},
    problem::{Code, quoted},
    yaml::At,
};

/// Most scopes, and most resources, that one token is asked for.
const MAX_ITEMS: usize = 64;

/// A token for a client of an authorization server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCredentials<T = Parameter> {
    /// Whom to ask.
    pub endpoint: TokenEndpoint,
    /// Who asks; `None` is the caller's SPIFFE ID, with its JWT-SVID as proof (RFC 7523).
    pub client_id: Option<T>,
    /// How the client proves itself.
    pub authentication: ClientAuthentication,
    /// What is asked for.
    pub request: OauthRequest<T>,
}

/// A token of ours for one of an authorization server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenExchange<T = Parameter> {
    /// Whom to ask.
    pub endpoint: TokenEndpoint,
    /// Who asks, where the server wants to know it.
    pub client_id: Option<T>,
    /// How that client proves itself, if it does.
    pub authentication: Option<Box<ClientAuthentication>>,
    /// The token that is exchanged.
    pub subject: Subject,
    /// The token of who acts for the subject.
    pub actor: Option<OwnToken>,
    /// `requested_token_type` (RFC 8693 §3), a URI.
    pub requested_type: Option<String>,
    /// What is asked for.
    pub request: OauthRequest<T>,
}

/// Where an authorization server gives out tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TokenEndpoint {
    /// It says so itself: its issuer URL (RFC 8414, OpenID Connect Discovery).
    Discovered {
        /// The issuer.
        issuer: String,
        /// Certificates that it is verified with, instead of the system's.
        ca_file: Option<SecretReference>,
    },
    /// The URL of the endpoint.
    Fixed {
        /// The URL.
        url: String,
        /// Certificates that it is verified with, instead of the system's.
        ca_file: Option<SecretReference>,
    },
}

/// How a client proves itself to an authorization server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuthentication {
    /// `client-secret-basic`: in `Authorization` (RFC 6749 §2.3.1).
    SecretBasic(SecretReference),
    /// `client-secret-post`: in the body.
    SecretPost(SecretReference),
    /// `private-key-jwt`: an assertion signed with a key of the client's own (RFC 7523 §2.2).
    PrivateKeyJwt {
        /// The key: PEM, PKCS#8.
        key: SecretReference,
        /// `kid` of the assertion.
        key_id: Option<String>,
        /// How it is signed.
        algorithm: Algorithm,
    },
    /// `jwt-svid`: the caller's JWT-SVID is the assertion.
    JwtSvid {
        /// Its `aud`; `None` is the server's issuer, or else the token endpoint.
        audience: Option<String>,
        /// How the server knows our tokens.
        profile: AssertionProfile,
    },
}

/// How an authorization server takes a workload's own token for a client's proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssertionProfile {
    /// `self-issued`: the client is the SPIFFE ID, and the assertion's `iss` is its `sub` (RFC 7523 §3).
    SelfIssued,
    /// `federated`: the client trusts our issuer for this subject; the assertion's `iss` is our issuer.
    Federated,
    /// `spiffe`: the server knows SPIFFE trust domains, and takes JWT-SVIDs under a type of their own
    /// (`urn:ietf:params:oauth:client-assertion-type:jwt-spiffe`).
    Spiffe,
}

/// What is asked for beside the token itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OauthRequest<T = Parameter> {
    /// `scope`, in order.
    pub scopes: Vec<T>,
    /// `audience`, of servers that take one.
    pub audience: Option<T>,
    /// `resource` (RFC 8707), in order.
    pub resources: Vec<T>,
}

/// The token that is exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One of ours, for the caller.
    Own(OwnToken),
    /// `evidence`: the very token by which the caller was proven. It goes to the server because the document
    /// says so, and never otherwise.
    Evidence,
}

/// A token of ours for the caller, to be shown to an authorization server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnToken {
    /// What kind of token.
    pub form: TokenForm,
    /// Whom it is for: the authorization server.
    pub audience: String,
}

impl ClientCredentials {
    pub(super) fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        let endpoint = TokenEndpoint::lower(fields);
        let client_id = fields.optional("clientId", Parameter::lower);
        let is_named = client_id.as_ref().is_none_or(Option::is_some);
        let authentication = fields.required("clientAuthentication", |at| {
            ClientAuthentication::lower(at, is_named)
        });
        let request = OauthRequest::lower(fields);
        let (client_id, authentication) = (client_id?, authentication?);
        if client_id.is_none() && !matches!(authentication, ClientAuthentication::JwtSvid { .. }) {
            let message = "nobody says which client asks for the token";
            let way_out = "add `clientId`; only a client with `method: jwt-svid` is its SPIFFE ID";
            return fields
                .at()
                .refuse_with(Code::ConflictingFields, message, way_out);
        }
        Some(Self {
            endpoint: endpoint?,
            client_id,
            authentication,
            request: request?,
        })
    }

    /// The same for one caller.
    pub(super) fn expand(
        &self,
        caller: &Attestation,
    ) -> Result<ClientCredentials<String>, UnavailableClaim> {
        Ok(ClientCredentials {
            endpoint: self.endpoint.clone(),
            client_id: expanded("clientId", self.client_id.as_ref(), caller)?,
            authentication: self.authentication.clone(),
            request: self.request.expand(caller)?,
        })
    }
}

impl TokenExchange {
    pub(super) fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        let endpoint = TokenEndpoint::lower(fields);
        let client_id = fields.optional("clientId", Parameter::lower);
        let is_named = client_id.as_ref().is_none_or(Option::is_some);
        let authentication = fields.optional("clientAuthentication", |at| {
            ClientAuthentication::lower(at, is_named)
        });
        let subject = fields.required("subjectToken", Subject::lower);
        let actor = fields.optional("actorToken", OwnToken::lower);
        let requested_type = fields.optional("requestedTokenType", uri);
        let request = OauthRequest::lower(fields);
        Some(Self {
            endpoint: endpoint?,
            client_id: client_id?,
            authentication: authentication?.map(Box::new),
            subject: subject?,
            actor: actor?,
            requested_type: requested_type?,
            request: request?,
        })
    }

    /// The same for one caller.
    pub(super) fn expand(
        &self,
        caller: &Attestation,
    ) -> Result<TokenExchange<String>, UnavailableClaim> {
        Ok(TokenExchange {
            endpoint: self.endpoint.clone(),
            client_id: expanded("clientId", self.client_id.as_ref(), caller)?,
            authentication: self.authentication.clone(),
            subject: self.subject.clone(),
            actor: self.actor.clone(),
            requested_type: self.requested_type.clone(),
            request: self.request.expand(caller)?,
        })
    }
}

impl TokenEndpoint {
    fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        let issuer = fields.optional("issuer", endpoint::issuer);
        let url = fields.optional("tokenEndpoint", endpoint::key_url);
        let ca_file = fields.optional("caFile", SecretReference::lower_file)?;
        match (issuer?, url?) {
            (Some(issuer), None) => Some(Self::Discovered { issuer, ca_file }),
            (None, Some(url)) => Some(Self::Fixed { url, ca_file }),
            (None, None) | (Some(_), Some(_)) => {
                let message = "exactly one of `issuer` and `tokenEndpoint` says whom to ask";
                let way_out = "write the issuer where the server publishes its endpoints";
                let at = fields.at();
                at.refuse_with(Code::ConflictingFields, message, way_out)
            }
        }
    }
}

impl TokenEndpoint {
    /// The certificates that the server is verified with.
    pub const fn ca_file(&self) -> Option<&SecretReference> {
        match self {
            Self::Discovered { ca_file, .. } | Self::Fixed { ca_file, .. } => ca_file.as_ref(),
        }
    }
}

impl<T> ClientCredentials<T> {
    pub(super) fn secrets(&self) -> Vec<&SecretReference> {
        let mut secrets = self.authentication.secrets();
        secrets.extend(self.endpoint.ca_file());
        secrets
    }
}

impl<T> TokenExchange<T> {
    pub(super) fn secrets(&self) -> Vec<&SecretReference> {
        let client = self.authentication.as_deref();
        let mut secrets = client.map_or_else(Vec::new, ClientAuthentication::secrets);
        secrets.extend(self.endpoint.ca_file());
        secrets
    }
}

impl ClientAuthentication {
    /// `is_named`: whether the document says which client it is.
    fn lower(at: &At<'_>, is_named: bool) -> Option<Self> {
        #[derive(Clone, Copy)]
        enum Method {
            Basic,
            Post,
            Key,
            Svid,
        }
        let methods = [
            ("client-secret-basic", Method::Basic),
            ("client-secret-post", Method::Post),
            ("private-key-jwt", Method::Key),
            ("jwt-svid", Method::Svid),
        ];
        let mut fields = at.fields()?;
        let Some(method) = fields.required("method", |at| at.one_of(&methods)) else {
            fields.leave_rest();
            return None;
        };
        match method {
            Method::Basic => {
                let secret = fields.required("secret", SecretReference::lower);
                secret.map(Self::SecretBasic)
            }
            Method::Post => {
                let secret = fields.required("secret", SecretReference::lower);
                secret.map(Self::SecretPost)
            }
            Method::Key => {
                let key = fields.required("key", SecretReference::lower);
                let key_id = fields.optional("keyId", |at| at.text().map(str::to_owned));
                let names = [Algorithm::Es256, Algorithm::Rs256].map(|it| (it.name(), it));
                let algorithm = fields.or("algorithm", Algorithm::Es256, |at| at.one_of(&names));
                Some(Self::PrivateKeyJwt {
                    key: key?,
                    key_id: key_id?,
                    algorithm: algorithm?,
                })
            }
            Method::Svid => {
                let audience = fields.optional("audience", token::audience);
                let usual = match is_named {
                    true => AssertionProfile::Federated,
                    false => AssertionProfile::SelfIssued,
                };
                let profile =
                    fields.or("profile", usual, |at| AssertionProfile::lower(at, is_named));
                Some(Self::JwtSvid {
                    audience: audience?,
                    profile: profile?,
                })
            }
        }
    }

    fn secrets(&self) -> Vec<&SecretReference> {
        match self {
            Self::SecretBasic(secret) | Self::SecretPost(secret) => vec![secret],
            Self::PrivateKeyJwt { key, .. } => vec![key],
            Self::JwtSvid { .. } => Vec::new(),
        }
    }
}

impl AssertionProfile {
    fn lower(at: &At<'_>, is_named: bool) -> Option<Self> {
        let profiles = [
            ("self-issued", Self::SelfIssued),
            ("federated", Self::Federated),
            ("spiffe", Self::Spiffe),
        ];
        let profile = at.one_of(&profiles)?;
        if profile == Self::SelfIssued && is_named {
            let message = "a self-issued assertion is for the client that its subject is";
            let way_out = "remove `clientId`, so that the caller's SPIFFE ID is the client";
            return at.refuse_with(Code::ConflictingFields, message, way_out);
        }
        Some(profile)
    }
}

impl OauthRequest {
    fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        let scopes = fields.or("scopes", Vec::new(), |at| at.some_list(Parameter::lower));
        let audience = fields.optional("audience", Parameter::lower);
        let resources = fields.or("resource", Vec::new(), |at| {
            at.one_or_some(Parameter::lower)
        });
        let request = Self {
            scopes: scopes?,
            audience: audience?,
            resources: resources?,
        };
        if request.scopes.len().max(request.resources.len()) > MAX_ITEMS {
            let message = format!("more than {MAX_ITEMS} scopes or resources");
            let at = fields.at();
            return at.refuse_with(
                Code::OutOfRange,
                message,
                format!("write at most {MAX_ITEMS}"),
            );
        }
        Some(request)
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        // SECURITY: named one by one, so that none that is added is left out of what a credential is kept under.
        let Self {
            scopes,
            audience,
            resources,
        } = self;
        scopes.iter().chain(audience).chain(resources)
    }

    fn expand(&self, caller: &Attestation) -> Result<OauthRequest<String>, UnavailableClaim> {
        let all = |field, texts: &[Parameter]| -> Result<Vec<String>, UnavailableClaim> {
            let texts = texts.iter();
            texts.map(|text| text.expand(field, caller)).collect()
        };
        Ok(OauthRequest {
            scopes: all("scopes", &self.scopes)?,
            audience: expanded("audience", self.audience.as_ref(), caller)?,
            resources: all("resource", &self.resources)?,
        })
    }
}

fn expanded(
    field: &str,
    text: Option<&Parameter>,
    caller: &Attestation,
) -> Result<Option<String>, UnavailableClaim> {
    text.map(|text| text.expand(field, caller)).transpose()
}

impl Subject {
    fn lower(at: &At<'_>) -> Option<Self> {
        let mut fields = at.fields()?;
        let own = TokenForm::ALL.map(|form| (form.name(), Some(form)));
        let [oidc, svid] = own;
        let Some(form) = fields.required("type", |at| at.one_of(&[oidc, svid, ("evidence", None)]))
        else {
            fields.leave_rest();
            return None;
        };
        let Some(form) = form else {
            return Some(Self::Evidence);
        };
        let audience = fields.required("audience", token::audience)?;
        Some(Self::Own(OwnToken { form, audience }))
    }
}

impl OwnToken {
    fn lower(at: &At<'_>) -> Option<Self> {
        let mut fields = at.fields()?;
        let forms = TokenForm::ALL.map(|form| (form.name(), form));
        let form = fields.required("type", |at| at.one_of(&forms));
        let audience = fields.required("audience", token::audience);
        Some(Self {
            form: form?,
            audience: audience?,
        })
    }
}

/// A URI as RFC 8693 §3 names types of tokens.
fn uri(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    if text.contains(':') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(text.to_owned());
    }
    let message = format!("{} is not a URI", quoted(text));
    let way_out = "write one such as urn:ietf:params:oauth:token-type:access_token";
    at.refuse_with(Code::InvalidValue, message, way_out)
}
