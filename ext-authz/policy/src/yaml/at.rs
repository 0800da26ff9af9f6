//! Typed reading of nodes: each accessor either gives a value or reports a problem with its place, so
//! that a whole document is checked in one pass.

use std::{fmt::Display, ops::RangeInclusive, rc::Rc, sync::Arc, time::Duration};

use super::{
    fields::{Fields, join},
    scalar,
    tree::{self, Entry, Node, Style, Value},
};
use crate::problem::{Code, Place, Report, did_you_mean, quoted};

/// A file that was read, as far as it is YAML.
pub struct File<'r> {
    name: Arc<str>,
    nodes: Vec<Node>,
    report: &'r Report,
}

impl<'r> File<'r> {
    /// Reads `bytes`; `name` stands in messages. Empty documents are left out.
    pub fn read(name: &str, bytes: &[u8], report: &'r Report) -> Self {
        let name: Arc<str> = name.into();
        let nodes = tree::documents(&name, bytes, report);
        Self {
            name,
            nodes,
            report,
        }
    }

    /// The documents in order.
    pub fn documents(&self) -> impl Iterator<Item = At<'_>> {
        let nameless: Rc<str> = "".into();
        self.nodes.iter().map(move |node| At {
            file: self,
            node,
            document: nameless.clone(),
            path: String::new(),
        })
    }
}

/// A value and where it stands. Every accessor gives `None` after it reported a problem.
#[derive(Clone)]
pub struct At<'a> {
    file: &'a File<'a>,
    node: &'a Node,
    document: Rc<str>,
    path: String,
}

