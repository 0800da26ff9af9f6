//! A request's header as Envoy has it, read once: what must not reach the application as it came is found by
//! the name it would be read under.

use attache_core::{header::HeaderName, request::overrides_request};

use crate::pairs::{self, Pair, Pairs};

/// Our own headers; a client's are removed from every request.
const OWN_PREFIX: &[u8] = b"x-attache-";

/// All headers of a request, pseudo-headers among them.
pub(crate) struct Headers<'a> {
    all: Pairs<'a>,
    method: Lone<'a>,
    path: Lone<'a>,
    authority: Lone<'a>,
    survey: Survey<'a>,
}

/// A header that says something only if it stands once.
#[derive(Clone, Copy)]
enum Lone<'a> {
    Absent,
    Once(&'a [u8]),
    Again,
}

/// What the names of a request's headers tell.
#[derive(Default)]
pub(crate) struct Survey<'a> {
    protected: Names<'a>,
    /// Whether one of them is spelled with `_`.
    pub(crate) imitates: bool,
    /// Whether an application may take another method or path from one than the request's own.
    pub(crate) overrides: bool,
    /// Whether the request asks for another protocol.
    pub(crate) upgrades: bool,
    /// Whether there is `host` beside the authority.
    pub(crate) hosts: bool,
}

/// Names, each once. The first few take no memory of their own.
#[derive(Default)]
struct Names<'a> {
    few: [&'a [u8]; 4],
    count: usize,
    more: Vec<&'a [u8]>,
}

impl<'a> Names<'a> {
    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let few = self.few.iter().take(self.count);
        few.chain(&self.more).copied()
    }

    fn add(&mut self, name: &'a [u8]) {
        if self.iter().any(|other| other == name) {
            return;
        }
        match self.few.get_mut(self.count) {
            Some(free) => {
                *free = name;
                self.count = self.count.saturating_add(1);
            }
            None => self.more.push(name),
        }
    }
}

/// Headers that never go on as they came, beside ours.
#[derive(Debug)]
pub(crate) struct Protected {
    names: Vec<HeaderName>,
    /// Which bytes the names begin with that are worth a look: most headers are told by their first byte.
    starts: [bool; 256],
}

impl Default for Protected {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Protected {
    pub(crate) fn new(names: Vec<HeaderName>) -> Self {
        let mut starts = [false; 256];
        // Pseudo-headers, `host`, `upgrade`, `x-attache-…` and what overrides.
        let mut worth = b":hHuUxX".to_vec();
        for first in names.iter().filter_map(|name| name.as_str().bytes().next()) {
            worth.extend([first, first.to_ascii_uppercase()]);
            if first == b'-' {
                worth.push(b'_');
            }
        }
        for byte in worth {
            if let Some(start) = starts.get_mut(usize::from(byte)) {
                *start = true;
            }
        }
        Self { names, starts }
    }

    /// Whether an application may read `name` as one of them, or as one of ours.
    pub(crate) fn take(&self, name: &[u8]) -> bool {
        begins_as_ours(name) || self.names.iter().any(|ours| ours.is_imitated_by(name))
    }

    /// Whether a header of this name may be one of them, or any other that is looked for.
    fn concern(&self, name: &[u8]) -> bool {
        let first = name.first().copied().map(usize::from);
        first.and_then(|first| self.starts.get(first)) == Some(&true)
    }
}

impl<'a> Lone<'a> {
    fn note(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::Once(value),
            Self::Once(_) | Self::Again => Self::Again,
        };
    }

    fn text(self) -> Option<&'a str> {
        match self {
            Self::Once(value) => core::str::from_utf8(value).ok(),
            Self::Absent | Self::Again => None,
        }
    }
}

impl<'a> Headers<'a> {
    /// Reads what [`crate::host::Host::headers`] answered.
    pub(crate) fn read(serialised: &'a [u8], protected: &Protected) -> Option<Self> {
        let (mut method, mut path, mut authority) = (Lone::Absent, Lone::Absent, Lone::Absent);
        let mut survey = Survey::default();
        let all = pairs::read(serialised, |(name, value)| {
            if !protected.concern(name) {
                return;
            }
            match name {
                b":method" => method.note(value),
                b":path" => path.note(value),
                b":authority" => authority.note(value),
                [b':', ..] => {}
                name => survey.note(name, protected),
            }
        })?;
        Some(Self {
            all,
            method,
            path,
            authority,
            survey,
        })
    }

    /// The method, if it stands once and is text.
    pub(crate) fn method(&self) -> Option<&'a str> {
        self.method.text()
    }

    /// The path with its query, if it stands once and is text.
    pub(crate) fn path(&self) -> Option<&'a str> {
        self.path.text()
    }

    /// The authority, if it stands once and is text.
    pub(crate) fn authority(&self) -> Option<&'a str> {
        self.authority.text()
    }

    /// What the names tell.
    pub(crate) const fn survey(&self) -> &Survey<'a> {
        &self.survey
    }

    /// The values of a header, in order; its name in lower case.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |(key, _): &Pair<'_>| *key == name.as_bytes();
        self.all.iter().filter(named).map(|(_, value)| value)
    }

    /// Whether there is a header of this name, which is in lower case.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.all.iter().any(|(key, _)| key == name)
    }

    /// The value of a header that stands once and is text.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let mut lone = Lone::Absent;
        self.values(name).for_each(|value| lone.note(value));
        lone.text()
    }

    /// All headers but the pseudo-headers, in order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Pair<'a>> {
        let all = self.all.iter();
        all.filter(|(name, _)| !name.starts_with(b":"))
    }
}

impl<'a> Survey<'a> {
    /// The names of headers that are ours or protected, in any spelling.
    pub(crate) fn protected(&self) -> impl Iterator<Item = &'a [u8]> {
        self.protected.iter()
    }

    fn note(&mut self, name: &'a [u8], protected: &Protected) {
        self.hosts |= name == b"host";
        self.upgrades |= name == b"upgrade";
        self.overrides |= overrides_request(name);
        if protected.take(name) {
            self.imitates |= name.contains(&b'_');
            self.protected.add(name);
        }
    }
}

/// Whether a name begins with [`OWN_PREFIX`], in any case and with `_` for `-`.
pub(crate) fn begins_as_ours(name: &[u8]) -> bool {
    // Most begin otherwise.
    if !matches!(name, [b'x' | b'X', b'-' | b'_', b'a' | b'A', ..]) {
        return false;
    }
    let Some(start) = name.get(..OWN_PREFIX.len()) else {
        return false;
    };
    let plain = |byte: &u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    start == OWN_PREFIX || start.iter().map(plain).eq(OWN_PREFIX.iter().copied())
}
