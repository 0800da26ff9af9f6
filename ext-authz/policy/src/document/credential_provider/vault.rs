//! Secrets and tokens of a Vault: `vault`.

use attache_core::{attestation::Attestation, claims::UnavailableClaim};

use super::{Consistence, parameter::Parameter, token};
use crate::{
    document::{SecretReference, Specification, endpoint},
    problem::Code,
    yaml::{At, Fields},
};

/// A secret of a Vault, or the token that its login gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vault<T = Parameter> {
    /// Its origin: `https://vault.example.com:8200`.
    pub address: String,
    /// Certificates that it is verified with, instead of the system's.
    pub ca_file: Option<SecretReference>,
    /// `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// How we log in.
    pub login: VaultLogin<T>,
    /// What is read; `None` gives the token of the login itself.
    pub secret: Option<Box<VaultSecret<T>>>,
}

/// How one logs in to a Vault.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VaultLogin<T = Parameter> {
    /// `jwt`: by the caller's JWT-SVID.
    Jwt {
        /// Where the method is mounted.
        mount: String,
        /// The role.
        role: T,
        /// `aud` of the token.
        audience: String,
    },
    /// `approle`: by a role and its secret.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role's id, which is no secret.
        role_id: String,
        /// The secret.
        secret_id: SecretReference,
    },
}

/// A secret in a Vault.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VaultSecret<T = Parameter> {
    /// The kind of engine.
    pub engine: Engine,
    /// Where it is mounted.
    pub mount: String,
    /// The path in it.
    pub path: T,
    /// The fields that are the credential.
    pub fields: SecretFields,
}

/// A secrets engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `kv-v1`.
    KvV1,
    /// `kv-v2`.
    KvV2,
}

/// Which fields of a secret are the credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretFields {
    /// `field`: one text.
    One(String),
    /// `usernameField` and `passwordField`.
    Pair {
        /// The user name's.
        username: String,
        /// The password's.
        password: String,
    },
}

impl Vault {
    pub(super) fn parameters(&self) -> Vec<&Parameter> {
        let role = match &self.login {
            VaultLogin::Jwt { role, .. } => Some(role),
            VaultLogin::AppRole { .. } => None,
        };
        let path = self.secret.as_ref().map(|secret| &secret.path);
        role.into_iter().chain(path).collect()
    }

    pub(super) fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        let address = fields.required("address", endpoint::key_url);
        let ca_file = fields.optional("caFile", SecretReference::lower_file);
        let namespace = fields.optional("namespace", path);
        let login = fields.required("login", VaultLogin::lower);
        let secret = fields.optional("secret", VaultSecret::lower);
        Some(Self {
            address: address?,
            ca_file: ca_file?,
            namespace: namespace?,
            login: login?,
            secret: secret?.map(Box::new),
        })
    }

    /// The same for one caller.
    pub(super) fn expand(&self, caller: &Attestation) -> Result<Vault<String>, UnavailableClaim> {
        let secret = self.secret.as_ref();
        Ok(Vault {
            address: self.address.clone(),
            ca_file: self.ca_file.clone(),
            namespace: self.namespace.clone(),
            login: self.login.expand(caller)?,
            secret: secret
                .map(|secret| secret.expand(caller))
                .transpose()?
                .map(Box::new),
        })
    }
}

impl<T> Vault<T> {
    pub(super) fn secrets(&self) -> Vec<&SecretReference> {
        let mut secrets = self.login.secrets();
        secrets.extend(&self.ca_file);
        secrets
    }

    pub(super) fn consistence(&self) -> Consistence {
        match self.secret.as_ref().map(|secret| &secret.fields) {
            None | Some(SecretFields::One(_)) => Consistence::Token,
            Some(SecretFields::Pair { .. }) => Consistence::Pair,
        }
    }
}

impl VaultLogin {
    fn lower(at: &At<'_>) -> Option<Self> {
        let mut fields = at.fields()?;
        let methods = [("jwt", true), ("approle", false)];
        let Some(by_token) = fields.required("method", |at| at.one_of(&methods)) else {
            fields.leave_rest();
            return None;
        };
        if by_token {
            let mount = fields.or("mount", "jwt".to_owned(), path);
            let role = fields.required("role", Parameter::lower);
            let audience = fields.required("audience", token::audience);
            return Some(Self::Jwt {
                mount: mount?,
                role: role?,
                audience: audience?,
            });
        }
        let mount = fields.or("mount", "approle".to_owned(), path);
        let role_id = fields.required("roleId", |at| at.text().map(str::to_owned));
        let secret_id = fields.required("secretId", SecretReference::lower);
        Some(Self::AppRole {
            mount: mount?,
            role_id: role_id?,
            secret_id: secret_id?,
        })
    }

    fn expand(&self, caller: &Attestation) -> Result<VaultLogin<String>, UnavailableClaim> {
        Ok(match self {
            Self::Jwt {
                mount,
                role,
                audience,
            } => VaultLogin::Jwt {
                mount: mount.clone(),
                role: role.expand("role", caller)?,
                audience: audience.clone(),
            },
            Self::AppRole {
                mount,
                role_id,
                secret_id,
            } => VaultLogin::AppRole {
                mount: mount.clone(),
                role_id: role_id.clone(),
                secret_id: secret_id.clone(),
            },
        })
    }
}

impl<T> VaultLogin<T> {
    fn secrets(&self) -> Vec<&SecretReference> {
        match self {
            Self::Jwt { .. } => Vec::new(),
            Self::AppRole { secret_id, .. } => vec![secret_id],
        }
    }
}

impl VaultSecret {
    fn lower(at: &At<'_>) -> Option<Self> {
        let mut fields = at.fields()?;
        let engines = [("kv-v1", Engine::KvV1), ("kv-v2", Engine::KvV2)];
        let engine = fields.or("engine", Engine::KvV2, |at| at.one_of(&engines));
        let mount = fields.required("mount", path);
        let path = fields.required("path", Parameter::lower);
        let named = SecretFields::lower(&mut fields);
        Some(Self {
            engine: engine?,
            mount: mount?,
            path: path?,
            fields: named?,
        })
    }

    fn expand(&self, caller: &Attestation) -> Result<VaultSecret<String>, UnavailableClaim> {
        Ok(VaultSecret {
            engine: self.engine,
            mount: self.mount.clone(),
            path: self.path.expand_path("path", caller)?,
            fields: self.fields.clone(),
        })
    }
}

impl SecretFields {
    fn lower(fields: &mut Fields<'_>) -> Option<Self> {
        let text = |at: &At<'_>| at.text().map(str::to_owned);
        let one = fields.optional("field", text);
        let username = fields.optional("usernameField", text);
        let password = fields.optional("passwordField", text);
        match (one?, username?, password?) {
            (Some(one), None, None) => Some(Self::One(one)),
            (None, Some(username), Some(password)) => Some(Self::Pair { username, password }),
            _ => {
                let message = "it is not said which fields of the secret are the credential";
                let way_out = "write `field`, or `usernameField` and `passwordField`";
                let at = fields.at();
                at.refuse_with(Code::ConflictingFields, message, way_out)
            }
        }
    }
}

/// A path of plain segments, so that it leads nowhere else in a URL.
fn path(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let segment =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    if text.split('/').all(segment) {
        return Some(text.to_owned());
    }
    let way_out = "write segments of letters, digits, `-`, `_` and `.`, with `/` between them";
    at.refuse_with(Code::InvalidValue, "it is not a plain path", way_out)
}
