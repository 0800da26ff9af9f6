//! Builds nodes from the parser's events, within the limits of what is read.

use std::{collections::BTreeMap, mem, sync::Arc};

use saphyr_parser::{Event, Marker, ScalarStyle, ScanError, Span, Tag};

use super::{
    fields::join,
    surrogates::Joined,
    tree::{Entry, MAX_DEPTH, Node, Position, Style, Value},
};
use crate::problem::{Code, Report, Spot, quoted};

/// Up to how many entries of a mapping each is compared with those before it.
const FEW_ENTRIES: usize = 16;

/// How many nodes the aliases of one file may repeat.
const MAX_ALIASED_NODES: usize = 10_000;

/// Nothing more can be read from the file; the problem is reported.
pub(super) struct Stop;

pub(super) struct Builder<'t, 'k> {
    file: Arc<str>,
    report: &'k Report,
    open: Vec<Open<'t>>,
    anchors: BTreeMap<usize, Node<'t>>,
    aliased: usize,
    /// Where the text that is read is not as it is written.
    joined: Joined,
    /// Takes each document when its end is read.
    keep: &'k mut dyn FnMut(Node<'t>),
}

/// A list or mapping whose end is not yet read.
struct Open<'t> {
    start: Position,
    /// Written with brackets, whose closing one is the end.
    is_flow: bool,
    anchor: usize,
    items: Items<'t>,
}

enum Items<'t> {
    List(Vec<Node<'t>>),
    Mapping {
        entries: Vec<Entry<'t>>,
        key: PendingKey<'t>,
    },
}

/// The key whose value comes next.
enum PendingKey<'t> {
    None,
    /// A scalar.
    Read(Node<'t>),
    /// It was no text and is reported; its value has no name.
    Refused,
}

