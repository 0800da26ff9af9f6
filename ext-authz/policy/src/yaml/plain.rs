//! The part of YAML that nearly every file is written in, read several times faster than all of YAML:
//! printable ASCII, mappings and lists by indentation, and within one line brackets and quoted texts. A file
//! that holds anything else is left to the parser, whole.
//!
//! INVARIANT: what is read here the parser reads in the same way, places included. The tests hold the two
//! against each other.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use saphyr_parser::{Event, Marker, ScalarStyle, Span};

use super::builder::Builder;

/// Longest line that is read here, well below the parser's limit for a key (YAML 1.2 §7.4.2).
const MAX_LINE_BYTES: usize = 1000;

/// The file holds something else, right or wrong.
pub(super) struct NotPlain;

/// Reads all documents of `text` into `builder`.
pub(super) fn read<'t>(text: &'t str, builder: &mut Builder<'t, '_>) -> Result<(), NotPlain> {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\n');
    if !text.bytes().all(is_plain) {
        return Err(NotPlain);
    }
    let mut reader = Reader {
        text,
        line: 0,
        index: 0,
        next: None,
        builder,
    };
    reader.advance()?;
    while let Some(line) = reader.next {
        if line.is_separator() {
            reader.advance()?;
        } else if line.column == 0 && line.begins_with_key() {
            reader.mapping(line)?;
            if reader.peek().is_some() {
                return Err(NotPlain);
            }
        } else {
            return Err(NotPlain);
        }
    }
    Ok(())
}

/// The rest of a line, and where it stands: line from 1, column and index from 0.
#[derive(Clone, Copy)]
struct Cursor<'t> {
    rest: &'t str,
    line: usize,
    column: usize,
    index: usize,
}

struct Reader<'t, 'b, 'r> {
    /// After the line `next`.
    text: &'t str,
    line: usize,
    index: usize,
    /// The next line that says something, from its first character that is no space.
    next: Option<Cursor<'t>>,
    builder: &'b mut Builder<'t, 'r>,
}

impl<'t> Reader<'t, '_, '_> {
    fn advance(&mut self) -> Result<(), NotPlain> {
        self.next = None;
        while self.next.is_none() && !self.text.is_empty() {
            let (line, after) = self.text.split_once('\n').unwrap_or((self.text, ""));
            let mut cursor = Cursor {
                rest: line,
                line: self.line.saturating_add(1),
                column: 0,
                index: self.index,
            };
            self.text = after;
            self.line = cursor.line;
            self.index = self.index.saturating_add(line.len()).saturating_add(1);
            cursor.skip_spaces();
            if line.len() > MAX_LINE_BYTES {
                return Err(NotPlain);
            }
            if !cursor.rest.is_empty() && !cursor.rest.starts_with('#') {
                self.next = Some(cursor);
            }
        }
        Ok(())
    }

    /// The next line of the document.
    fn peek(&self) -> Option<Cursor<'t>> {
        self.next.filter(|line| !line.is_separator())
    }

    fn event(&mut self, event: Event<'t>, span: Span) -> Result<(), NotPlain> {
        self.builder.event(event, span).map_err(|_stop| NotPlain)
    }

    fn scalar(&mut self, text: &'t str, span: Span, style: ScalarStyle) -> Result<(), NotPlain> {
        let event = Event::Scalar(Cow::Borrowed(text), style, 0, None);
        self.event(event, span)
    }

    /// The mapping whose first key stands at `first`.
    fn mapping(&mut self, first: Cursor<'t>) -> Result<(), NotPlain> {
        let span = Span::empty(first.marker());
        self.event(Event::MappingStart(0, None), span)?;
        let mut line = first;
        loop {
            let (key, key_span) = line.take(line.key_length()?)?;
            self.scalar(key, key_span, ScalarStyle::Plain)?;
            line.take(1)?;
            if line.is_over() {
                self.advance()?;
                let below = self.peek().ok_or(NotPlain)?;
                if below.column > first.column {
                    self.block(below)?;
                } else if below.column == first.column && below.is_item() {
                    // The parser places a list that is not indented where its first value stands.
                    self.list(below, below.in_item()?.marker())?;
                } else {
                    return Err(NotPlain);
                }
            } else {
                line.skip_spaces();
                self.last_value(line)?;
            }
            match self.peek() {
                Some(next) if next.column == first.column => line = next,
                Some(next) if next.column > first.column => return Err(NotPlain),
                Some(_) | None => break,
            }
        }
        self.event(Event::MappingEnd, span)
    }

    /// The list whose first `-` stands at `first`.
    fn list(&mut self, first: Cursor<'t>, start: Marker) -> Result<(), NotPlain> {
        let span = Span::empty(start);
        self.event(Event::SequenceStart(0, None), span)?;
        let mut line = first;
        loop {
            self.block(line.in_item()?)?;
            match self.peek() {
                Some(next) if next.column == first.column && next.is_item() => line = next,
                Some(next) if next.column > first.column => return Err(NotPlain),
                Some(_) | None => break,
            }
        }
        self.event(Event::SequenceEnd, span)
    }

    /// What stands at `at` and perhaps in the lines below it.
    fn block(&mut self, at: Cursor<'t>) -> Result<(), NotPlain> {
        if at.is_item() {
            self.list(at, at.marker())
        } else if at.begins_with_key() {
            self.mapping(at)
        } else {
            self.last_value(at)
        }
    }

    /// The value that the rest of a line is.
    fn last_value(&mut self, mut at: Cursor<'t>) -> Result<(), NotPlain> {
        self.value(&mut at, Within::Line)?;
        if !at.is_over() {
            return Err(NotPlain);
        }
        self.advance()
    }

    fn value(&mut self, at: &mut Cursor<'t>, within: Within) -> Result<(), NotPlain> {
        match at.rest.bytes().next() {
            Some(b'[') => self.bracketed_list(at),
            Some(b'{') => self.bracketed_mapping(at),
            _ => self.text(at, within),
        }
    }

    fn text(&mut self, at: &mut Cursor<'t>, within: Within) -> Result<(), NotPlain> {
        let first = at.rest.bytes().next().ok_or(NotPlain)?;
        let style = match first {
            b'"' => ScalarStyle::DoubleQuoted,
            b'\'' => ScalarStyle::SingleQuoted,
            _ if begins_text(first) => {
                let (text, span) = at.take(plain_length(at.rest, within))?;
                return self.scalar(text, span, ScalarStyle::Plain);
            }
            _ => return Err(NotPlain),
        };
        let mut inside = *at;
        inside.take(1)?;
        let quote = char::from(first);
        let length = inside.rest.find(quote).ok_or(NotPlain)?;
        let (text, _) = inside.take(length)?;
        let (_, span) = at.take(length.saturating_add(2))?;
        if text.contains('\\') || at.rest.starts_with([quote, ' ']) {
            return Err(NotPlain);
        }
        self.scalar(text, span, style)
    }

    fn bracketed_list(&mut self, at: &mut Cursor<'t>) -> Result<(), NotPlain> {
        let (_, span) = at.take(1)?;
        self.event(Event::SequenceStart(0, None), span)?;
        at.skip_spaces();
        if !at.rest.starts_with(']') {
            loop {
                self.value(at, Within::Brackets)?;
                at.skip_spaces();
                if !at.rest.starts_with(',') {
                    break;
                }
                at.take(1)?;
                at.skip_spaces();
            }
        }
        let span = at.closing("]")?;
        self.event(Event::SequenceEnd, span)
    }

    fn bracketed_mapping(&mut self, at: &mut Cursor<'t>) -> Result<(), NotPlain> {
        let (_, span) = at.take(1)?;
        self.event(Event::MappingStart(0, None), span)?;
        at.skip_spaces();
        if !at.rest.starts_with('}') {
            loop {
                self.text(at, Within::Brackets)?;
                if !at.rest.starts_with(": ") {
                    return Err(NotPlain);
                }
                at.take(1)?;
                at.skip_spaces();
                self.value(at, Within::Brackets)?;
                at.skip_spaces();
                if !at.rest.starts_with(',') {
                    break;
                }
                at.take(1)?;
                at.skip_spaces();
            }
        }
        let span = at.closing("}")?;
        self.event(Event::MappingEnd, span)
    }
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Line,
    Brackets,
}

