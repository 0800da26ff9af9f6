//! What was obtained, and the header that carries it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use attache_core::{
    decision::Fault,
    freshness::Lifetime,
    header::{self, HeaderName},
    secret::Secret,
};

/// A credential that may be attached to the request it was granted for.
pub struct Credential {
    injection: Injection,
    token_id: String,
    audience: String,
    lifetime: Lifetime,
    used: AtomicBool,
}

impl Credential {
    pub(crate) const fn new(
        injection: Injection,
        token_id: String,
        audience: String,
        lifetime: Lifetime,
    ) -> Self {
        Self {
            injection,
            token_id,
            audience,
            lifetime,
            used: AtomicBool::new(false),
        }
    }

    /// The header that carries it.
    pub const fn injection(&self) -> &Injection {
        &self.injection
    }

    /// The token's `jti`, for the audit event.
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// The token itself, for a caller that takes it into its own hands.
    pub fn token(&self) -> &str {
        let value = self.injection.value.expose();
        value.get(self.injection.token_at..).unwrap_or_default()
    }

    /// Whom it is for.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// From when until when it is good.
    pub const fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// Whether nobody asked this before: the log tells of a credential once.
    pub fn first_use(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }

    /// Its whole lifetime, for the audit event; not what is left of it.
    pub fn ttl(&self) -> Duration {
        self.lifetime.expires_at.since(self.lifetime.issued_at)
    }
}

/// A header to be set, replacing whatever the client sent under its name.
pub struct Injection {
    header: HeaderName,
    value: Secret,
    /// Where the token begins in the value.
    token_at: usize,
}

impl Injection {
    /// `prefix` and `token` as the value of `header`.
    pub(crate) fn of_token(
        header: HeaderName,
        prefix: &str,
        token: &Secret,
    ) -> Result<Self, Fault> {
        let token = token.expose();
        // Room for all of it from the start: a text that grew would leave the token in freed memory.
        let mut value = String::with_capacity(prefix.len().saturating_add(token.len()));
        value.push_str(prefix);
        value.push_str(token);
        let value = Secret::new(value);
        // SECURITY: a line break in a value would begin a header of someone else's choice.
        if !header::is_header_value(value.expose()) {
            return Err(Fault::CredentialNotEncodable);
        }
        let token_at = prefix.len();
        Ok(Self {
            header,
            value,
            token_at,
        })
    }

    /// The header's name.
    pub const fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The header's whole value.
    pub const fn value(&self) -> &Secret {
        &self.value
    }
}
