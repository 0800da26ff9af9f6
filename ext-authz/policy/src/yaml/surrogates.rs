//! Characters that JSON escapes in two halves (`"\\ud83d\\ude00"`, RFC 8259 §7), which YAML does not join: in a file
//! that is JSON each pair becomes the one escape that YAML has for it.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::tree::Position;

/// How many bytes an escape has: `\\ud83d`.
const ESCAPE: usize = 6;
/// How many bytes shorter `\\U0001f600` is than two of them.
const SHORTER_BY: u32 = 2;

/// Where pairs were joined, so that places are those of the file as it is written.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// Line and column after each, as the text has them that is read; in order.
    places: Vec<Position>,
}

impl Joined {
    pub(super) const fn none() -> Self {
        Self { places: Vec::new() }
    }

    /// The place in the file of what stands at a place of the text that is read.
    pub(super) fn written(&self, (line, column): Position) -> Position {
        if self.places.is_empty() {
            return (line, column);
        }
        let end = self
            .places
            .partition_point(|place| *place <= (line, column));
        let before = self.places.iter().take(end).rev();
        let joined = before
            .take_while(|(joined_in, _)| *joined_in == line)
            .count();
        let shift = u32::try_from(joined)
            .unwrap_or(u32::MAX)
            .saturating_mul(SHORTER_BY);
        (line, column.saturating_add(shift))
    }
}

/// `text` with its pairs joined; `None` if it has none, or is no JSON by its name and content.
pub(super) fn join(name: &str, text: &str) -> Option<(String, Joined)> {
    let (_, extension) = name.rsplit_once('.')?;
    if !extension.eq_ignore_ascii_case("json") || !text.contains("\\u") {
        return None;
    }
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let (mut read, mut joined) = (String::with_capacity(text.len()), Joined::default());
    let (mut rest, mut line, mut column) = (text, 1_u32, 1_u32);
    // In JSON a backslash stands in texts alone, and begins an escape.
    while let Some(next) = rest.chars().next() {
        let (piece, after) = piece(rest, next);
        for letter in piece.chars() {
            (line, column) = match letter {
                '\n' => (line.saturating_add(1), 1),
                _ => (line, column.saturating_add(1)),
            };
        }
        if let Cow::Owned(_) = piece {
            joined.places.push((line, column));
        }
        read.push_str(&piece);
        rest = after;
    }
    (!joined.places.is_empty()).then_some((read, joined))
}

/// The next character or escape, as it is to be read, and what follows it.
fn piece(rest: &str, next: char) -> (Cow<'_, str>, &str) {
    let pair = || {
        let (high, after) = rest.split_at_checked(ESCAPE)?;
        let (low, after) = after.split_at_checked(ESCAPE)?;
        let units = [unit(high)?, unit(low)?];
        let letter = char::decode_utf16(units).next()?.ok()?;
        let is_pair = letter.len_utf16() == 2;
        is_pair.then(|| (Cow::Owned(format!("\\U{:08x}", u32::from(letter))), after))
    };
    let length = match next {
        '\\' => match pair() {
            Some(pair) => return pair,
            None => 2,
        },
        _ => next.len_utf8(),
    };
    let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
    (Cow::Borrowed(piece), after)
}

fn unit(escape: &str) -> Option<u16> {
    u16::from_str_radix(escape.strip_prefix("\\u")?, 16).ok()
}
