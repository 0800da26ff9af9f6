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

    pub(crate) fn spot(&self) -> Spot {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Spot {
            file: Arc::clone(&self.file),
            line: number(self.line),
            column: number(self.column),
            end: (number(self.end_line), number(self.end_column)),
        }
    }
}

/// A place without its path, which is made where something is told: small, for what is kept of each document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) end: (u32, u32),
}

impl Spot {
    pub(crate) fn place(&self, path: String) -> Place {
        let (end_line, end_column) = self.end;
        Place {
            file: Arc::clone(&self.file),
            line: self.line as usize,
            column: self.column as usize,
            path,
            end_line: end_line as usize,
            end_column: end_column as usize,
        }
    }
}

/// As [`Place`] is shown.
impl Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", printable(&self.file), self.line)
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

/// How many errors, and how many warnings, of one run are kept. More are only counted: a file of nothing but
/// mistakes would otherwise fill the memory with what is said of them.
pub const MAX_KEPT: usize = 10_000;

/// How many names are compared with in one run to suggest one.
const MAX_COMPARED: usize = 2_000_000;

/// How many problems a text of one line each tells, such as that of a log.
const MAX_LINES: usize = 200;

/// All problems of a run, by file, line and column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    kept: Box<[Problem]>,
    /// Those that were only counted.
    left_out: Counts,
}

/// How many problems there are of each severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) errors: u32,
    pub(crate) warnings: u32,
}

impl Counts {
    fn add(&mut self, severity: Severity, count: u32) {
        let own = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *own = own.saturating_add(count);
    }

    const fn of(self, severity: Severity) -> usize {
        match severity {
            Severity::Error => self.errors as usize,
            Severity::Warning => self.warnings as usize,
        }
    }

    pub(crate) const fn total(self) -> usize {
        self.errors.saturating_add(self.warnings) as usize
    }
}

impl Problems {
    /// Those that were kept, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.kept.iter()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Those of one file.
    #[must_use]
    pub fn of(&self, file: &str) -> Self {
        let kept = self.iter().filter(|problem| &*problem.place.file == file);
        Self {
            kept: kept.cloned().collect(),
            left_out: Counts::default(),
        }
    }

    /// These and `others`.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        let Self { kept, left_out } = self;
        let mut kept = kept.into_vec();
        kept.extend(others.kept);
        let mut all = Self::sorted(kept);
        for counts in [left_out, others.left_out] {
            all.left_out.add(Severity::Error, counts.errors);
            all.left_out.add(Severity::Warning, counts.warnings);
        }
        all
    }

    fn sorted(mut kept: Vec<Problem>) -> Self {
        kept.sort_by(|one, other| {
            let key = |problem: &Problem| (problem.severity, problem.code);
            one.place.cmp(&other.place).then(key(one).cmp(&key(other)))
        });
        Self {
            kept: kept.into(),
            left_out: Counts::default(),
        }
    }

    /// At most `limit` of them, in order, and how many that leaves out. Where not all find room, errors come before
    /// warnings.
    pub(crate) fn at_most(&self, limit: usize) -> (Vec<&Problem>, Counts) {
        let room_for_warnings = limit.saturating_sub(self.count(Severity::Error));
        let mut room = [limit, room_for_warnings];
        let mut left_out = self.left_out;
        let mut told = Vec::new();
        for problem in &self.kept {
            let [errors, warnings] = &mut room;
            let room = match problem.severity {
                Severity::Error => errors,
                Severity::Warning => warnings,
            };
            match room.checked_sub(1) {
                Some(less) => {
                    *room = less;
                    told.push(problem);
                }
                None => left_out.add(problem.severity, 1),
            }
        }
        (told, left_out)
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
        counted.count().saturating_add(self.left_out.of(severity))
    }
}

/// One problem a line, and of many how many more there are.
impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (told, left_out) = self.at_most(MAX_LINES);
        for (position, problem) in told.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        match left_out.total() {
            0 => Ok(()),
            more => write!(f, "\nand {more} more, which `attache validate` tells"),
        }
    }
}

impl std::error::Error for Problems {}

/// Collects problems while files are read, so that one run tells them all.
#[derive(Debug, Default)]
pub struct Report {
    collected: RefCell<Collected>,
}

#[derive(Debug, Default)]
struct Collected {
    kept: Vec<Problem>,
    /// How many of each severity are kept.
    counts: Counts,
    left_out: Counts,
    /// How many names were compared with for suggestions.
    compared: usize,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
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
        let Collected { kept, left_out, .. } = other.collected.into_inner();
        for problem in kept {
            self.keep(problem);
        }
        let own = &mut self.collected.borrow_mut().left_out;
        own.add(Severity::Error, left_out.errors);
        own.add(Severity::Warning, left_out.warnings);
    }

    /// Whether an error was added.
    pub fn has_errors(&self) -> bool {
        self.collected.borrow().counts.errors > 0
    }

    /// Whether `count` names may still be compared with one that nothing has. For a set of many mistakes and many
    /// names that would take longer than all the rest.
    pub(crate) fn may_compare(&self, count: usize) -> bool {
        let compared = &mut self.collected.borrow_mut().compared;
        *compared = compared.saturating_add(count);
        *compared <= MAX_COMPARED
    }

    /// All problems, sorted.
    pub fn into_problems(self) -> Problems {
        let Collected { kept, left_out, .. } = self.collected.into_inner();
        Problems {
            left_out,
            ..Problems::sorted(kept)
        }
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
        self.keep(Problem {
            place,
            severity,
            code,
            message,
            way_out,
        });
    }

    fn keep(&self, problem: Problem) {
        let collected = &mut *self.collected.borrow_mut();
        let severity = problem.severity;
        // SECURITY: who shows lines of a file must know where secrets stand in them.
        let room = if problem.code == Code::LiteralSecret {
            MAX_KEPT.saturating_mul(10)
        } else {
            MAX_KEPT
        };
        if collected.counts.of(severity) < room {
            collected.counts.add(severity, 1);
            collected.kept.push(problem);
        } else {
            collected.left_out.add(severity, 1);
        }
    }
}
