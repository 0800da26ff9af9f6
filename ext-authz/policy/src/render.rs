//! Problems as people and programs read them: text with the offending line and a caret under the value,
//! as rustc and Cedar show theirs, or one JSON object.

use std::{collections::HashMap, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::json;

use crate::{
    compile::Source,
    problem::{
        Code, Counts, Place, Problem, Problems, Severity, is_unprintable, printable, secret,
    },
};

#[cfg(test)]
mod tests;

/// Longest line shown, in bytes; of a longer one only the place is told.
const MAX_SHOWN_BYTES: usize = 4096;

/// Whether the text is for a terminal that shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// ANSI escape sequences, all of them ours.
    Always,
    /// None.
    Never,
}

/// All problems with their lines of `sources`, a blank line after each; of many at most `limit`, and then how many
/// more there are.
///
/// SECURITY: nothing of a file reaches the result unless it is printable and does not look like a secret.
pub fn text(problems: &Problems, sources: &[Source], colour: Colour, limit: usize) -> String {
    let renderer = match colour {
        Colour::Always => Renderer::styled(),
        Colour::Never => Renderer::plain(),
    };
    let mut lines = Lines::of(problems, sources);
    let (told, left_out) = problems.at_most(limit);
    let mut text = String::new();
    for problem in told {
        text.push_str(&renderer.render(&[group(problem, &mut lines)]));
        text.push_str("\n\n");
    }
    if left_out.total() > 0 {
        let counts = counted(left_out);
        text.push_str(&format!("and more that are not shown: {counts}\n\n"));
    }
    text
}

/// One object for programs; the reference page documents its members. `revision` is that of an accepted
/// set. At most `limit` problems stand in it.
pub fn json(problems: &Problems, revision: Option<&str>, limit: usize) -> String {
    let one = |problem: &Problem| {
        let place = &problem.place;
        let known = |number: usize| (number > 0).then_some(number);
        json!({
            "severity": problem.severity.name(),
            "code": problem.code.name(),
            "message": problem.message,
            "help": problem.way_out,
            "file": place.file.as_ref(),
            "line": known(place.line),
            "column": known(place.column),
            "end_line": known(place.end_line),
            "end_column": known(place.end_column),
            "path": place.path,
        })
    };
    let (told, left_out) = problems.at_most(limit);
    let object = json!({
        "errors": problems.error_count(),
        "warnings": problems.warning_count(),
        "revision": revision,
        "omitted": left_out.total(),
        "problems": told.into_iter().map(one).collect::<Vec<_>>(),
    });
    // A name of a file may hold anything; JSON can escape all of it (RFC 8259 §7).
    object
        .to_string()
        .chars()
        .fold(String::new(), |mut text, letter| {
            if is_unprintable(letter) {
                let units = letter.encode_utf16(&mut [0; 2]).to_vec();
                text.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
            } else {
                text.push(letter);
            }
            text
        })
}

/// `2 errors, 1 warning`.
pub fn summary(problems: &Problems) -> String {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let counts = Counts {
        errors: number(problems.error_count()),
        warnings: number(problems.warning_count()),
    };
    match counts.total() {
        0 => "no problems".to_owned(),
        _ => counted(counts),
    }
}

fn counted(Counts { errors, warnings }: Counts) -> String {
    let counted = |count: u32, word: &str| match count {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    format!(
        "{}, {}",
        counted(errors, "error"),
        counted(warnings, "warning")
    )
}

fn group(problem: &Problem, lines: &mut Lines<'_>) -> Group<'static> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let place = &problem.place;
    let file = printable(&place.file).into_owned();
    let title = level
        .primary_title(problem.message.clone())
        .id(problem.code.name());
    let group = match lines.shown(place) {
        Some(shown) => {
            let caret = AnnotationKind::Primary.span(shown.start..shown.end);
            let snippet = Snippet::source(shown.text).path(file);
            title.element(snippet.line_start(place.line).annotation(caret))
        }
        None if place.line == 0 => title.element(Origin::path(file)),
        None => {
            let origin = Origin::path(file).line(place.line);
            title.element(origin.char_column(place.column))
        }
    };
    let help = problem.way_out.iter().cloned();
    let group = group.elements(help.map(|way_out| Level::HELP.message(way_out)));
    if place.path.is_empty() {
        return group;
    }
    group.element(Level::NOTE.with_name("in").message(place.path.clone()))
}

/// The lines of the files that have problems.
struct Lines<'s> {
    /// Where secrets stand that were refused: nobody sees them, whatever else is wrong in their line.
    secrets: Vec<&'s Place>,
    sources: HashMap<&'s str, &'s [u8]>,
    /// Where each line begins, of the files that were asked for.
    begins: HashMap<&'s str, Vec<usize>>,
}

