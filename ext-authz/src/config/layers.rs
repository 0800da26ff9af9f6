//! One setting from three layers: the environment wins over the file, the file over the default.

use std::{cell::RefCell, collections::BTreeMap, ffi::OsString};

use attache_policy::{
    Report,
    problem::{Code, Place, did_you_mean, printable},
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
    /// The variables that begin with `ATTACHE_`. One that is not UTF-8 is refused: it may be a setting, and
    /// its value may be a secret.
    pub(crate) fn of(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        report: &'r Report,
    ) -> Self {
        let mut ours = BTreeMap::new();
        for (name, value) in variables {
            if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            let name = name.into_string();
            match (name, value.into_string()) {
                (Ok(name), Ok(value)) => drop(ours.insert(name, value)),
                // Read by others, who take any bytes.
                (Ok(name), Err(_)) if is_other(&name) => {}
                (Ok(name), Err(_value)) => {
                    let way_out = Some("set it to a text, or unset it".to_owned());
                    let message = "its value is not UTF-8";
                    report.error_with(Self::place(&name), Code::NotUtf8, message, way_out);
                }
                (Err(name), _) => {
                    let name = name.to_string_lossy();
                    let message = "its name is not UTF-8";
                    let way_out = Some("unset it".to_owned());
                    let place = Self::place(&printable(&name));
                    report.error_with(place, Code::NotUtf8, message, way_out);
                }
            }
        }
        Self {
            variables: ours,
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
            if !asked.contains(name) && !service_link && !is_other(name) {
                let message = "there is no such setting";
                let near = did_you_mean(name, asked.iter().map(String::as_str));
                self.report
                    .warning(Self::place(name), Code::UnknownField, message, near);
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

/// Whether a variable with our prefix is none of the settings.
fn is_other(name: &str) -> bool {
    OTHERS.iter().any(|other| name.starts_with(other))
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

    /// Refuses the value of a setting, read before, for what another one says.
    pub(crate) fn refuse(&mut self, name: &'static str, message: String, way_out: String) {
        let variable = self.variable(name);
        let (environment, at) = (self.environment, self.field(name));
        let place = match at.or_else(|| self.fields.as_ref().map(|fields| fields.at().clone())) {
            _ if environment.variables.contains_key(&variable) => Environment::place(&variable),
            Some(at) => at.place(),
            // A default that another variable contradicts.
            None => Environment::place(&variable),
        };
        let report = environment.report;
        report.error_with(place, Code::OutOfRange, message, Some(way_out));
    }

    fn variable(&self, name: &str) -> String {
        let dotted = format!("{PREFIX}{}{name}", self.path);
        dotted.replace('.', "_").to_ascii_uppercase()
    }

    /// A single value; `None` after a problem was reported.
    pub(crate) fn or<T>(
        &mut self,
        name: &'static str,
        default: T,
        read: impl Fn(&At<'_>) -> Option<T>,
    ) -> Option<T> {
        let variable = self.variable(name);
        let in_file = self.field(name);
        match self.environment.read(variable, &read) {
            Some(value) => value,
            None => in_file.map_or(Some(default), |at| read(&at)),
        }
    }
}
