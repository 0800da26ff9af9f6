//! Typed reading of nodes: each accessor either gives a value or reports a problem with its place, so
//! that a whole document is checked in one pass.

use std::{
    cell::OnceCell,
    fmt::{self, Display, Write as _},
    sync::Arc,
};

use smallvec::{SmallVec, smallvec};

use super::{
    fields::{Fields, push_key},
    tree::{self, Entry, Node, Value},
};
use crate::{
    problem::{Code, Place, Report, Spot, secret},
    schema::Shape,
};

/// How deep most values lie at most.
const USUAL_DEPTH: usize = 8;

/// A file that was read, as far as it is YAML.
pub struct File<'r> {
    origin: Origin<'r>,
    nodes: Vec<Node<'r>>,
}

/// Where values come from.
pub(super) struct Origin<'r> {
    name: Arc<str>,
    report: &'r Report,
}

impl<'r> File<'r> {
    /// Reads `bytes`; `name` stands in messages. Empty documents are left out.
    pub fn read(name: &str, bytes: &'r [u8], report: &'r Report) -> Self {
        let name: Arc<str> = name.into();
        let nodes = tree::read_each(&name, bytes, report, |node, _report| node);
        Self {
            origin: Origin { name, report },
            nodes,
        }
    }

    /// The documents in order.
    pub fn documents(&self) -> impl Iterator<Item = At<'_>> {
        self.nodes.iter().map(|node| At::root(&self.origin, node))
    }

    /// What `read` makes of each document, in order. No more than one is in memory at a time.
    pub fn read_each<T>(
        name: &str,
        bytes: &[u8],
        report: &Report,
        read: impl Fn(&At<'_>) -> T,
    ) -> Vec<T> {
        let name: Arc<str> = name.into();
        tree::read_each(&name, bytes, report, |node, report| {
            let name = Arc::clone(&name);
            read(&At::root(&Origin { name, report }, &node))
        })
    }
}

/// A value and where it stands. Every accessor gives `None` after it reported a problem.
#[derive(Clone)]
pub struct At<'a> {
    origin: &'a Origin<'a>,
    pub(super) node: &'a Node<'a>,
    /// What it stands under in a mapping.
    key: Option<&'a Node<'a>>,
    /// What it must look like, if that is described.
    shape: Option<&'static Shape>,
    /// The document.
    root: &'a Node<'a>,
    /// What messages call the document.
    label: Option<&'a Label>,
    /// From the root, the place in each mapping or list. It becomes a text only where something is told.
    path: SmallVec<[u32; USUAL_DEPTH]>,
    /// The field that was asked for last.
    field: &'static str,
}

/// What messages call a document: made of its root, where something is told for the first time.
// SECURITY: once. A document of a million mistakes is looked through for its name, and not a million times.
pub struct Label {
    of: fn(&At<'_>) -> String,
    made: OnceCell<String>,
}

impl Label {
    /// One that `of` makes.
    pub const fn new(of: fn(&At<'_>) -> String) -> Self {
        let made = OnceCell::new();
        Self { of, made }
    }
}

/// The path of a value whose document is no longer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FixedPath {
    /// A field of `spec`, or an item of the list that stands there.
    Spec(&'static str, Option<u32>),
    /// Anything else, with what the document is called.
    Whole(Box<str>),
}

impl Display for FixedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec(field, None) => write!(f, "spec.{field}"),
            Self::Spec(field, Some(item)) => write!(f, "spec.{field}[{item}]"),
            Self::Whole(path) => f.write_str(path),
        }
    }
}

impl<'a> At<'a> {
    fn root(origin: &'a Origin<'a>, node: &'a Node<'a>) -> Self {
        Self {
            origin,
            node,
            key: None,
            shape: None,
            root: node,
            label: None,
            path: SmallVec::new(),
            field: "",
        }
    }