/// A line that a terminal may show.
struct Shown {
    text: String,
    /// In bytes of `text`: what the problem is with.
    start: usize,
    end: usize,
}

impl<'s> Lines<'s> {
    fn of(problems: &'s Problems, sources: &'s [Source]) -> Self {
        let pair = |source: &'s Source| (source.name.as_str(), source.text.as_slice());
        let secrets = problems.iter();
        let secrets = secrets.filter(|problem| problem.code == Code::LiteralSecret);
        Self {
            secrets: secrets.map(|problem| &problem.place).collect(),
            sources: sources.iter().map(pair).collect(),
            begins: HashMap::new(),
        }
    }

    fn shown(&mut self, place: &Place) -> Option<Shown> {
        let (name, bytes) = self.sources.get_key_value(place.file.as_ref())?;
        let begins = self.begins.entry(name).or_insert_with(|| begins(bytes));
        let number = place.line.checked_sub(1)?;
        let from = *begins.get(number)?;
        let to = begins.get(place.line).copied().unwrap_or(bytes.len());
        let line = bytes.get(from..to)?;
        if line.len() > MAX_SHOWN_BYTES {
            return None;
        }
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\n', '\r']);
        let first = place.column.saturating_sub(1);
        let last = match place.end_line {
            end if end == place.line => place.end_column.saturating_sub(1),
            // Only the first of several lines is underlined.
            end if end > place.line => line.trim_end().chars().count(),
            _ => 0,
        };
        let mut hidden = secret::hidden(line);
        hidden.extend(self.secrets_in(place, line));
        let last = last.max(first.saturating_add(1));
        Some(shown(line, &hidden, first, last))
    }

    /// The bytes of refused secrets in the line of `place`.
    fn secrets_in(&self, place: &Place, line: &str) -> Vec<Range<usize>> {
        let number = place.line;
        let here = self.secrets.iter().filter(|secret| {
            secret.file == place.file && (secret.line..=secret.end_line).contains(&number)
        });
        let at = |column: usize| {
            let mut letters = line.char_indices().skip(column.saturating_sub(1));
            letters.next().map_or(line.len(), |(at, _)| at)
        };
        let bytes = here.map(|secret| {
            let from = if secret.line == number {
                at(secret.column)
            } else {
                0
            };
            let to = if secret.end_line == number {
                at(secret.end_column)
            } else {
                line.len()
            };
            from..to
        });
        bytes.collect()
    }
}

/// The line with one printable character for each of its own. `first` and `last` count characters.
fn shown(line: &str, hidden: &[Range<usize>], first: usize, last: usize) -> Shown {
    let mut shown = Shown {
        text: String::with_capacity(line.len()),
        start: 0,
        end: 0,
    };
    for (position, (at, letter)) in line.char_indices().enumerate() {
        if position == first {
            shown.start = shown.text.len();
        }
        shown.text.push(match letter {
            '\t' => ' ',
            _ if hidden.iter().any(|range| range.contains(&at)) => '*',
            _ if is_unprintable(letter) => char::REPLACEMENT_CHARACTER,
            _ => letter,
        });
        if position < last {
            shown.end = shown.text.len();
        }
    }
    if first >= line.chars().count() {
        (shown.start, shown.end) = (shown.text.len(), shown.text.len());
    }
    shown
}

/// YAML ends a line with a line feed, a carriage return, or both (YAML 1.2 §5.4).
fn begins(bytes: &[u8]) -> Vec<usize> {
    let mut begins = vec![0];
    let mut bytes = bytes.iter().copied().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let ends = match byte {
            b'\n' => true,
            b'\r' => bytes.peek().is_none_or(|(_, next)| *next != b'\n'),
            _ => false,
        };
        if ends {
            begins.push(at.saturating_add(1));
        }
    }
    begins
}
