//! What is wrong with a set of documents: every problem of a run, each with its place and the way out.

use std::{
    cell::RefCell,
    fmt::{self, Display},
    sync::Arc,
};

/// How much of a value a message repeats, in characters.
const MAX_QUOTED_CHARS: usize = 80;

/// How many names a suggestion is searched among; a larger set gets none.
const MAX_CANDIDATES: usize = 10_000;

/// Each variant beside its text, so that neither can be forgotten.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// What kind of problem it is. The code is stable; the message is for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable text of the code.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

codes! {
    /// The file is larger than is read.
    FileTooLarge => "file-too-large",
    /// The file is not UTF-8.
    NotUtf8 => "not-utf8",
    /// The file is not YAML 1.2.
    Syntax => "syntax",
    /// Mappings and lists are nested deeper than is read.
    TooDeep => "too-deep",
    /// An alias is cyclic, or aliases grow beyond what is read.
    Alias => "alias",
    /// A YAML tag.
    Tag => "tag",
    /// A key stands twice in one mapping.
    DuplicateKey => "duplicate-key",
    /// A value of another type than the field takes.
    WrongType => "wrong-type",
    /// A field without value, an empty text or an empty list.
    Empty => "empty",
    /// A required field is absent.
    MissingField => "missing-field",
    /// A field that the mapping does not have.
    UnknownField => "unknown-field",
    /// A word outside the field's list.
    UnknownChoice => "unknown-choice",
    /// A number, duration or size outside its bounds.
    OutOfRange => "out-of-range",
    /// A value of the right type and a wrong form.
    InvalidValue => "invalid-value",
    /// Fields that exclude each other.
    ConflictingFields => "conflicting-fields",
    /// An `apiVersion` that is not ours.
    UnknownVersion => "unknown-version",
    /// A `kind` that does not exist.
    UnknownKind => "unknown-kind",
    /// A name that is not a DNS-1123 name.
    InvalidName => "invalid-name",
    /// Two documents, or two list items, of one name.
    DuplicateName => "duplicate-name",
    /// A reference to a document that does not exist.
    DanglingReference => "dangling-reference",
    /// A reference that several documents answer to.
    AmbiguousReference => "ambiguous-reference",
    /// A reference to a document of another kind.
    WrongKindReference => "wrong-kind-reference",
    /// An attribute that no trust provider proves.
    UnknownAttribute => "unknown-attribute",
    /// A pattern that matches everything.
    MatchesEverything => "matches-everything",
    /// A host that is not a host.
    InvalidHost => "invalid-host",
    /// A path prefix that is not a plain absolute path.
    InvalidPath => "invalid-path",
    /// A method that is not a method, or is never let through.
    InvalidMethod => "invalid-method",
    /// A header that cannot carry a credential.
    InvalidHeader => "invalid-header",
    /// A URL that is none, or is not safe to fetch keys from.
    InvalidUrl => "invalid-url",
    /// Inline keys that are no usable key set.
    InvalidKeys => "invalid-keys",
    /// Two trust providers that could vouch for one identity.
    ProviderCollision => "provider-collision",
    /// Two allows of one rank that overlap with different credentials.
    CredentialConflict => "credential-conflict",
    /// A part of a policy that can never apply.
    NeverApplies => "never-applies",
    /// A workload that no trust provider can prove.
    Unproven => "unproven",
    /// A name that looks like a misspelling of another.
    LikelyMisspelled => "likely-misspelled",
}

/// Whether the set is refused because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The set is refused.
    Error,
    /// The set is accepted; what it says is probably not what was meant.
    Warning,
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
}

impl Place {
    /// A file as a whole.
    pub fn file(name: &str) -> Self {
        Self {
            file: name.into(),
            line: 0,
            column: 0,
            path: String::new(),
        }
    }
}

/// `file:line`, for a message that points to another place.
impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
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
        } = &self.place;
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

    /// How many refuse the set.
    pub fn error_count(&self) -> usize {
        self.iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count()
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
        self.add(place, Severity::Error, code, message.into(), None);
    }

    /// Adds an error with the way out, if one is known.
    pub fn error_with(
        &self,
        place: Place,
        code: Code,
        message: impl Into<String>,
        way_out: Option<String>,
    ) {
        self.add(place, Severity::Error, code, message.into(), way_out);
    }

    /// Adds a warning with the way out, if one is known.
    pub fn warning(
        &self,
        place: Place,
        code: Code,
        message: impl Into<String>,
        way_out: Option<String>,
    ) {
        self.add(place, Severity::Warning, code, message.into(), way_out);
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
        let mut problems = self.problems.into_inner();
        problems.sort_by(|one, other| {
            let key = |problem: &Problem| (problem.severity, problem.code);
            one.place.cmp(&other.place).then(key(one).cmp(&key(other)))
        });
        Problems(problems)
    }

    fn add(
        &self,
        place: Place,
        severity: Severity,
        code: Code,
        message: String,
        way_out: Option<String>,
    ) {
        let message = printable(message);
        let way_out = way_out.map(printable);
        self.problems.borrow_mut().push(Problem {
            place,
            severity,
            code,
            message,
            way_out,
        });
    }
}

/// SECURITY: messages repeat what strangers wrote and end on terminals; control characters are escaped,
/// whoever made the message.
fn printable(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let escape = |letter: char| {
        if letter.is_control() {
            letter.escape_default().to_string()
        } else {
            letter.to_string()
        }
    };
    text.chars().map(escape).collect()
}

/// `value` in double quotes, control characters escaped, cut where it is long: safe on a terminal.
pub fn quoted(value: &str) -> String {
    let mut chars = value.chars();
    let shown: String = chars.by_ref().take(MAX_QUOTED_CHARS).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("{shown:?}{rest}")
}

/// `did you mean "…"?` with the candidate that is nearest to `word`, if one is near.
pub(crate) fn did_you_mean<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    let tolerance = (word.chars().count() / 3).clamp(1, 3);
    let folded = word.to_lowercase();
    let mut nearest: Option<(usize, &str)> = None;
    for (position, candidate) in candidates.into_iter().enumerate() {
        if position >= MAX_CANDIDATES {
            return None;
        }
        if candidate.len().abs_diff(word.len()) > tolerance {
            continue;
        }
        let distance = strsim::osa_distance(&folded, &candidate.to_lowercase());
        if distance <= tolerance && nearest.is_none_or(|best| (distance, candidate) < best) {
            nearest = Some((distance, candidate));
        }
    }
    nearest.map(|(_, candidate)| format!("did you mean {}?", quoted(candidate)))
}
