//! What documents may hold: one table of every field, which the reader refuses by and the JSON Schema for
//! editors is made from, so that the two cannot drift apart.

mod authentication;
mod condition;
mod credential_provider;
mod documents;
mod json;
mod policy;
mod policy_test;
mod trust_provider;

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::document::Kind;

pub use json::json_schema;

/// A mapping with known fields.
pub(crate) struct Mapping {
    pub(crate) fields: &'static [Field],
    /// What JSON Schema says about several fields at once; nothing for most.
    also: Option<fn() -> Value>,
}

/// One field.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// What to write, as editors and the problem of a missing field tell it.
    pub(crate) about: &'static str,
    needed: Needed,
    shape: Shape,
}

/// Whether a mapping must have the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needed {
    Always,
    /// Not at all, or only with certain values of other fields.
    Sometimes,
}

/// What a value looks like.
pub(crate) enum Shape {
    /// Any text; empty only if the least length is 0.
    Text(usize),
    /// A text that a regular expression (ECMA-262) finds.
    Match(&'static str),
    /// One of the words.
    Words(fn() -> Vec<&'static str>),
    /// `true`.
    True,
    /// Seconds, or a number with its unit.
    Duration(RangeInclusive<u64>),
    Port,
    /// A list of at least one.
    List(&'static Shape),
    /// Such a list, in which nothing stands twice.
    Set(&'static Shape),
    /// One, or a list of at least one.
    OneOrMore(&'static Shape),
    /// A mapping whose keys are the user's.
    Entries(&'static Entries),
    Mapping(&'static Mapping),
    /// A mapping whose fields depend on the word in one of them.
    ByWord(&'static str, &'static [(&'static str, Mapping)]),
    Either(&'static [Shape]),
    /// A mapping, or a text that is not empty, of which another description or a standard says more.
    Foreign(&'static [&'static str]),
}

/// A mapping whose keys are the user's.
pub(crate) struct Entries {
    /// What the keys match; anything if there is none.
    key: Option<fn() -> String>,
    value: Shape,
    /// Least number of entries.
    least: u64,
}

impl Shape {
    /// A document.
    pub(crate) const DOCUMENT: &'static Self = &documents::DOCUMENT;

    /// The specification of a document of one kind.
    pub(crate) const fn of(kind: Kind) -> &'static Self {
        documents::specification(kind)
    }

    /// The fields of a mapping. `word` reads a field that others depend on.
    pub(crate) fn mapping<'w>(
        &'static self,
        word: impl Fn(&str) -> Option<&'w str>,
    ) -> Option<&'static Mapping> {
        match self {
            Self::Mapping(mapping) => Some(mapping),
            Self::ByWord(field, choices) => {
                let word = word(field)?;
                let chosen = choices.iter().find(|(choice, _)| *choice == word);
                chosen.map(|(_, mapping)| mapping)
            }
            Self::Either(shapes) => shapes.iter().find_map(Self::plain_mapping),
            Self::Text(_)
            | Self::Match(_)
            | Self::Words(_)
            | Self::True
            | Self::Duration(_)
            | Self::Port
            | Self::List(_)
            | Self::Set(_)
            | Self::OneOrMore(_)
            | Self::Entries(_)
            | Self::Foreign(_) => None,
        }
    }

    const fn plain_mapping(&'static self) -> Option<&'static Mapping> {
        if let Self::Mapping(mapping) = self {
            Some(mapping)
        } else {
            None
        }
    }

    /// What the items of a list look like.
    pub(crate) const fn item(&'static self) -> Option<&'static Self> {
        if let Self::List(item) | Self::Set(item) | Self::OneOrMore(item) = self {
            Some(item)
        } else {
            None
        }
    }
}

impl Mapping {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Field {
    pub(crate) const fn shape(&'static self) -> &'static Shape {
        &self.shape
    }
}