    /// The same value in a document that messages call as `label` says of its root:
    /// `AccessPolicy payment-to-stripe`.
    #[must_use]
    pub fn labelled<'l>(&self, label: &'l Label) -> At<'l>
    where
        'a: 'l,
    {
        At {
            label: Some(label),
            ..self.clone()
        }
    }

    /// The same value, of which `shape` tells the fields.
    pub(crate) fn described(&self, shape: &'static Shape) -> Self {
        let mut described = self.clone();
        described.shape = Some(shape);
        described
    }

    /// Where the value stands.
    pub fn place(&self) -> Place {
        self.place_of(self.node)
    }

    /// Where the value stands, without its path.
    pub(crate) fn spot(&self) -> Spot {
        self.node.spot(&self.origin.name)
    }

    /// Where its key stands, if it has one; for what is missing in the value.
    pub(super) fn key_place(&self) -> Place {
        self.place_of(self.key.unwrap_or(self.node))
    }

    fn place_of(&self, node: &Node<'_>) -> Place {
        let root = || Self::root(self.origin, self.root);
        let label = |label: &'a Label| label.made.get_or_init(|| (label.of)(&root())).as_str();
        let mut path = self.label.map(label).unwrap_or_default().to_owned();
        if !path.is_empty() && !self.path.is_empty() {
            path.push_str(": ");
        }
        self.write_path(&mut path);
        node.spot(&self.origin.name).place(path)
    }

    fn write_path(&self, text: &mut String) {
        let mut node = self.root;
        for (depth, place) in self.path.iter().enumerate() {
            let next = match &node.value {
                Value::Mapping(entries) => entries.get(*place as usize).map(|entry| {
                    if depth > 0 {
                        text.push('.');
                    }
                    push_key(text, entry.name());
                    &entry.node
                }),
                Value::List(items) => {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "[{place}]");
                    items.get(*place as usize)
                }
                Value::Scalar { .. } => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
    }

    /// The path, to be kept.
    pub(crate) fn fixed_path(&self) -> FixedPath {
        let below_spec = || match (&self.root.value, self.path.first()) {
            (Value::Mapping(entries), Some(first)) => {
                let first = entries.get(*first as usize);
                first.is_some_and(|entry| entry.name() == "spec")
            }
            _ => false,
        };
        match self.path.as_slice() {
            [_, _] if below_spec() && self.key.is_some() => FixedPath::Spec(self.field, None),
            [_, _, item] if below_spec() && self.key.is_none() => {
                FixedPath::Spec(self.field, Some(*item))
            }
            _ => FixedPath::Whole(self.place().path.into()),
        }
    }

    /// Reports an error here. Gives `None`, so that it can end an accessor.
    pub fn refuse<T>(&self, code: Code, message: impl Into<String>) -> Option<T> {
        self.origin.report.error(self.place(), code, message);
        None
    }

    /// Reports an error here, with the way out.
    pub fn refuse_with<T>(
        &self,
        code: Code,
        message: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Option<T> {
        self.origin
            .report
            .error_with(self.place(), code, message, Some(way_out.into()));
        None
    }

    /// Where problems with the value go.
    pub const fn report(&self) -> &'a Report {
        self.origin.report
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
            .zip(0..)
            .map(|(entry, place)| {
                let value = self.child(place, entry);
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
        let items = items.iter().zip(0..);
        let values: Vec<_> = items
            .map(|(node, place)| read(&self.item(place, node)))
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
        self.few(read).map(SmallVec::into_vec)
    }

    /// The same; nearly always it is one.
    pub(crate) fn few<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<SmallVec<[T; 1]>> {
        if self.is_list() {
            self.some_list(read).map(SmallVec::from_vec)
        } else {
            read(self).map(|value| smallvec![value])
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
                let items = items.iter().zip(0..);
                items.for_each(|(node, place)| self.item(place, node).refuse_secrets());
            }
            Value::Mapping(entries) => {
                let entries = entries.iter().zip(0..);
                entries.for_each(|(entry, place)| self.child(place, entry).refuse_secrets());
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

    fn peek(&self, key: &str) -> Option<&'a Node<'a>> {
        let Value::Mapping(entries) = &self.node.value else {
            return None;
        };
        entries
            .iter()
            .find(|entry| entry.name() == key)
            .map(|entry| &entry.node)
    }

    fn mapping(&self) -> Option<&'a [Entry<'a>]> {
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

    /// What stands in this mapping at a place.
    pub(super) fn child(&self, place: u32, entry: &'a Entry<'a>) -> Self {
        let mut child = self.below(place, &entry.node);
        child.key = Some(&entry.key);
        child
    }

    /// The same, asked for by the name of a field.
    pub(super) fn named(&self, name: &'static str, place: u32, entry: &'a Entry<'a>) -> Self {
        let mut child = self.child(place, entry);
        child.field = name;
        child
    }

    fn item(&self, place: u32, node: &'a Node<'a>) -> Self {
        let mut item = self.below(place, node);
        item.shape = self.shape.and_then(Shape::item);
        item
    }

    fn below(&self, place: u32, node: &'a Node<'a>) -> Self {
        let mut path = SmallVec::from_slice(&self.path);
        path.push(place);
        Self {
            node,
            key: None,
            shape: None,
            path,
            ..*self
        }
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
