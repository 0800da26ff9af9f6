//! What was obtained, and how it is injected.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use attache_core::{decision::Fault, freshness::Lifetime};
use attache_policy::document::{Part, Placement};
use compact_str::CompactString;

use crate::{injection::Injection, material::Material, provider::Obtained};

/// A credential that may be attached to the request it was granted for.
pub struct Credential {
    material: Material,
    injection: Injection,
    token_id: Option<CompactString>,
    audience: Option<CompactString>,
    lifetime: Option<Lifetime>,
    used: AtomicBool,
}

impl Credential {
    pub(crate) fn new(
        obtained: Obtained,
        audience: Option<String>,
        placements: &[Placement],
    ) -> Result<Self, Fault> {
        let Obtained {
            material,
            lifetime,
            id,
        } = obtained;
        Ok(Self {
            injection: Injection::of(&material, placements)?,
            material,
            token_id: id.map(Into::into),
            audience: audience.map(Into::into),
            lifetime,
            used: AtomicBool::new(false),
        })
    }

    /// How it is put into the request.
    pub const fn injection(&self) -> &Injection {
        &self.injection
    }

    /// What names it in the audit event: `jti` of a token of ours.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// The token itself, for a caller that takes it into its own hands; empty if it is none.
    pub fn token(&self) -> &str {
        let token = self.material.part(&Part::Token);
        token.map_or("", |token| token.expose())
    }

    /// Whom it is for, if it says so.
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// From when until when it is good; `None` if nothing but a change of its source ends it.
    pub const fn lifetime(&self) -> Option<Lifetime> {
        self.lifetime
    }

    /// Whether nobody asked this before: the log tells of a credential once.
    pub fn first_use(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }

    /// Its whole lifetime, for the audit event; not what is left of it.
    pub fn ttl(&self) -> Option<Duration> {
        self.lifetime
            .map(|lifetime| lifetime.expires_at.since(lifetime.issued_at))
    }

    /// How many bytes its texts take.
    pub(crate) fn bytes(&self) -> usize {
        let texts =
            [&self.token_id, &self.audience].map(|text| text.as_ref().map_or(0, |text| text.len()));
        let secrets = [self.material.bytes(), self.injection.bytes()];
        let all = texts.into_iter().chain(secrets);
        all.fold(0, usize::saturating_add)
    }
}
