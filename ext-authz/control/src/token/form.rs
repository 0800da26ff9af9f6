//! The form of a token request (RFC 8693 §2.1, RFC 7523 §2.1). What is not known is ignored, as RFC 6749 §3.2
//! demands; what is known and not supported is refused.

use std::borrow::Cow;

use attache_core::{secret::Secret, token::TokenTarget};
use attache_issuer::publication::{JWT_BEARER, TOKEN_EXCHANGE};

use super::answer::Refusal;

/// The type of tokens that are taken and given (RFC 8693 §3).
pub(super) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// An OpenID Connect ID token is a JWT too.
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// What a request asks.
pub(super) struct Form {
    pub(super) grant: Grant,
    pub(super) evidence: Secret,
    pub(super) audience: Option<String>,
    pub(super) resource: Option<TokenTarget>,
}

/// How evidence is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// RFC 8693.
    Exchange,
    /// RFC 7523.
    Assertion,
}

impl Form {
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let fields = Fields::read(body);
        for secret in ["client_secret", "client_assertion"] {
            if fields.one(secret)?.is_some() {
                return Err(Refusal::client_in_form());
            }
        }
        let grant = match fields.needed("grant_type")? {
            TOKEN_EXCHANGE => Grant::Exchange,
            JWT_BEARER => Grant::Assertion,
            _ => return Err(Refusal::grant_type()),
        };
        if fields.one("scope")?.is_some() {
            return Err(Refusal::scope());
        }
        let evidence = match grant {
            Grant::Assertion => fields.needed("assertion")?,
            Grant::Exchange => fields.subject_token()?,
        };
        let resource = fields.target("resource")?;
        let resource = resource.map(|url| TokenTarget::parse(&url)).transpose();
        let form = Self {
            grant,
            evidence: Secret::new(evidence.to_owned()),
            audience: fields.target("audience")?,
            resource: resource.map_err(|invalid| Refusal::target(invalid.to_string()))?,
        };
        if form.audience.is_none() && form.resource.is_none() {
            return Err(Refusal::target(
                "name whom the token is for with audience, or the URL of the target with resource",
            ));
        }
        Ok(form)
    }
}

/// Names and values in the order of the form. One without a value counts as absent (RFC 6749 §3.2).
struct Fields<'f>(Vec<(Cow<'f, str>, Cow<'f, str>)>);

impl<'f> Fields<'f> {
    fn read(body: &'f [u8]) -> Self {
        let pairs = form_urlencoded::parse(body);
        Self(pairs.filter(|(_, value)| !value.is_empty()).collect())
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| &**value)
    }

    /// A parameter that may stand there once.
    fn one(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Refusal::request(format!("{name} stands twice"))),
        }
    }

    fn needed(&self, name: &'static str) -> Result<&str, Refusal> {
        let value = self.one(name)?;
        value.ok_or_else(|| Refusal::request(format!("{name} is missing")))
    }

    fn subject_token(&self) -> Result<&str, Refusal> {
        let token = self.needed("subject_token")?;
        let kind = self.needed("subject_token_type")?;
        if ![JWT, ID_TOKEN].contains(&kind) {
            return Err(Refusal::request(format!(
                "subject_token_type must be {JWT}"
            )));
        }
        if self
            .one("requested_token_type")?
            .is_some_and(|kind| kind != JWT)
        {
            return Err(Refusal::request(format!(
                "requested_token_type must be {JWT}"
            )));
        }
        for name in ["actor_token", "actor_token_type"] {
            if self.one(name)?.is_some() {
                return Err(Refusal::request(format!("{name} is not supported")));
            }
        }
        Ok(token)
    }

    /// RFC 8693 §2.1 lets several stand there; a token of ours is for one target.
    fn target(&self, name: &'static str) -> Result<Option<String>, Refusal> {
        let mut values = self.all(name);
        let first = values.next().map(str::to_owned);
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Refusal::target(format!("ask for one {name} at a time"))),
        }
    }
}
