//! Builds nodes from the parser's events, within the limits of what is read.

use std::{collections::BTreeMap, mem, sync::Arc};

use saphyr_parser::{Event, Marker, ScalarStyle, ScanError, Span, Tag};

use super::{
    fields::join,
    tree::{Entry, MAX_DEPTH, Node, Style, Value},
};
use crate::problem::{Code, Place, Report, quoted};

/// How many nodes the aliases of one file may repeat.
const MAX_ALIASED_NODES: usize = 10_000;

/// Line and column, from 1.
type Position = (usize, usize);

/// Nothing more can be read from the file; the problem is reported.
pub(super) struct Stop;

pub(super) struct Builder<'r> {
    file: Arc<str>,
    report: &'r Report,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    aliased: usize,
    finished: Vec<Node>,
}

/// A list or mapping whose end is not yet read.
struct Open {
    line: usize,
    column: usize,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        key: PendingKey,
    },
}

/// The key whose value comes next.
enum PendingKey {
    None,
    /// A scalar.
    Read(Node),
    /// It was no text and is reported; its value has no name.
    Refused,
}

impl<'r> Builder<'r> {
    pub(super) const fn new(file: Arc<str>, report: &'r Report) -> Self {
        Self {
            file,
            report,
            open: Vec::new(),
            anchors: BTreeMap::new(),
            aliased: 0,
            finished: Vec::new(),
        }
    }

    pub(super) fn finished(self) -> Vec<Node> {
        self.finished
    }

    pub(super) fn syntax_error(&self, error: &ScanError) {
        let message = format!("not YAML: {}", error.info());
        self.problem(position(*error.marker()), Code::Syntax, message, None);
    }

    fn problem(&self, at: Position, code: Code, message: impl Into<String>, way_out: Option<&str>) {
        let (line, column) = at;
        let place = Place {
            file: self.file.clone(),
            line,
            column,
            path: self.path(),
        };
        self.report
            .error_with(place, code, message, way_out.map(ToOwned::to_owned));
    }

    /// Where the value that is being read stands. The document's name may not be read yet.
    fn path(&self) -> String {
        self.open
            .iter()
            .fold(String::new(), |path, open| match &open.items {
                Items::List(items) => format!("{path}[{}]", items.len()),
                Items::Mapping {
                    key: PendingKey::Read(key),
                    ..
                } => join(&path, key.scalar_text().unwrap_or_default()),
                Items::Mapping { .. } => path,
            })
    }

    pub(super) fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
            Event::DocumentEnd => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = self.check_tag(tag.as_deref(), span);
                let plain = style == ScalarStyle::Plain && !is_text;
                let style = if plain { Style::Plain } else { Style::Quoted };
                let node = node(
                    span,
                    Value::Scalar {
                        text: text.into_owned(),
                        style,
                    },
                );
                self.keep(node, anchor);
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), span);
                self.begin(span, anchor, Items::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), span);
                let items = Items::Mapping {
                    entries: Vec::new(),
                    key: PendingKey::None,
                };
                self.begin(span, anchor, items)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, span)?,
        }
        Ok(())
    }

    /// Whether the tag says that a scalar is text; any other tag is a problem.
    fn check_tag(&self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return false };
        let is_text = tag.is_yaml_core_schema() && tag.suffix == "str";
        if !is_text {
            let message = format!("the tag {} is not supported", quoted(&tag.to_string()));
            self.problem(position(span.start), Code::Tag, message, None);
        }
        is_text
    }

    fn begin(&mut self, span: Span, anchor: usize, items: Items) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            self.problem(position(span.start), Code::TooDeep, message, None);
            return Err(Stop);
        }
        let (line, column) = position(span.start);
        self.open.push(Open {
            line,
            column,
            anchor,
            items,
        });
        Ok(())
    }

    fn end(&mut self) {
        let Some(Open {
            line,
            column,
            anchor,
            items,
        }) = self.open.pop()
        else {
            return;
        };
        let value = match items {
            Items::List(items) => Value::List(items),
            Items::Mapping { entries, .. } => Value::Mapping(self.without_repeated(entries)),
        };
        self.keep(
            Node {
                value,
                line,
                column,
            },
            anchor,
        );
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stop> {
        let Some(original) = self.anchors.get(&anchor) else {
            let message = "the alias stands inside of what it repeats";
            self.problem(position(span.start), Code::Alias, message, None);
            return Err(Stop);
        };
        let (nodes, depth) = original.extent();
        self.aliased = self.aliased.saturating_add(nodes);
        if self.aliased > MAX_ALIASED_NODES || self.open.len().saturating_add(depth) > MAX_DEPTH {
            let message = format!(
                "aliases repeat more than {MAX_ALIASED_NODES} values or nest deeper than {MAX_DEPTH} levels"
            );
            self.problem(position(span.start), Code::Alias, message, None);
            return Err(Stop);
        }
        let repeated = node(span, original.value.clone());
        self.keep(repeated, 0);
        Ok(())
    }

    /// Puts a finished node where it belongs. Anchors count from 1.
    fn keep(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None if node.is_nothing() => {}
            None => self.finished.push(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Mapping { entries, key }) => match mem::replace(key, PendingKey::None) {
                PendingKey::Read(key) => entries.push(Entry { key, node }),
                PendingKey::Refused => {}
                PendingKey::None => {
                    let (line, column) = (node.line, node.column);
                    if let Value::Scalar { text, .. } = node.value {
                        let value = Value::Scalar {
                            text,
                            style: Style::Quoted,
                        };
                        *key = PendingKey::Read(Node {
                            value,
                            line,
                            column,
                        });
                    } else {
                        *key = PendingKey::Refused;
                        let message = "a key is text, not a list or mapping";
                        self.problem((line, column), Code::WrongType, message, None);
                    }
                }
            },
        }
    }

    /// Reports every repeated key. Which of the values was meant nobody can know, so the first stays
    /// only to let the rest of the document be checked.
    fn without_repeated(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let mut first_lines = BTreeMap::new();
        entries.retain(|entry| {
            let (name, Node { line, column, .. }) = (entry.name(), &entry.key);
            let Some(first) = first_lines.get(name) else {
                first_lines.insert(name.to_owned(), *line);
                return true;
            };
            let message = format!("{} stands twice, first in line {first}", quoted(name));
            let path = join(&self.path(), name);
            let place = Place {
                file: self.file.clone(),
                line: *line,
                column: *column,
                path,
            };
            let way_out = Some("keep one of them".to_owned());
            self.report
                .error_with(place, Code::DuplicateKey, message, way_out);
            false
        });
        entries
    }
}

fn position(start: Marker) -> Position {
    // The parser counts columns from 0.
    (start.line(), start.col().saturating_add(1))
}

fn node(span: Span, value: Value) -> Node {
    let (line, column) = position(span.start);
    Node {
        value,
        line,
        column,
    }
}
