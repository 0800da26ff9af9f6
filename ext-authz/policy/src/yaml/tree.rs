//! From bytes to nodes with places. Built on the parser's events, because a ready-made loader recurses
//! as deep as its input says and stops at the first repeated key.

use std::{borrow::Cow, str, sync::Arc};

use saphyr_parser::Parser;
use serde_json::Number;

use super::{
    builder::{Builder, Stop},
    plain, scalar,
    surrogates::{self, Joined},
};
use crate::problem::{Code, Place, Report, Spot};

/// Largest file read, in bytes.
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
/// How deep mappings and lists may be nested. Whatever walks a node may recurse.
pub const MAX_DEPTH: usize = 32;

/// A value with the place of its first character and the one after its last.
#[derive(Clone, Debug)]
pub(crate) struct Node<'t> {
    pub(crate) value: Value<'t>,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) end: Position,
}

/// Line and column, from 1.
pub(crate) type Position = (u32, u32);

#[derive(Clone, Debug)]
pub(crate) enum Value<'t> {
    /// Nearly every text stands in the file as it is meant.
    Scalar {
        text: Cow<'t, str>,
        style: Style,
    },
    List(Vec<Node<'t>>),
    Mapping(Vec<Entry<'t>>),
}

/// Only a plain scalar can be a number, a truth value or nothing (YAML 1.2 §10.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry<'t> {
    /// A scalar, taken as text.
    pub(crate) key: Node<'t>,
    pub(crate) node: Node<'t>,
}

impl Entry<'_> {
    pub(crate) fn name(&self) -> &str {
        self.key.scalar_text().unwrap_or_default()
    }
}

impl Node<'_> {
    /// The same, with its texts. Recursion ends at [`MAX_DEPTH`].
    fn into_owned(self) -> Node<'static> {
        let value = match self.value {
            Value::Scalar { text, style } => Value::Scalar {
                text: Cow::Owned(text.into_owned()),
                style,
            },
            Value::List(items) => Value::List(items.into_iter().map(Node::into_owned).collect()),
            Value::Mapping(entries) => {
                let entry = |entry: Entry<'_>| Entry {
                    key: entry.key.into_owned(),
                    node: entry.node.into_owned(),
                };
                Value::Mapping(entries.into_iter().map(entry).collect())
            }
        };
        Node {
            value,
            line: self.line,
            column: self.column,
            end: self.end,
        }
    }

    /// Where it stands.
    pub(crate) fn spot(&self, file: &Arc<str>) -> Spot {
        Spot {
            file: Arc::clone(file),
            line: self.line,
            column: self.column,
            end: self.end,
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        match &self.value {
            Value::Scalar {
                text,
                style: Style::Plain,
            } => is_null(text),
            Value::Scalar {
                style: Style::Quoted,
                ..
            }
            | Value::List(_)
            | Value::Mapping(_) => false,
        }
    }

    /// The text of a scalar, whatever its style.
    pub(crate) fn scalar_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Mapping(_) => None,
        }
    }

    /// Whether a text in it, keys apart, is one that `find` accepts.
    pub(super) fn has_text(&self, find: fn(&str) -> bool) -> bool {
        match &self.value {
            Value::Scalar { text, .. } => find(text),
            Value::List(items) => items.iter().any(|item| item.has_text(find)),
            Value::Mapping(entries) => entries.iter().any(|entry| entry.node.has_text(find)),
        }
    }

    /// As JSON. Recursion ends at [`MAX_DEPTH`].
    pub(super) fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Scalar {
                text,
                style: Style::Plain,
            } if is_null(text) => serde_json::Value::Null,
            Value::Scalar {
                text,
                style: Style::Plain,
            } => plain_json(text),
            Value::Scalar {
                text,
                style: Style::Quoted,
            } => serde_json::Value::String(text.clone().into_owned()),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Mapping(entries) => {
                let member = |entry: &Entry| (entry.name().to_owned(), entry.node.json());
                serde_json::Value::Object(entries.iter().map(member).collect())
            }
        }
    }

    /// How many nodes it holds and how deep they are nested, itself included.
    pub(super) fn extent(&self) -> (usize, usize) {
        let inside = |children: &mut dyn Iterator<Item = &Self>| {
            children
                .map(Self::extent)
                .fold((1_usize, 0_usize), |(nodes, depth), (more, deeper)| {
                    (nodes.saturating_add(more), depth.max(deeper))
                })
        };
        let (nodes, depth): (usize, usize) = match &self.value {
            Value::Scalar { .. } => (1, 0),
            Value::List(items) => inside(&mut items.iter()),
            Value::Mapping(entries) => inside(&mut entries.iter().map(|entry| &entry.node)),
        };
        (nodes, depth.saturating_add(1))
    }
}

