//! A text that must not be seen: no `Debug`, no `Display`, no `Serialize`; wiped when dropped.

use alloc::string::String;

use zeroize::Zeroizing;

/// A token, key or password. It is read by [`Secret::expose`] alone, so that every use can be found.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; it is wiped on drop.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself: for signatures, headers and comparisons, never for a log or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        *self == *other.expose()
    }
}

impl PartialEq<str> for Secret {
    /// SECURITY: looks at every byte, so that the time it takes does not tell how much of a guess is right. Eight at a
    /// time, for whole tokens are compared on every request.
    fn eq(&self, other: &str) -> bool {
        let (one, other) = (self.expose().as_bytes(), other.as_bytes());
        let ((ours, our_rest), (theirs, their_rest)) = (one.as_chunks(), other.as_chunks());
        let words = ours.iter().zip(theirs);
        let differing = words.fold(0, |bits, (one, other)| {
            bits | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other))
        });
        let rest = our_rest.iter().zip(their_rest);
        let rest = rest.fold(0, |bits, (one, other)| bits | (one ^ other));
        one.len() == other.len() && differing | u64::from(rest) == 0
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests;
