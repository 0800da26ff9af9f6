//! Text for people, made of what strangers wrote.

use std::borrow::Cow;

use super::secret;

/// How much of a value a message repeats, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// How long a message may be, in characters.
const MAX_MESSAGE_CHARS: usize = 2_000;

/// How many names a suggestion is searched among; a larger set gets none.
const MAX_CANDIDATES: usize = 10_000;

/// SECURITY: whether a terminal could take the character for an order (control characters, escape
/// sequences) or show the text in another order than it has (bidirectional and invisible characters).
pub(crate) fn is_unprintable(letter: char) -> bool {
    if matches!(letter, ' '..='~') {
        return false;
    }
    // Rust escapes exactly what is not printable, and a combining mark only where it would come first.
    let after_another = String::from_iter(['a', letter]);
    after_another.escape_debug().nth(1) == Some('\\')
}

/// `text` with everything escaped that is not printable, line breaks too, and cut where it is very long: safe
/// on a terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_short = text.len() <= MAX_MESSAGE_CHARS;
    if is_short && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len().min(MAX_MESSAGE_CHARS));
    let mut letters = text.chars();
    for letter in letters.by_ref().take(MAX_MESSAGE_CHARS) {
        if is_unprintable(letter) {
            shown.extend(letter.escape_debug());
        } else {
            shown.push(letter);
        }
    }
    if letters.next().is_some() {
        shown.push('…');
    }
    Cow::Owned(shown)
}

/// `value` in double quotes, escaped and cut where it is long: safe on a terminal. What looks like a
/// secret is left out.
pub fn quoted(value: &str) -> String {
    if secret::is_secret(value) {
        return format!("\"{}\"", secret::HIDDEN);
    }
    let mut chars = value.chars();
    let shown: String = chars.by_ref().take(MAX_QUOTED_CHARS).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("{shown:?}{rest}")
}

/// `did you mean "…"?` with the candidate that is nearest to `word`, if one is near.
pub fn did_you_mean<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    let tolerance = (word.chars().count() / 3).clamp(1, 3);
    let folded = word.to_lowercase();
    let mut nearest: Option<(usize, &str)> = None;
    for (position, candidate) in candidates.into_iter().enumerate() {
        if position >= MAX_CANDIDATES {
            return None;
        }
        if candidate.len().abs_diff(word.len()) > tolerance {
            continue;
        }
        let distance = strsim::osa_distance(&folded, &candidate.to_lowercase());
        if distance <= tolerance && nearest.is_none_or(|best| (distance, candidate) < best) {
            nearest = Some((distance, candidate));
        }
    }
    nearest.map(|(_, candidate)| format!("did you mean {}?", quoted(candidate)))
}
