//! A request's header as Envoy has it, read once: what must not reach the application as it came is found by
//! the name it would be read under.

use attache_core::{header::HeaderName, request::overrides_request};

use crate::pairs::{self, Pair};

/// Our own headers; a client's are removed from every request.
const OWN_PREFIX: &[u8] = b"x-attache-";

/// All headers of a request, pseudo-headers among them.
pub(crate) struct Headers<'a>(Vec<Pair<'a>>);

/// What the names of a request's headers tell.
#[derive(Default)]
pub(crate) struct Survey<'a> {
    /// Ours, and the protected ones, in any spelling.
    pub(crate) protected: Vec<&'a [u8]>,
    /// Whether one of them is spelled with `_`.
    pub(crate) imitates: bool,
    /// Whether an application may take another method or path from one than the request's own.
    pub(crate) overrides: bool,
    /// Whether the request asks for another protocol.
    pub(crate) upgrades: bool,
}

impl<'a> Headers<'a> {
    /// Reads what [`crate::host::Host::headers`] answered.
    pub(crate) fn read(serialised: &'a [u8]) -> Option<Self> {
        pairs::read(serialised).map(Self)
    }

    /// The values of a header, in order; its name in lower case.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |(key, _): &&Pair<'_>| *key == name.as_bytes();
        self.0.iter().filter(named).map(|(_, value)| *value)
    }

    /// The value of a header that stands once and is text.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let mut values = self.values(name);
        let only = values.next()?;
        if values.next().is_some() {
            return None;
        }
        core::str::from_utf8(only).ok()
    }

    /// The names of the headers that an application may read as ours, or as `other`.
    pub(crate) fn imitating<'n>(
        &'n self,
        other: &'n [HeaderName],
    ) -> impl Iterator<Item = &'a [u8]> + 'n {
        let names = self.0.iter().map(|(name, _)| *name);
        names.filter(|name| {
            begins_as_ours(name) || other.iter().any(|other| is_imitated(other, name))
        })
    }

    /// All headers but the pseudo-headers, in order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &Pair<'a>> {
        self.0.iter().filter(|(name, _)| !name.starts_with(b":"))
    }

    /// What there is to know of the names, read once.
    pub(crate) fn survey(&self, protected: &[HeaderName]) -> Survey<'a> {
        let mut survey = Survey::default();
        for (name, _) in self.lines() {
            let name = *name;
            if begins_as_ours(name) || protected.iter().any(|ours| is_imitated(ours, name)) {
                survey.imitates |= name.contains(&b'_');
                if !survey.protected.contains(&name) {
                    survey.protected.push(name);
                }
            }
            survey.upgrades |= name == b"upgrade";
            survey.overrides |= core::str::from_utf8(name).is_ok_and(overrides_request);
        }
        survey
    }

    /// Whether an application may take another method or path from a header than the request's own.
    pub(crate) fn override_request(&self) -> bool {
        let mut names = self.0.iter().map(|(name, _)| *name);
        names.any(|name| core::str::from_utf8(name).is_ok_and(overrides_request))
    }
}

/// Whether a name begins with [`OWN_PREFIX`], in any case and with `_` for `-`.
fn begins_as_ours(name: &[u8]) -> bool {
    let Some(start) = name.get(..OWN_PREFIX.len()) else {
        return false;
    };
    let plain = |byte: &u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    start.iter().map(plain).eq(OWN_PREFIX.iter().copied())
}

fn is_imitated(ours: &HeaderName, name: &[u8]) -> bool {
    core::str::from_utf8(name).is_ok_and(|name| ours.is_imitated_by(name))
}
