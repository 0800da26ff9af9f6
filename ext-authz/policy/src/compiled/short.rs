//! A key that lies in the table itself if it is short, so that a lookup reads it where it finds it.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
};

/// Longest text kept in place. With its length and a few bytes of what it leads to, an entry fills one line of a
/// cache.
const IN_PLACE: usize = 46;

/// A text, compared by its bytes.
#[derive(Debug)]
pub(super) enum Short {
    InPlace { length: u8, bytes: [u8; IN_PLACE] },
    Elsewhere(Box<[u8]>),
}

impl Short {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut bytes = [0; IN_PLACE];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text);
                Self::InPlace { length, bytes }
            }
            _ => Self::Elsewhere(text.into()),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::InPlace { length, bytes } => {
                bytes.get(..usize::from(*length)).unwrap_or_default()
            }
            Self::Elsewhere(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for Short {
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

// INVARIANT: as `[u8]` is hashed and compared, by which entries are looked up.
impl Hash for Short {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl PartialEq for Short {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Short {}