impl<'t, 'k> Builder<'t, 'k> {
    pub(super) const fn new(
        file: Arc<str>,
        report: &'k Report,
        keep: &'k mut dyn FnMut(Node<'t>),
    ) -> Self {
        Self {
            file,
            report,
            open: Vec::new(),
            anchors: BTreeMap::new(),
            aliased: 0,
            joined: Joined::none(),
            keep,
        }
    }

    /// The same of a text of which pairs were joined.
    pub(super) fn joined(self, joined: Joined) -> Self {
        Self { joined, ..self }
    }

    pub(super) fn syntax_error(&self, error: &ScanError) {
        let message = format!("not YAML: {}", error.info());
        let at = self.position(*error.marker());
        let way_out =
            Some("look for a bracket or quote that is not closed, a tab, or a wrong indentation");
        self.problem((at, at), Code::Syntax, message, way_out);
    }

    fn problem(
        &self,
        (start, end): (Position, Position),
        code: Code,
        message: impl Into<String>,
        way_out: Option<&str>,
    ) {
        let spot = Spot {
            file: Arc::clone(&self.file),
            line: start.0,
            column: start.1,
            end,
        };
        self.report.error_with(
            spot.place(self.path()),
            code,
            message,
            way_out.map(ToOwned::to_owned),
        );
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

    pub(super) fn event(&mut self, event: Event<'t>, span: Span) -> Result<(), Stop> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
            Event::DocumentEnd => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = self.check_tag(tag.as_deref(), span);
                let plain = style == ScalarStyle::Plain && !is_text;
                let style = if plain { Style::Plain } else { Style::Quoted };
                let node = self.node(span, Value::Scalar { text, style });
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
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
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
            self.problem(self.range(span), Code::Tag, message, Some("remove the tag"));
        }
        is_text
    }

    fn begin(&mut self, span: Span, anchor: usize, items: Items<'t>) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            self.problem(
                self.range(span),
                Code::TooDeep,
                message,
                Some("write it flatter"),
            );
            return Err(Stop);
        }
        self.open.push(Open {
            start: self.position(span.start),
            is_flow: span.start.index() != span.end.index(),
            anchor,
            items,
        });
        Ok(())
    }

    fn end(&mut self, span: Span) {
        let Some(Open {
            start,
            is_flow,
            anchor,
            items,
        }) = self.open.pop()
        else {
            return;
        };
        let last = match &items {
            Items::List(items) => items.last(),
            Items::Mapping { entries, .. } => entries.last().map(|entry| &entry.node),
        };
        let end = if is_flow {
            let (line, column) = self.position(span.start);
            (line, column.saturating_add(1))
        } else {
            last.map_or(start, |last| last.end)
        };
        let value = match items {
            Items::List(items) => Value::List(items),
            Items::Mapping { entries, .. } => Value::Mapping(self.without_repeated(entries)),
        };
        let (line, column) = start;
        let node = Node {
            value,
            line,
            column,
            end,
        };
        self.keep(node, anchor);
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stop> {
        let Some(original) = self.anchors.get(&anchor) else {
            let message = "the alias stands inside of what it repeats";
            self.problem(
                self.range(span),
                Code::Alias,
                message,
                Some("write the values out"),
            );
            return Err(Stop);
        };
        let (nodes, depth) = original.extent();
        self.aliased = self.aliased.saturating_add(nodes);
        if self.aliased > MAX_ALIASED_NODES || self.open.len().saturating_add(depth) > MAX_DEPTH {
            let message = format!(
                "aliases repeat more than {MAX_ALIASED_NODES} values or nest deeper than {MAX_DEPTH} levels"
            );
            self.problem(
                self.range(span),
                Code::Alias,
                message,
                Some("write the values out"),
            );
            return Err(Stop);
        }
        let repeated = self.node(span, original.value.clone());
        self.keep(repeated, 0);
        Ok(())
    }

    /// Puts a finished node where it belongs. Anchors count from 1.
    fn keep(&mut self, node: Node<'t>, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None if node.is_nothing() => {}
            None => (self.keep)(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Mapping { entries, key }) => match mem::replace(key, PendingKey::None) {
                PendingKey::Read(key) => entries.push(Entry { key, node }),
                PendingKey::Refused => {}
                PendingKey::None => {
                    let range = ((node.line, node.column), node.end);
                    if let Value::Scalar { text, .. } = node.value {
                        let style = Style::Quoted;
                        let value = Value::Scalar { text, style };
                        *key = PendingKey::Read(Node { value, ..node });
                    } else {
                        *key = PendingKey::Refused;
                        let message = "a key is text, not a list or mapping";
                        self.problem(
                            range,
                            Code::WrongType,
                            message,
                            Some("write a text as the key"),
                        );
                    }
                }
            },
        }
    }

    /// Reports every repeated key. Which of the values was meant nobody can know, so the first stays
    /// only to let the rest of the document be checked.
    fn without_repeated(&self, mut entries: Vec<Entry<'t>>) -> Vec<Entry<'t>> {
        let repeats = |(place, entry): (usize, &Entry<'_>)| {
            let mut earlier = entries.iter().take(place);
            earlier.any(|earlier| earlier.name() == entry.name())
        };
        // Nearly every mapping is small and repeats nothing.
        if entries.len() <= FEW_ENTRIES && !entries.iter().enumerate().any(repeats) {
            return entries;
        }
        let mut first_lines = BTreeMap::new();
        entries.retain(|entry| {
            let (name, key) = (entry.name(), &entry.key);
            let Some(first) = first_lines.get(name) else {
                first_lines.insert(name.to_owned(), key.line);
                return true;
            };
            let message = format!("{} stands twice, first in line {first}", quoted(name));
            let place = key.spot(&self.file).place(join(&self.path(), name));
            let way_out = if self.open.is_empty() && name == "apiVersion" {
                "write `---` before it if another document begins here, or keep one of them"
            } else {
                "keep one of them"
            };
            let way_out = Some(way_out.to_owned());
            self.report
                .error_with(place, Code::DuplicateKey, message, way_out);
            false
        });
        entries
    }

    fn position(&self, start: Marker) -> Position {
        // The parser counts columns from 0. INVARIANT: no file has so many lines or characters that they do not fit.
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let position = (number(start.line()), number(start.col()).saturating_add(1));
        self.joined.written(position)
    }

    fn range(&self, span: Span) -> (Position, Position) {
        (self.position(span.start), self.position(span.end))
    }

    fn node(&self, span: Span, value: Value<'t>) -> Node<'t> {
        let ((line, column), end) = self.range(span);
        Node {
            value,
            line,
            column,
            end,
        }
    }
}
