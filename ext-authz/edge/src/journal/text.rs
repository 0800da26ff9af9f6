//! Text that came from a stranger, made safe to store and to show: what a terminal or a reader would
//! obey, reorder or hide comes out as a visible escape, and nothing is longer than its limit.

use std::fmt::Write as _;

use attache_core::{
    attributes::{AttributeValue, Attributes},
    event::{Event, TokenRequest},
};
use compact_str::CompactString;

/// Longest text field that an event keeps, in bytes.
pub const MAX_FIELD_BYTES: usize = 2048;

/// Room for `…(+<bytes left out> bytes)`.
const MARKER_BYTES: usize = 32;

/// `bytes` as text that may be printed anywhere, at most `max` bytes (and never fewer than 32).
///
/// Characters that [`is_printable`] refuses come out as `\u{1b}`, bytes that are not UTF-8 as
/// `\x{ff}`; what does not fit is replaced by `…(+123 bytes)`. A second pass changes nothing.
pub fn printable(bytes: &[u8], max: usize) -> CompactString {
    let max = max.max(MARKER_BYTES);
    if bytes.len() <= max
        && is_plain(bytes)
        && let Ok(text) = str::from_utf8(bytes)
    {
        return text.into();
    }
    let mut text = CompactString::with_capacity(bytes.len().min(max));
    // Where the text can be cut so that the marker still fits, and how many bytes are shown by then.
    let (mut cut, mut shown_at_cut, mut shown) = (0, 0, 0_usize);
    for piece in bytes.utf8_chunks() {
        let characters = piece.valid().chars().map(Piece::Character);
        for piece in characters.chain(piece.invalid().iter().copied().map(Piece::Byte)) {
            shown = shown.saturating_add(piece.write_to(&mut text));
            if text.len() > max {
                text.truncate(cut);
                let left_out = bytes.len().saturating_sub(shown_at_cut);
                // Writing to a text in memory cannot fail.
                let _ = write!(text, "…(+{left_out} bytes)");
                return text;
            }
            if text.len() <= max.saturating_sub(MARKER_BYTES) {
                (cut, shown_at_cut) = (text.len(), shown);
            }
        }
    }
    text
}

/// Whether every byte is a character that is shown as itself.
fn is_plain(bytes: &[u8]) -> bool {
    every(bytes, |byte| matches!(byte, b' '..=b'~'))
}

/// Whether `plain` holds for every byte: for nearly every text it does, and looked at in pieces of as many bytes as a
/// processor takes at once, that costs least.
pub(super) fn every(bytes: &[u8], plain: impl Fn(u8) -> bool) -> bool {
    let (pieces, rest) = bytes.as_chunks::<16>();
    let mut pieces = pieces.iter();
    pieces.all(|piece| piece.iter().fold(true, |all, byte| all & plain(*byte)))
        && rest.iter().all(|byte| plain(*byte))
}

/// Whether a character is shown as itself: no control character (C0, DEL, C1), no line separator, and
/// nothing that is invisible or changes the order of its neighbours (Unicode's
/// `Default_Ignorable_Code_Point` and `Bidi_Control`).
pub const fn is_printable(character: char) -> bool {
    let unsafe_on_a_terminal = matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}');
    !unsafe_on_a_terminal
}

/// Makes every text of an event printable and every number one that JSON can hold.
///
/// SECURITY: called on the way into the journal and again on the way out, so that neither a caller's
/// mistake nor a file that somebody edited reaches a terminal.
pub fn make_printable(event: &mut Event) {
    if !event.latency_ms.is_finite() {
        event.latency_ms = 0.0;
    }
    if let Some(attributes) = &mut event.attributes {
        make_attributes_printable(attributes);
    }
    for text in texts(event) {
        if text.len() > MAX_FIELD_BYTES || !is_plain(text.as_bytes()) {
            *text = printable(text.as_bytes(), MAX_FIELD_BYTES);
        }
    }
}

fn make_attributes_printable(attributes: &mut Attributes) {
    let plain = |text: &str| text.len() <= MAX_FIELD_BYTES && is_plain(text.as_bytes());
    let unlike =
        |(name, value): (&str, &AttributeValue)| !plain(name) || value.any(|text| !plain(text));
    if !attributes.iter().any(unlike) {
        return;
    }
    let shown = |text: &str| printable(text.as_bytes(), MAX_FIELD_BYTES);
    let mut printed = Attributes::new();
    for (name, value) in attributes.iter() {
        let value = match value {
            AttributeValue::One(text) => AttributeValue::One(shown(text)),
            AttributeValue::Many(texts) => {
                AttributeValue::Many(texts.iter().map(|text| shown(text)).collect())
            }
        };
        printed.insert(shown(name).into_string(), value);
    }
    *attributes = printed;
}

/// Every other text of an event.
#[expect(clippy::too_many_lines, reason = "a list of fields, one a line")]
fn texts(event: &mut Event) -> impl Iterator<Item = &mut CompactString> {
    // Every field is named, so that a new one cannot be forgotten here.
    let Event {
        event_id,
        timestamp: _,
        workload_svid,
        workload_type,
        target_service,
        policy_matched,
        token_issued: _,
        token_id,
        ttl_seconds: _,
        request_method,
        request_path,
        outcome: _,
        latency_ms: _,
        code,
        policy,
        trust_provider,
        credential_provider,
        audience,
        attribute,
        expected,
        actual,
        mode: _,
        would_be_outcome: _,
        would_be_policy,
        conditions,
        policy_revision,
        edge,
        listener,
        source_address,
        count: _,
        repeats,
        target_origin,
        attributes: _,
        attested_by,
        record: _,
        lease,
        reported,
        token_request,
    } = event;
    let always = [
        event_id,
        target_service,
        request_method,
        request_path,
        policy_revision,
        edge,
        listener,
    ];
    let sometimes = [
        workload_svid,
        workload_type,
        policy_matched,
        token_id,
        code,
        policy,
        trust_provider,
        credential_provider,
        audience,
        attribute,
        expected,
        actual,
        would_be_policy,
        source_address,
        repeats,
        target_origin,
        lease,
    ];
    let epoch = reported.iter_mut().map(|reported| &mut reported.epoch);
    let requested = token_request.iter_mut().flat_map(|request| {
        let TokenRequest {
            audience,
            resource,
            address,
        } = request;
        [audience, resource, address].into_iter().flatten()
    });
    let names = conditions.iter_mut().map(|condition| &mut condition.name);
    let sometimes = sometimes.into_iter().flatten();
    always
        .into_iter()
        .chain(sometimes)
        .chain(names)
        .chain(attested_by)
        .chain(epoch)
        .chain(requested)
}

/// What is printed at once.
enum Piece {
    /// A character.
    Character(char),
    /// A byte that is no UTF-8.
    Byte(u8),
}

impl Piece {
    /// Writes the piece; gives the number of bytes it stood for.
    fn write_to(self, text: &mut CompactString) -> usize {
        // Writing to a text in memory cannot fail.
        match self {
            Self::Character(character) if is_printable(character) => text.push(character),
            Self::Character(character) => {
                let _ = write!(text, "\\u{{{:x}}}", u32::from(character));
            }
            Self::Byte(byte) => {
                let _ = write!(text, "\\x{{{byte:02x}}}");
            }
        }
        match self {
            Self::Character(character) => character.len_utf8(),
            Self::Byte(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests;
