//! Typed reading of nodes: each accessor either gives a value or reports a problem with its place, so
//! that a whole document is checked in one pass.

use std::{fmt::Write as _, rc::Rc, sync::Arc};

use super::{
    fields::{Fields, push_key},
    tree::{self, Entry, Node, Value},
};
use crate::{
    problem::{Code, Place, Report, secret},
    schema::Shape,
};

/// How many bytes most paths have at most.
const ROOM_FOR_A_PATH: usize = 64;

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
            key: None,
            shape: None,
            document: nameless.clone(),
            path: None,
        })
    }
}

/// A value and where it stands. Every accessor gives `None` after it reported a problem.
#[derive(Clone)]
pub struct At<'a> {
    file: &'a File<'a>,
    pub(super) node: &'a Node,
    /// What it stands under in a mapping.
    key: Option<&'a Node>,
    /// What it must look like, if that is described.
    shape: Option<&'static Shape>,
    document: Rc<str>,
    /// From the document's root; `None` there.
    path: Option<Rc<Step<'a>>>,
}

/// The way to a value. It becomes a text only where something is told of the value.
struct Step<'a> {
    before: Option<Rc<Self>>,
    last: Last<'a>,
}

enum Last<'a> {
    Field(&'a str),
    Item(usize),
}

impl Step<'_> {
    /// Writes the way into `text`, which holds nothing of it.
    fn write(&self, text: &mut String) {
        if let Some(before) = &self.before {
            before.write(text);
        }
        match self.last {
            Last::Field(name) => {
                if self.before.is_some() {
                    text.push('.');
                }
                push_key(text, name);
            }
            Last::Item(index) => {
                // Writing to a String cannot fail.
                let _ = write!(text, "[{index}]");
            }
        }
    }
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

    /// The same value, of which `shape` tells the fields.
    pub(crate) fn described(&self, shape: &'static Shape) -> Self {
        Self {
            shape: Some(shape),
            ..self.clone()
        }
    }

    /// Where the value stands.
    pub fn place(&self) -> Place {
        self.place_of(self.node)
    }

    /// Where its key stands, if it has one; for what is missing in the value.
    pub(super) fn key_place(&self) -> Place {
        self.place_of(self.key.unwrap_or(self.node))
    }

    fn place_of(&self, node: &Node) -> Place {
        let mut path = String::with_capacity(ROOM_FOR_A_PATH);
        path.push_str(&self.document);
        if let Some(steps) = &self.path {
            if !path.is_empty() {
                path.push_str(": ");
            }
            steps.write(&mut path);
        }
        node.place(&self.file.name, path)
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
        let mapping = self
            .shape
            .and_then(|shape| shape.mapping(|field| self.peek_text(field)));
        Some(Fields::new(self.clone(), entries, mapping))
    }

    /// A mapping whose keys are the user's: `read` sees each key, a text, and what stands under it.
    /// `None` if any was refused.
    pub fn entries<T>(&self, read: impl Fn(&Self, &Self) -> Option<T>) -> Option<Vec<T>> {
        let entries = self.mapping()?;
        let values: Vec<_> = entries
            .iter()
            .map(|entry| {
                let value = self.child(entry);
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
        let items = items.iter().enumerate();
        let values: Vec<_> = items
            .map(|(index, node)| read(&self.item(index, node)))
            .collect();
        values.into_iter().collect()
    }

    /// A list of at least one item: an emptied list must not come to mean everything.
    pub fn some_list<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        match &self.node.value {
            Value::List(items) if items.is_empty() => {
                let way_out = "write an item, or remove the field";
                self.refuse_with(Code::Empty, "the list is empty", way_out)
            }
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

    /// The value as JSON, plain scalars read by YAML's core schema.
    pub fn json(&self) -> serde_json::Value {
        self.node.json()
    }

    /// Refuses every text in it that is a secret by its own form.
    pub(crate) fn refuse_secrets(&self) {
        // Paths are made for those alone that have something to tell.
        if !self.node.has_text(secret::is_secret) {
            return;
        }
        match &self.node.value {
            Value::Scalar { .. } => self.refuse_secret(),
            Value::List(items) => {
                let items = items.iter().enumerate();
                items.for_each(|(index, node)| self.item(index, node).refuse_secrets());
            }
            Value::Mapping(entries) => {
                entries
                    .iter()
                    .for_each(|entry| self.child(entry).refuse_secrets());
            }
        }
    }

    /// Reports that it is a secret.
    pub(super) fn refuse_secret(&self) {
        let message = "a secret stands in the file";
        let way_out = "remove it, and replace it where it is used: whoever reads this file has it. \
             Attaché's own credentials need none";
        let _: Option<()> = self.refuse_with(Code::LiteralSecret, message, way_out);
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

    pub(super) fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        let found = match &self.node.value {
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar { .. } if self.node.is_nothing() => {
                let way_out = format!("write {expected}, or remove the field");
                return self.refuse_with(Code::Empty, "there is no value", way_out);
            }
            Value::Scalar { .. } => "a single value",
        };
        let way_out = match expected {
            "a list" => {
                "write a list: `[one, other]`, or each item in a line that begins with `- `"
            }
            "a mapping" => {
                "write a mapping: `{name: value}`, or each `name: value` in a line of its own"
            }
            _ => "write one value",
        };
        let message = format!("{found} stands where {expected} is expected");
        self.refuse_with(Code::WrongType, message, way_out)
    }

    pub(super) fn child(&self, entry: &'a Entry) -> Self {
        Self {
            node: &entry.node,
            key: Some(&entry.key),
            shape: None,
            path: self.step(Last::Field(entry.name())),
            ..self.clone()
        }
    }

    fn item(&self, index: usize, node: &'a Node) -> Self {
        Self {
            node,
            key: None,
            shape: self.shape.and_then(Shape::item),
            path: self.step(Last::Item(index)),
            ..self.clone()
        }
    }

    fn step(&self, last: Last<'a>) -> Option<Rc<Step<'a>>> {
        let before = self.path.clone();
        Some(Rc::new(Step { before, last }))
    }

    /// The key of this value, as a text.
    pub(super) fn key(&self) -> Option<Self> {
        let node = self.key?;
        Some(Self {
            node,
            ..self.clone()
        })
    }
}
