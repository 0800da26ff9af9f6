//! Mappings with known fields.

use smallvec::SmallVec;

use super::{at::At, tree::Entry};
use crate::{
    problem::{Code, did_you_mean, quoted, secret},
    schema::{Field, Mapping},
};

/// How many fields most mappings may have at most.
const MANY_FIELDS: usize = 12;

/// A mapping with known fields. What nobody asked for when it goes out of scope is reported as unknown,
/// so that no field can be ignored by accident; ask for every field before giving up on one.
pub struct Fields<'a> {
    at: At<'a>,
    entries: &'a [Entry<'a>],
    /// The fields it may have, if they are described.
    mapping: Option<&'static Mapping>,
    asked: SmallVec<[&'static str; MANY_FIELDS]>,
    /// How many entries are known to be none but fields that were asked for.
    known: usize,
    open: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        at: At<'a>,
        entries: &'a [Entry<'a>],
        mapping: Option<&'static Mapping>,
    ) -> Self {
        Self {
            at,
            entries,
            mapping,
            asked: SmallVec::new(),
            known: 0,
            open: false,
        }
    }

    /// A field that must be there.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<T> {
        let Some(at) = self.field(name) else {
            let place = self.at.key_place();
            let message = format!("the field `{name}` is missing");
            let way_out = self.described(name).map_or_else(
                || format!("add `{name}`"),
                |field| format!("add `{name}`: {}", field.about),
            );
            let report = self.at.report();
            report.error_with(place, Code::MissingField, message, Some(way_out));
            return None;
        };
        read(&at)
    }

    /// A field that may be absent. The outer `None` says that it was refused.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        self.field(name)
            .map_or(Some(None), |at| read(&at).map(Some))
    }

    /// A field with a default.
    pub fn or<T>(
        &mut self,
        name: &'static str,
        default: T,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<T> {
        self.field(name).map_or(Some(default), |at| read(&at))
    }

    /// The field, if it is there.
    pub fn field(&mut self, name: &'static str) -> Option<At<'a>> {
        let again = self.asked.contains(&name);
        self.asked.push(name);
        let mut entries = self.entries.iter().zip(0..);
        let (entry, place) = entries.find(|(entry, _)| entry.name() == name)?;
        let value = self.at.named(name, place, entry);
        let field = self.described(name);
        if !again && (field.is_some() || self.mapping.is_none()) {
            self.known = self.known.saturating_add(1);
        }
        Some(match field {
            Some(field) => value.described(field.shape()),
            None => value,
        })
    }

    fn described(&self, name: &str) -> Option<&'static Field> {
        self.mapping.and_then(|mapping| mapping.field(name))
    }

    /// The mapping itself.
    pub const fn at(&self) -> &At<'a> {
        &self.at
    }

    /// Does not report unknown fields: what decides about them was itself refused.
    pub fn leave_rest(&mut self) {
        self.open = true;
    }
}

impl Drop for Fields<'_> {
    // INVARIANT: what is known was asked for and is described, so that a field which only the reader or only
    // the description has can never be used, nor passed over.
    fn drop(&mut self) {
        let is_described = |name: &str| self.mapping.is_none_or(|them| them.field(name).is_some());
        let is_known =
            |entry: &&Entry| self.asked.contains(&entry.name()) && is_described(entry.name());
        // Nearly every mapping holds nothing else. No name stands twice in it.
        if self.known == self.entries.len() {
            return;
        }
        let asked = self.asked.iter().copied();
        let known: Vec<&str> = asked.filter(|name| is_described(name)).collect();
        let unknown = self.entries.iter().zip(0..);
        for (entry, place) in unknown.filter(|(entry, _)| !is_known(entry)) {
            let name = entry.name();
            let value = self.at.child(place, entry);
            if entry.node.scalar_text().is_some() && secret::is_secret_name(name) {
                value.refuse_secret();
                continue;
            }
            if self.open {
                continue;
            }
            let message = format!("there is no field {}", quoted(name));
            let way_out = did_you_mean(name, known.iter().copied())
                .unwrap_or_else(|| format!("known here: {}", known.join(", ")));
            let key = value.key().unwrap_or(value);
            let _: Option<()> = key.refuse_with(Code::UnknownField, message, way_out);
        }
    }
}

/// `path.key`; a key that is no plain word is quoted.
pub(super) fn join(path: &str, key: &str) -> String {
    let mut joined = String::from(path);
    if !path.is_empty() {
        joined.push('.');
    }
    push_key(&mut joined, key);
    joined
}

/// Adds a key, in quotes unless it is a plain word.
pub(super) fn push_key(path: &mut String, key: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !key.is_empty() && key.len() <= 80 && key.bytes().all(plain) {
        path.push_str(key);
    } else {
        path.push_str(&quoted(key));
    }
}
