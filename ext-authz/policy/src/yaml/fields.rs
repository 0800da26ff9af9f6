//! Mappings with known fields.

use super::{at::At, tree::Entry};
use crate::problem::{Code, did_you_mean, quoted};

/// A mapping with known fields. What nobody asked for when it goes out of scope is reported as unknown,
/// so that no field can be ignored by accident; ask for every field before giving up on one.
pub struct Fields<'a> {
    at: At<'a>,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
    open: bool,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(at: At<'a>, entries: &'a [Entry]) -> Self {
        Self {
            at,
            entries,
            asked: Vec::new(),
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
            let place = self.at.place();
            let message = format!("the field `{name}` is missing");
            self.at.report().error(place, Code::MissingField, message);
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
        self.asked.push(name);
        let entry = self.entries.iter().find(|entry| entry.name() == name)?;
        Some(self.at.child(name, &entry.node))
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
    fn drop(&mut self) {
        if self.open {
            return;
        }
        for entry in self.entries {
            let name = entry.name();
            if self.asked.contains(&name) {
                continue;
            }
            let message = format!("there is no field {}", quoted(name));
            let way_out = did_you_mean(name, self.asked.iter().copied())
                .unwrap_or_else(|| format!("known here: {}", self.asked.join(", ")));
            let key = self.at.child(name, &entry.key);
            let _: Option<()> = key.refuse_with(Code::UnknownField, message, way_out);
        }
    }
}

/// `path.key`; a key that is no plain word is quoted.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let separator = if path.is_empty() { "" } else { "." };
    if !key.is_empty() && key.len() <= 80 && key.bytes().all(plain) {
        format!("{path}{separator}{key}")
    } else {
        format!("{path}{separator}{}", quoted(key))
    }
}
