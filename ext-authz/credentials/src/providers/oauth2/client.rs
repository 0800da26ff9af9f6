//! How a client proves itself at a token endpoint (RFC 6749 §2.3, RFC 7523 §2.2).

use attache_core::{decision::Fault, secret::Secret, token::TokenForm};
use attache_outbound::{Call, header};
use attache_policy::document::{AssertionProfile, ClientAuthentication};
use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use super::assertion;
use crate::{
    provider::Wanted,
    providers::{calls::Failure, svid::Prover},
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// A client's proof, ready to be sent once.
pub(super) enum ClientProof {
    /// In `Authorization`.
    Basic(Zeroizing<String>),
    /// In the form.
    Post { client_id: String, secret: Secret },
    /// A JWT in the form.
    Assertion {
        /// Of whom, where the server is to be told.
        client_id: Option<String>,
        kind: &'static str,
        assertion: Secret,
    },
}

impl ClientProof {
    /// `audience` is what the server is called in an assertion, unless the document says otherwise.
    pub(super) async fn of(
        how: &ClientAuthentication,
        client_id: Option<&str>,
        audience: &str,
        prover: &Prover,
        wanted: &Wanted,
    ) -> Result<Self, Failure> {
        let named = || client_id.ok_or(Fault::CredentialUnavailable);
        Ok(match how {
            ClientAuthentication::SecretBasic(reference) => {
                Self::Basic(basic(named()?, wanted.secrets.secret(reference)?))
            }
            ClientAuthentication::SecretPost(reference) => Self::Post {
                client_id: named()?.to_owned(),
                secret: wanted.secrets.secret(reference)?.clone(),
            },
            ClientAuthentication::PrivateKeyJwt {
                key,
                key_id,
                algorithm,
            } => {
                let client_id = named()?.to_owned();
                let key = wanted.secrets.secret(key)?.clone();
                let asked = assertion::Asked {
                    client_id: client_id.clone(),
                    audience: audience.to_owned(),
                    key_id: key_id.clone(),
                    algorithm: *algorithm,
                    now: wanted.now,
                };
                Self::Assertion {
                    client_id: Some(client_id),
                    kind: JWT_BEARER,
                    assertion: assertion::signed(asked, key).await?,
                }
            }
            ClientAuthentication::JwtSvid {
                audience: written,
                profile,
            } => {
                let audience = written.as_deref().unwrap_or(audience);
                let (form, kind) = match profile {
                    AssertionProfile::SelfIssued => (TokenForm::ClientAssertion, JWT_BEARER),
                    AssertionProfile::Federated => (TokenForm::JwtSvid, JWT_BEARER),
                    AssertionProfile::Spiffe => (TokenForm::JwtSvid, JWT_SPIFFE),
                };
                let own =
                    || (*profile == AssertionProfile::SelfIssued).then(|| wanted.caller.as_str());
                let client_id = client_id.or_else(own).map(str::to_owned);
                Self::Assertion {
                    client_id,
                    kind,
                    assertion: prover.token(wanted, form, audience).await?,
                }
            }
        })
    }

    /// What of it stands in the form.
    pub(super) fn fields(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Basic(_) => Vec::new(),
            Self::Post { client_id, secret } => {
                vec![("client_id", client_id), ("client_secret", secret.expose())]
            }
            Self::Assertion {
                client_id,
                kind,
                assertion,
            } => {
                let mut fields = vec![
                    ("client_assertion_type", *kind),
                    ("client_assertion", assertion.expose()),
                ];
                fields.extend(client_id.as_deref().map(|id| ("client_id", id)));
                fields
            }
        }
    }

    /// What of it stands in the head.
    pub(super) fn head(&self, call: Call) -> Result<Call, Failure> {
        match self {
            Self::Basic(pair) => call
                .secret_header(header::AUTHORIZATION, "Basic ", pair)
                .map_err(|_not_a_header| Fault::CredentialNotEncodable.into()),
            Self::Post { .. } | Self::Assertion { .. } => Ok(call),
        }
    }
}

/// RFC 6749 §2.3.1: both are encoded as in a form first, so that a colon in them divides nothing.
fn basic(client_id: &str, secret: &Secret) -> Zeroizing<String> {
    let (client_id, secret) = (client_id.as_bytes(), secret.expose().as_bytes());
    // Room for all of it from the start: a text that grew would leave the secret in freed memory.
    let room = client_id.len().saturating_add(secret.len());
    let room = room.saturating_mul(3).saturating_add(1);
    let mut pair = Zeroizing::new(String::with_capacity(room));
    pair.extend(form_urlencoded::byte_serialize(client_id));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(secret));
    Zeroizing::new(Base64::encode_string(pair.as_bytes()))
}
