//! What came back, whole and within its bounds. It may hold a credential, so it has no `Debug` and is wiped.

use std::time::Duration;

use attache_core::json::{self, InvalidJson};
use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER},
};
use serde_json::{Map, Value};
use thiserror::Error;
use zeroize::Zeroizing;

/// Longest media type that an error repeats.
const SHOWN: usize = 80;

/// An answer that was read to its end. Its status is whatever the other side said, except a redirect.
pub struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Why an answer is not the JSON object that it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnreadableAnswer {
    /// An error page of a proxy is no answer, whatever its status.
    #[error("its content type is `{0}`, not `application/json`")]
    ContentType(String),
    /// No content type at all.
    #[error("it has no content type; it should be `application/json`")]
    NoContentType,
    /// It says JSON and is none.
    #[error("it is {0}")]
    Json(#[from] InvalidJson),
}

impl Answer {
    /// Its status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Its headers.
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Its body, of at most as many bytes as the client allows.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its body alone; whoever takes it wipes it, if it is secret.
    pub fn into_body(mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// The body as a JSON object, strictly: no member twice, nothing after it. The content type must be
    /// `application/json` or end with `+json`.
    pub fn json(&self) -> Result<Map<String, Value>, UnreadableAnswer> {
        let media_type = self
            .media_type()
            .ok_or(UnreadableAnswer::NoContentType)?
            .to_ascii_lowercase();
        if media_type != "application/json" && !media_type.ends_with("+json") {
            let shown = media_type.chars().take(SHOWN).collect();
            return Err(UnreadableAnswer::ContentType(shown));
        }
        Ok(json::object(&self.body)?)
    }

    /// How long the other side asks to be left alone (RFC 9110 §10.2.3). A moment counts from the one at which the
    /// answer was made, by its own `Date`: that both are told by one clock is all that is known of it.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.text(RETRY_AFTER)?;
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let then = httpdate::parse_http_date(text).ok()?;
        let made = httpdate::parse_http_date(self.text(DATE)?).ok()?;
        // One that is over asks for nothing.
        Some(then.duration_since(made).unwrap_or_default())
    }

    fn text(&self, name: HeaderName) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().ok()?.trim())
    }

    /// `Content-Type` without its parameters.
    fn media_type(&self) -> Option<&str> {
        let value = self.text(CONTENT_TYPE)?;
        Some(value.split(';').next().unwrap_or_default().trim())
    }
}

/// A body that grows without leaving parts of itself in freed memory.
pub(crate) struct Body {
    bytes: Zeroizing<Vec<u8>>,
    most: usize,
}

/// More than may be read.
pub(crate) struct TooLarge;

impl Body {
    /// `announced` is a word of the other side: it is room, not a promise.
    pub(crate) fn of_at_most(most: usize, announced: Option<u64>) -> Self {
        let usual = 4096;
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        let room = announced.unwrap_or(usual).min(most).min(64 * 1024);
        let bytes = Zeroizing::new(Vec::with_capacity(room));
        Self { bytes, most }
    }

    pub(crate) fn append(&mut self, chunk: &[u8]) -> Result<(), TooLarge> {
        let length = self.bytes.len().saturating_add(chunk.len());
        if length > self.most {
            return Err(TooLarge);
        }
        if length > self.bytes.capacity() {
            let doubled = self.bytes.capacity().saturating_mul(2);
            let room = doubled.max(length).min(self.most);
            let mut larger = Zeroizing::new(Vec::with_capacity(room));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    pub(crate) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }
}
