//! Members of JSON objects, read one by one, with every problem collected under its path.

use core::cell::RefCell;

use serde_json::{Map, Value};

/// The problems found so far.
#[derive(Default)]
pub(super) struct Problems(RefCell<Vec<String>>);

impl Problems {
    pub(super) fn add(&self, path: &str, problem: &str) {
        let text = if path.is_empty() {
            problem.to_owned()
        } else {
            format!("`{path}`: {problem}")
        };
        self.0.borrow_mut().push(text);
    }

    pub(super) fn into_list(self) -> Vec<String> {
        self.0.into_inner()
    }
}

/// The members of one object.
pub(super) struct Fields<'a> {
    path: String,
    members: &'a Map<String, Value>,
    problems: &'a Problems,
    known: RefCell<Vec<&'static str>>,
}

/// A value and its place.
#[derive(Clone)]
pub(super) struct At<'a> {
    path: String,
    value: &'a Value,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(
        path: String,
        members: &'a Map<String, Value>,
        problems: &'a Problems,
    ) -> Self {
        let known = RefCell::new(Vec::new());
        Self {
            path,
            members,
            problems,
            known,
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// A member that may be absent. A member that is there and wrong is a problem, never a default.
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<T> {
        self.known.borrow_mut().push(name);
        let value = self.members.get(name)?;
        read(&At {
            path: join(&self.path, name),
            value,
            problems: self.problems,
        })
    }

    /// A member that must be there.
    pub(super) fn required<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(name) {
            self.known.borrow_mut().push(name);
            self.problems.add(&join(&self.path, name), "it is required");
            return None;
        }
        self.optional(name, read)
    }

    /// A member with a default for when it is absent.
    pub(super) fn or<T>(
        &self,
        name: &'static str,
        default: T,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> Option<T> {
        if self.has(name) {
            return self.optional(name, read);
        }
        self.known.borrow_mut().push(name);
        Some(default)
    }

    /// Adds a problem of the whole object.
    pub(super) fn problem<T>(&self, problem: &str) -> Option<T> {
        self.problems.add(&self.path, problem);
        None
    }

    /// Names the members that nobody asked for.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        for name in self
            .members
            .keys()
            .filter(|name| !known.contains(&name.as_str()))
        {
            let allowed = known.join("`, `");
            self.problems.add(
                &join(&self.path, name),
                &format!("there is no such setting; here are `{allowed}`"),
            );
        }
    }
}

impl<'a> At<'a> {
    pub(super) fn problem<T>(&self, problem: &str) -> Option<T> {
        self.problems.add(&self.path, problem);
        None
    }

    /// The value itself.
    pub(super) const fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        match self.value.as_str() {
            Some("") => self.problem("it is empty"),
            Some(text) => Some(text),
            None => self.problem("it must be a string"),
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, least: u64, most: u64) -> Option<u64> {
        match self.value.as_u64() {
            Some(number) if (least..=most).contains(&number) => Some(number),
            Some(_) | None => self.problem(&format!(
                "{} is not a whole number from {least} to {most}",
                self.value
            )),
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).or_else(|| {
            let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let allowed = allowed.join("`, `");
            self.problem(&format!("`{text}` is none of `{allowed}`"))
        })
    }

    /// A list that is not empty. All its wrong items are named.
    pub(super) fn list<T>(&self, mut read: impl FnMut(&Self) -> Option<T>) -> Option<Vec<T>> {
        let Some(items) = self.value.as_array().filter(|items| !items.is_empty()) else {
            return self.problem("it must be a list with at least one item");
        };
        let mut all = Vec::with_capacity(items.len());
        let mut whole = true;
        for (index, value) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.path);
            let problems = self.problems;
            let item = read(&Self {
                path,
                value,
                problems,
            });
            whole &= item.is_some();
            all.extend(item);
        }
        whole.then_some(all)
    }

    pub(super) fn fields(&self) -> Option<Fields<'a>> {
        match self.value.as_object() {
            Some(members) => Some(Fields::new(self.path.clone(), members, self.problems)),
            None => self.problem("it must be an object"),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
