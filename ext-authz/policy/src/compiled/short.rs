//! A key that lies in the table itself if it is short, so that a lookup reads it where it finds it.

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
