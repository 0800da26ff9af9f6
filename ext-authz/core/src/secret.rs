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
    /// SECURITY: looks at every byte, so that the time it takes does not tell how much of a guess is right.
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.expose(), other.expose());
        let differing = one
            .bytes()
            .zip(other.bytes())
            .fold(0, |bits, (one, other)| bits | (one ^ other));
        one.len() == other.len() && differing == 0
    }
}

impl Eq for Secret {}