impl<'a> At<'a> {
    /// The same value in a document that messages call `label`: `AccessPolicy payment-to-stripe`.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Self {
        Self {
            document: label.into(),
            ..self.clone()
        }
    }

    /// Where the value stands.
    pub fn place(&self) -> Place {
        let (document, path) = (&self.document, &self.path);
        let separator = if document.is_empty() || path.is_empty() {
            ""
        } else {
            ": "
        };
        let path = format!("{document}{separator}{path}");
        let Node { line, column, .. } = self.node;
        Place {
            file: self.file.name.clone(),
            line: *line,
            column: *column,
            path,
        }
    }

    /// Reports an error here. Gives `None`, so that it can end an accessor.
    pub fn refuse<T>(&self, code: Code, message: impl Into<String>) -> Option<T> {
        self.file.report.error(self.place(), code, message);
        None
    }

    /// Reports an error here, with the way out.
    pub fn refuse_with<T>(
        &self,
        code: Code,
        message: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Option<T> {
        self.file
            .report
            .error_with(self.place(), code, message, Some(way_out.into()));
        None
    }

    /// Where problems with the value go.
    pub const fn report(&self) -> &'a Report {
        self.file.report
    }

    /// Whether it is a mapping; reports nothing.
    pub const fn is_mapping(&self) -> bool {
        matches!(self.node.value, Value::Mapping(_))
    }

    /// Whether it is a list; reports nothing.
    pub const fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// A mapping with known fields.
    pub fn fields(&self) -> Option<Fields<'a>> {
        let entries = self.mapping()?;
        Some(Fields::new(self.clone(), entries))
    }

    /// A mapping whose keys are the user's: `read` sees each key, a text, and what stands under it.
    /// `None` if any was refused.
    pub fn entries<T>(&self, read: impl Fn(&Self, &Self) -> Option<T>) -> Option<Vec<T>> {
        let entries = self.mapping()?;
        let values: Vec<_> = entries
            .iter()
            .map(|entry| {
                let value = self.child(entry.name(), &entry.node);
                read(
                    &Self {
                        node: &entry.key,
                        ..value.clone()
                    },
                    &value,
                )
            })
            .collect();
        values.into_iter().collect()
    }

    /// A list, which may be empty. `None` if any item was refused.
    pub fn list<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        let Value::List(items) = &self.node.value else {
            return self.wrong_type("a list");
        };
        let values: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, node)| {
                read(&Self {
                    node,
                    path: format!("{}[{index}]", self.path),
                    ..self.clone()
                })
            })
            .collect();
        values.into_iter().collect()
    }

    /// A list of at least one item: an emptied list must not come to mean everything.
    pub fn some_list<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        match &self.node.value {
            Value::List(items) if items.is_empty() => self.refuse(Code::Empty, "the list is empty"),
            Value::List(_) | Value::Scalar { .. } | Value::Mapping(_) => self.list(read),
        }
    }

    /// One value, or a list of at least one.
    pub fn one_or_some<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        if self.is_list() {
            self.some_list(read)
        } else {
            read(self).map(|value| vec![value])
        }
    }

    /// A text that is not empty.
    pub fn text(&self) -> Option<&'a str> {
        match self.text_or_empty()? {
            "" => self.refuse(Code::Empty, "the text is empty"),
            text => Some(text),
        }
    }

    /// A text. A number or truth value is none until it is quoted.
    pub fn text_or_empty(&self) -> Option<&'a str> {
        let (text, style) = self.scalar("text")?;
        if style == Style::Plain
            && let Some(kind) = scalar::non_text(text)
        {
            let message = format!("`{text}` is {kind}, not text");
            return self.refuse_with(Code::WrongType, message, format!("write \"{text}\""));
        }
        Some(text)
    }

    /// A text that `parse` accepts.
    pub fn parse<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match parse(self.text()?) {
            Ok(value) => Some(value),
            Err(error) => self.refuse(Code::InvalidValue, error.to_string()),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match self.scalar("`true` or `false`")? {
            ("true", Style::Plain) => Some(true),
            ("false", Style::Plain) => Some(false),
            (text, _) => {
                let message = format!("{} is not a truth value", quoted(text));
                self.refuse_with(
                    Code::WrongType,
                    message,
                    "write true or false, without quotes",
                )
            }
        }
    }

    /// A whole number within `bounds`.
    pub fn integer(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let (text, style) = self.scalar("a number")?;
        let digits = style == Style::Plain && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            let message = format!("{} is not a whole number", quoted(text));
            return self.refuse_with(Code::WrongType, message, "write digits, without quotes");
        }
        let within = text.parse().ok().filter(|number| bounds.contains(number));
        within.or_else(|| {
            let bounds = format!("{} to {}", bounds.start(), bounds.end());
            self.refuse(Code::OutOfRange, format!("{text} is not within {bounds}"))
        })
    }

    /// A TCP port.
    pub fn port(&self) -> Option<u16> {
        self.integer(1..=u64::from(u16::MAX))
            .and_then(|port| u16::try_from(port).ok())
    }

    /// Seconds, or a number with `ms`, `s`, `m`, `h` or `d`; `bounds` in seconds.
    pub fn duration(&self, bounds: RangeInclusive<u64>) -> Option<Duration> {
        let (text, _) = self.scalar("a duration")?;
        let Some(duration) = scalar::duration(text) else {
            let message = format!("{} is not a duration", quoted(text));
            let way_out = "write seconds or a number with its unit: 300, 250ms, 30s, 5m, 24h, 7d";
            return self.refuse_with(Code::WrongType, message, way_out);
        };
        let (least, most) = (
            Duration::from_secs(*bounds.start()),
            Duration::from_secs(*bounds.end()),
        );
        if (least..=most).contains(&duration) {
            return Some(duration);
        }
        let (least, most) = (scalar::duration_text(least), scalar::duration_text(most));
        self.refuse(
            Code::OutOfRange,
            format!("{text} is not within {least} to {most}"),
        )
    }

    /// Bytes, or a number with `KiB`, `MiB` or `GiB`; `bounds` in bytes.
    pub fn byte_size(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let (text, _) = self.scalar("a size")?;
        let Some(size) = scalar::byte_size(text) else {
            let message = format!("{} is not a size", quoted(text));
            let way_out = "write bytes or a number with its unit: 65536, 64KiB, 16MiB, 2GiB";
            return self.refuse_with(Code::WrongType, message, way_out);
        };
        if bounds.contains(&size) {
            return Some(size);
        }
        let bounds = format!("{} to {} bytes", bounds.start(), bounds.end());
        self.refuse(Code::OutOfRange, format!("{text} is not within {bounds}"))
    }

    /// One of the listed words.
    pub fn one_of<T: Clone>(&self, choices: &[(&str, T)]) -> Option<T> {
        let (text, _) = self.scalar("text")?;
        let chosen = choices.iter().find(|(word, _)| *word == text);
        if let Some((_, value)) = chosen {
            return Some(value.clone());
        }
        let words = || choices.iter().map(|(word, _)| *word);
        let way_out = did_you_mean(text, words())
            .unwrap_or_else(|| format!("write {}", scalar::alternatives(words())));
        self.refuse_with(
            Code::UnknownChoice,
            format!("{} is unknown here", quoted(text)),
            way_out,
        )
    }

    /// The value as JSON, plain scalars read by YAML's core schema.
    pub fn json(&self) -> serde_json::Value {
        self.node.json()
    }

    /// What stands under `key` of a mapping if it is text; reports nothing.
    pub(crate) fn peek_text(&self, key: &str) -> Option<&'a str> {
        self.peek(key)?.scalar_text()
    }

    /// What stands under `outer.key` if it is text; reports nothing.
    pub(crate) fn peek_inner_text(&self, outer: &str, key: &str) -> Option<&'a str> {
        Self {
            node: self.peek(outer)?,
            ..self.clone()
        }
        .peek_text(key)
    }

    fn peek(&self, key: &str) -> Option<&'a Node> {
        let Value::Mapping(entries) = &self.node.value else {
            return None;
        };
        entries
            .iter()
            .find(|entry| entry.name() == key)
            .map(|entry| &entry.node)
    }

    fn mapping(&self) -> Option<&'a [Entry]> {
        let Value::Mapping(entries) = &self.node.value else {
            return self.wrong_type("a mapping");
        };
        Some(entries)
    }

    fn scalar(&self, expected: &str) -> Option<(&'a str, Style)> {
        match &self.node.value {
            Value::Scalar { text, style } if *style == Style::Quoted || !tree::is_null(text) => {
                Some((text, *style))
            }
            Value::Scalar { .. } | Value::List(_) | Value::Mapping(_) => self.wrong_type(expected),
        }
    }

    fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        let found = match &self.node.value {
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar { .. } if self.node.is_nothing() => {
                let way_out = format!("write {expected}, or remove the field");
                return self.refuse_with(Code::Empty, "there is no value", way_out);
            }
            Value::Scalar { .. } => "a single value",
        };
        self.refuse(
            Code::WrongType,
            format!("{found} stands where {expected} is expected"),
        )
    }

    pub(super) fn child(&self, key: &str, node: &'a Node) -> Self {
        let path = join(&self.path, key);
        Self {
            node,
            path,
            ..self.clone()
        }
    }
}