/// A plain scalar that is not nothing, by the core schema as far as JSON has it.
fn plain_json(text: &str) -> serde_json::Value {
    match scalar::non_text(text) {
        None => serde_json::Value::String(text.to_owned()),
        Some("a truth value") => serde_json::Value::Bool(text.eq_ignore_ascii_case("true")),
        Some(_number) => text
            .parse::<Number>()
            .ok()
            .or_else(|| Number::from_f64(text.parse().ok()?))
            .map_or(serde_json::Value::Null, serde_json::Value::Number),
    }
}

pub(crate) fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}

/// Reads the documents of a file, without those that say nothing, one after the other, so that no more than one
/// is in memory: what `read` makes of each. After a syntax error the documents before it are still read, so that
/// their problems are told in the same run.
pub(crate) fn read_each<'t, T>(
    file: &Arc<str>,
    bytes: &'t [u8],
    report: &Report,
    read: impl Fn(Node<'t>, &Report) -> T,
) -> Vec<T> {
    let whole = Place {
        file: file.clone(),
        ..Place::default()
    };
    if bytes.len() > MAX_FILE_BYTES {
        let message = format!("larger than {MAX_FILE_BYTES} bytes");
        let way_out = Some("split it".to_owned());
        report.error_with(whole, Code::FileTooLarge, message, way_out);
        return Vec::new();
    }
    // SECURITY: whoever writes a file in place empties it first; without its denies the set would be
    // another one for a moment.
    if bytes.iter().all(u8::is_ascii_whitespace) {
        let message = "the file is empty, as one is that is just being written";
        let way_out = Some("write documents or a comment into it, or remove it".to_owned());
        let start = Place {
            line: 1,
            column: 1,
            end_line: 1,
            end_column: 1,
            ..whole
        };
        report.error_with(start, Code::EmptyFile, message, way_out);
        return Vec::new();
    }
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            refuse_bytes(whole, bytes, error.valid_up_to(), report);
            return Vec::new();
        }
    };
    if let Some((text, joined)) = surrogates::join(file, text) {
        // What is read of it does not stand in the file.
        let read = |node: Node<'_>, report: &Report| read(node.into_owned(), report);
        return parsed(file, (&text, joined), report, read);
    }
    let rest = || parsed(file, (text, Joined::none()), report, &read);
    plain(file, text, report, &read).unwrap_or_else(rest)
}

/// The documents of a file that holds nothing out of the ordinary; `None` of any other.
pub(super) fn plain<'t, T>(
    file: &Arc<str>,
    text: &'t str,
    report: &Report,
    read: impl Fn(Node<'t>, &Report) -> T,
) -> Option<Vec<T>> {
    // What is read of a file that turns out to be another is not told.
    let own_report = Report::new();
    let mut documents = Vec::new();
    let mut keep = |node| documents.push(read(node, &own_report));
    let mut builder = Builder::new(Arc::clone(file), &own_report, &mut keep);
    plain::read(text, &mut builder).ok()?;
    report.absorb(own_report);
    Some(documents)
}

/// The documents of any file.
pub(super) fn parsed<'t, T>(
    file: &Arc<str>,
    (text, joined): (&'t str, Joined),
    report: &Report,
    read: impl Fn(Node<'t>, &Report) -> T,
) -> Vec<T> {
    let mut documents = Vec::new();
    let mut keep = |node| documents.push(read(node, report));
    let mut builder = Builder::new(Arc::clone(file), report, &mut keep).joined(joined);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => {
                builder.syntax_error(&error);
                Err(Stop)
            }
        };
        if step.is_err() {
            break;
        }
    }
    documents
}

/// `valid` bytes of `bytes` are UTF-8.
fn refuse_bytes(whole: Place, bytes: &[u8], valid: usize, report: &Report) {
    let valid = bytes.get(..valid).unwrap_or_default();
    let lines = valid.iter().filter(|byte| **byte == b'\n').count();
    let last = valid
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    // Each character has one byte that does not continue another.
    let columns = last.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
    let (line, column) = (lines.saturating_add(1), columns.saturating_add(1));
    let place = Place {
        line,
        column,
        end_line: line,
        end_column: column.saturating_add(1),
        ..whole
    };
    let utf16 = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    let message = if utf16 {
        "UTF-16, not UTF-8"
    } else {
        "not UTF-8"
    };
    let way_out = Some("save the file as UTF-8".to_owned());
    report.error_with(place, Code::NotUtf8, message, way_out);
}
