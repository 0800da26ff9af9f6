//! What access conditions may read of a call beside the request itself. All of it is brought by the
//! caller: nothing here reads a clock, a socket or a file.

use std::{fmt, net::IpAddr};

use attache_core::time::Timestamp;

/// The circumstances of one call.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// When it is decided.
    pub now: Timestamp,
    /// Where the call comes from; `None` if that is not known for certain.
    pub source: Option<IpAddr>,
    /// Where addresses are.
    pub geography: &'a dyn Geography,
    /// What stands after `?`, as sent; empty if nothing does.
    pub query: &'a str,
    /// Names in lower case, duplicates apart; `None` if they are not known.
    pub headers: Option<&'a [(&'a str, &'a [u8])]>,
}

/// Knows in which country an address is.
pub trait Geography: Send + Sync {
    /// `None` if it is not known.
    fn locate(&self, address: IpAddr) -> Option<Location>;
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// In which country.
    pub country: Country,
    /// The first moment at which this is too old to be relied on.
    pub good_until: Timestamp,
}

/// A country's code of two letters (ISO 3166-1 alpha-2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// No address is anywhere: for an edge without a database.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl Geography for Nowhere {
    fn locate(&self, _address: IpAddr) -> Option<Location> {
        None
    }
}

impl Context<'static> {
    /// A call of which nothing is known but when it is decided.
    pub const fn at(now: Timestamp) -> Self {
        Self {
            now,
            source: None,
            geography: &Nowhere,
            query: "",
            headers: Some(&[]),
        }
    }
}

/// What a client sends may be a secret, and is not shown.
impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("now", &self.now)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Country {
    /// Reads two capital letters. Whether a country has that code is not asked: a database may be newer
    /// than this program.
    pub fn parse(code: &str) -> Option<Self> {
        let letters: [u8; 2] = code.as_bytes().try_into().ok()?;
        letters
            .iter()
            .all(u8::is_ascii_uppercase)
            .then_some(Self(letters))
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
