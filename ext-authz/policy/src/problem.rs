//! What is wrong with a set of documents: every problem of a run, each with its place and the way out.

mod code;
pub(crate) mod secret;
mod text;

#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    fmt::{self, Display},
    sync::Arc,
};

pub use code::Code;
pub(crate) use text::is_unprintable;
pub use text::{did_you_mean, printable, quoted};

/// Whether the set is refused because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The set is refused.
    Error,
    /// The set is accepted; what it says is probably not what was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Where in a file, and where in a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name as it was given.
    pub file: Arc<str>,
    /// From 1; 0 if the problem is with the file as a whole.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Such as `AccessPolicy payment-to-stripe: spec.server`.
    pub path: String,
    /// The line of the value's end; 0 if it is not known.
    pub end_line: usize,
    /// In characters, from 1: that after the value's last; 0 if it is not known.
    pub end_column: usize,
}

impl Place {
    /// A file as a whole.
    pub fn file(name: &str) -> Self {
        Self {
            file: name.into(),
            ..Self::default()
        }
    }
}

/// `file:line`, for a message that points to another place.
impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", printable(&self.file), self.line)
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Whether the set is refused because of it.
    pub severity: Severity,
    /// What kind of problem.
    pub code: Code,
    /// What is wrong, with the offending value.
    pub message: String,
    /// What to write instead, where that is known.
    pub way_out: Option<String>,
}

/// `file:line:column: path: message; way out`, with `warning: ` before the path of a warning.
impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            file,
            line,
            column,
            path,
            end_line: _,
            end_column: _,
        } = &self.place;
        let file = printable(file);
        match line {
            0 => write!(f, "{file}: ")?,
            _ => write!(f, "{file}:{line}:{column}: ")?,
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)?;
        self.way_out
            .as_ref()
            .map_or(Ok(()), |way_out| write!(f, "; {way_out}"))
    }
}

/// All problems of a run, by file, line and column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems in order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of one file.
    #[must_use]
    pub fn of(&self, file: &str) -> Self {
        let problems = self.iter().filter(|problem| &*problem.place.file == file);
        Self(problems.cloned().collect())
    }

    /// These and `others`.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        let mut problems = self.0;
        problems.extend(others.0);
        Self::sorted(problems)
    }

    fn sorted(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|one, other| {
            let key = |problem: &Problem| (problem.severity, problem.code);
            one.place.cmp(&other.place).then(key(one).cmp(&key(other)))
        });
        Self(problems)
    }

    /// How many refuse the set.
    pub fn error_count(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many refuse nothing.
    pub fn warning_count(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        let counted = self.iter().filter(|problem| problem.severity == severity);
        counted.count()
    }
}

/// One problem a line.
impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects problems while files are read, so that one run tells them all.
#[derive(Debug, Default)]
pub struct Report {
    problems: RefCell<Vec<Problem>>,
}

impl Report {
    /// An empty report.
    pub const fn new() -> Self {
        Self {
            problems: RefCell::new(Vec::new()),
        }
    }

    /// Adds an error.
    pub fn error(&self, place: Place, code: Code, message: impl Into<String>) {
        self.add(place, Severity::Error, code, &message.into(), None);
    }

    /// Adds an error with the way out, if one is known.
    pub fn error_with(
        &self,
        place: Place,
        code: Code,
        message: impl Into<String>,
        way_out: Option<String>,
    ) {
        self.add(place, Severity::Error, code, &message.into(), way_out);
    }

    /// Adds a warning with the way out, if one is known.
    pub fn warning(
        &self,
        place: Place,
        code: Code,
        message: impl Into<String>,
        way_out: Option<String>,
    ) {
        self.add(place, Severity::Warning, code, &message.into(), way_out);
    }

    /// Takes over what another report holds.
    pub(crate) fn absorb(&self, other: Self) {
        self.problems
            .borrow_mut()
            .extend(other.problems.into_inner());
    }

    /// Whether an error was added.
    pub fn has_errors(&self) -> bool {
        self.problems
            .borrow()
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// All problems, sorted.
    pub fn into_problems(self) -> Problems {
        Problems::sorted(self.problems.into_inner())
    }

    fn add(
        &self,
        place: Place,
        severity: Severity,
        code: Code,
        message: &str,
        way_out: Option<String>,
    ) {
        // SECURITY: messages repeat what strangers wrote and end on terminals, whoever made the message.
        let message = printable(message).into_owned();
        let way_out = way_out.map(|text| printable(&text).into_owned());
        self.problems.borrow_mut().push(Problem {
            place,
            severity,
            code,
            message,
            way_out,
        });
    }
}