impl<'t> Cursor<'t> {
    fn marker(&self) -> Marker {
        Marker::new(self.index, self.line, self.column)
    }

    fn take(&mut self, bytes: usize) -> Result<(&'t str, Span), NotPlain> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(NotPlain)?;
        let start = self.marker();
        self.rest = rest;
        self.column = self.column.saturating_add(bytes);
        self.index = self.index.saturating_add(bytes);
        Ok((taken, Span::new(start, self.marker())))
    }

    fn closing(&mut self, bracket: &str) -> Result<Span, NotPlain> {
        let (found, span) = self.take(1)?;
        if found == bracket {
            Ok(span)
        } else {
            Err(NotPlain)
        }
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest.trim_start_matches(' ');
        let spaces = self.rest.len().saturating_sub(rest.len());
        self.rest = rest;
        self.column = self.column.saturating_add(spaces);
        self.index = self.index.saturating_add(spaces);
    }

    /// Whether nothing follows but a comment.
    fn is_over(&self) -> bool {
        let rest = self.rest.trim_start_matches(' ');
        rest.is_empty() || (rest.starts_with('#') && self.rest.starts_with(' '))
    }

    fn is_separator(&self) -> bool {
        self.column == 0 && self.rest.trim_end_matches(' ') == "---"
    }

    /// What follows `- `.
    fn in_item(mut self) -> Result<Self, NotPlain> {
        self.take(1)?;
        self.skip_spaces();
        Ok(self)
    }

    fn is_item(&self) -> bool {
        self.rest.starts_with("- ")
    }

    fn begins_with_key(&self) -> bool {
        self.key_length().is_ok()
    }

    /// How many bytes the key before `: ` has.
    fn key_length(&self) -> Result<usize, NotPlain> {
        let mut bytes = self.rest.bytes();
        let first = bytes.next().filter(|byte| begins_text(*byte));
        let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./".contains(byte);
        let more = bytes.by_ref().take_while(inside).count();
        let length = first.map(|_| more.saturating_add(1)).ok_or(NotPlain)?;
        match self.rest.get(length..).map(str::as_bytes) {
            Some([b':'] | [b':', b' ', ..]) => Ok(length),
            Some(_) | None => Err(NotPlain),
        }
    }
}

/// Whether a text without quotes can begin so, and be nothing but a text. Others can as well.
const fn begins_text(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_')
}

/// How long the text without quotes is that `rest` begins with.
fn plain_length(rest: &str, within: Within) -> usize {
    let is_bracket = |byte: u8| b",[]{}".contains(&byte) && within == Within::Brackets;
    let mut before = b' ';
    let mut bytes = rest.bytes().enumerate().peekable();
    while let Some((place, byte)) = bytes.next() {
        let after = bytes.peek().map_or(b' ', |(_, after)| *after);
        let ends = is_bracket(byte)
            || (byte == b':' && (after == b' ' || is_bracket(after)))
            || (byte == b'#' && before == b' ');
        if ends {
            let text = rest.get(..place).unwrap_or_default();
            return text.trim_end_matches(' ').len();
        }
        before = byte;
    }
    rest.trim_end_matches(' ').len()
}
