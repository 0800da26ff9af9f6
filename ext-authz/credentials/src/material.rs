//! What a credential consists of.

use attache_core::{header::HeaderName, secret::Secret};
use attache_policy::document::{Consistence, Part};

/// The parts of a credential. There is nothing of it in `Debug`, for it has none.
pub enum Material {
    /// One text: a token or a key.
    Token(Secret),
    /// A user name with its password.
    Pair {
        /// The user name.
        username: Secret,
        /// The password; may be empty.
        password: Secret,
    },
    /// Values of headers.
    Headers(Vec<(HeaderName, Secret)>),
}

impl Material {
    /// Which kind of credential it makes.
    pub const fn consistence(&self) -> Consistence {
        match self {
            Self::Token(_) => Consistence::Token,
            Self::Pair { .. } => Consistence::Pair,
            Self::Headers(_) => Consistence::Headers,
        }
    }

    /// A part of it, if it has that.
    pub fn part(&self, part: &Part) -> Option<&Secret> {
        match (self, part) {
            (Self::Token(token), Part::Token) => Some(token),
            (Self::Pair { username, .. }, Part::Username) => Some(username),
            (Self::Pair { password, .. }, Part::Password) => Some(password),
            (Self::Headers(headers), Part::Header(wanted)) => {
                let mut headers = headers.iter();
                let found = headers.find(|(name, _)| name == wanted);
                found.map(|(_, value)| value)
            }
            (Self::Token(_) | Self::Pair { .. } | Self::Headers(_), _) => None,
        }
    }
}
