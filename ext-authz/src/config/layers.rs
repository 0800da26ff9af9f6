//! One setting from three layers: the environment wins over the file, the file over the default.

use std::{cell::RefCell, collections::BTreeMap};

use attache_policy::{
    Report,
    problem::{Code, Place},
    yaml::{At, Fields, File},
};

/// What every variable of ours begins with.
const PREFIX: &str = "ATTACHE_";

/// Variables with our prefix that are no settings.
const OTHERS: [&str; 2] = ["ATTACHE_CONFIG", "ATTACHE_SECRET_"];

/// Environment variables by name, and which of them are settings.
pub(crate) struct Environment<'r> {
    variables: BTreeMap<String, String>,
    asked: RefCell<Vec<String>>,
    report: &'r Report,
}

impl<'r> Environment<'r> {
    /// The variables that begin with `ATTACHE_`.
    pub(crate) fn of(
        variables: impl IntoIterator<Item = (String, String)>,
        report: &'r Report,
    ) -> Self {
        let ours = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX));
        Self {
            variables: ours.collect(),
            asked: RefCell::default(),
            report,
        }
    }

    /// Warns of variables that are no setting. They are no error: Kubernetes makes `ATTACHE_PORT` and
    /// the like of a Service named `attache`.
    pub(crate) fn warn_of_unknown(&self) {
        let asked = self.asked.borrow();
        for name in self.variables.keys() {
            let service_link = name.contains("_SERVICE_") || name.contains("_PORT");
            let other = OTHERS.iter().any(|other| name.starts_with(other));
            if !asked.contains(name) && !service_link && !other {
                let message = "there is no such setting";
                self.report
                    .warning(Self::place(name), Code::UnknownField, message, None);
            }
        }
    }

    fn place(name: &str) -> Place {
        Place::file(&format!("environment variable {name}"))
    }

    fn read<T>(&self, name: String, read: impl FnOnce(&At<'_>) -> Option<T>) -> Option<Option<T>> {
        let text = self.variables.get(&name);
        let read_text = text.map(|text| {
            let file = File::read(
                &format!("environment variable {name}"),
                text.as_bytes(),
                self.report,
            );
            let mut documents = file.documents();
            let Some(value) = documents.next() else {
                self.report
                    .error(Self::place(&name), Code::Empty, "there is no value");
                return None;
            };
            read(&value)
        });
        self.asked.borrow_mut().push(name);
        read_text
    }
}

/// A mapping of the file with the environment above it.
pub(crate) struct Section<'a> {
    fields: Option<Fields<'a>>,
    environment: &'a Environment<'a>,
    path: String,
}

impl<'a> Section<'a> {
    /// The file's root; `None` for an empty file.
    pub(crate) fn root(root: Option<&At<'a>>, environment: &'a Environment<'a>) -> Self {
        Self {
            fields: root.and_then(At::fields),
            environment,
            path: String::new(),
        }
    }

    /// A mapping within this one.
    pub(crate) fn section(&mut self, name: &'static str) -> Self {
        let field = self.field(name);
        let path = format!("{}{name}.", self.path);
        Self {
            fields: field.and_then(|at| at.fields()),
            environment: self.environment,
            path,
        }
    }

    /// A value that the environment cannot set: a list or a mapping.
    pub(crate) fn field(&mut self, name: &'static str) -> Option<At<'a>> {
        self.fields.as_mut().and_then(|fields| fields.field(name))
    }

    /// A single value; `None` after a problem was reported.
    pub(crate) fn or<T>(
        &mut self,
        name: &'static str,
        default: T,
        read: impl Fn(&At<'_>) -> Option<T>,
    ) -> Option<T> {
        let variable = format!("{PREFIX}{}{name}", self.path)
            .replace('.', "_")
            .to_ascii_uppercase();
        let in_file = self.field(name);
        match self.environment.read(variable, &read) {
            Some(value) => value,
            None => in_file.map_or(Some(default), |at| read(&at)),
        }
    }
}
