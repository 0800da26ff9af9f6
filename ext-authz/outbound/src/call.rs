//! One call as it is to be made. What may be secret in it has no `Debug` and is wiped when it was sent.

use bytes::Bytes;
use reqwest::{
    Method,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

/// A text that cannot stand in a header (RFC 9110 §5.5). It may be secret, and is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it cannot be written in a header: only visible ASCII, spaces and tabs can")]
pub struct NotAHeader;

/// A request.
pub struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Call {
    /// A call without a body.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Zeroizing::default(),
        }
    }

    /// A `GET`.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// A `POST`.
    pub fn post(url: Url) -> Self {
        Self::new(Method::POST, url)
    }

    /// With a header that is no secret.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With `<prefix><secret>` as a header; nothing prints it.
    pub fn secret_header(
        mut self,
        name: HeaderName,
        prefix: &str,
        secret: &str,
    ) -> Result<Self, NotAHeader> {
        let mut text = Vec::with_capacity(prefix.len().saturating_add(secret.len()));
        text.extend_from_slice(prefix.as_bytes());
        text.extend_from_slice(secret.as_bytes());
        // Bytes that are wiped when the last one who holds them lets go.
        let text = Bytes::from_owner(Zeroizing::new(text));
        let value = HeaderValue::from_maybe_shared(text);
        let mut value = value.map_err(|_invalid| NotAHeader)?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// With `Authorization: Bearer <token>` (RFC 6750 §2.1).
    pub fn bearer(self, token: &str) -> Result<Self, NotAHeader> {
        self.secret_header(header::AUTHORIZATION, "Bearer ", token)
    }

    /// With a form as its body (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn form<'p>(mut self, pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Self {
        let pairs: Vec<_> = pairs.into_iter().collect();
        // Room for all of it from the start: a text that grew would leave secrets in freed memory. An encoded
        // byte takes at most three.
        let bytes = pairs.iter().fold(0_usize, |sum, (name, value)| {
            let pair = name.len().saturating_add(value.len()).saturating_mul(3);
            sum.saturating_add(pair).saturating_add(2)
        });
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(bytes));
        form.extend_pairs(pairs);
        self.body = Zeroizing::new(form.finish().into_bytes());
        self.with_type("application/x-www-form-urlencoded")
    }

    /// With JSON as its body.
    #[must_use]
    pub fn json(mut self, value: &Value) -> Self {
        self.body = Zeroizing::new(value.to_string().into_bytes());
        self.with_type("application/json")
    }

    fn with_type(self, media_type: &'static str) -> Self {
        self.header(header::CONTENT_TYPE, HeaderValue::from_static(media_type))
    }
}
