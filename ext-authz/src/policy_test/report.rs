//! What `attache test` prints.

use std::fmt::{self, Write as _};

use serde_json::json;

use super::{Tally, Tried};
use crate::explain::text::{self as explanation, plain};

/// Each failing case with its explanation, then a line with the counts.
pub(super) fn text(tried: &[Tried]) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for one in tried {
        let mark = if matches!(one.result, Tally::Passed) {
            "ok  "
        } else {
            "FAIL"
        };
        let (test, case) = (plain(&one.test), plain(&one.case));
        writeln!(out, "{mark} {test}: {case}")?;
        let details = details(one)?;
        for line in details.lines() {
            writeln!(out, "     {line}")?;
        }
        if !details.is_empty() {
            writeln!(out)?;
        }
    }
    let failed = failed(tried);
    let passed = tried.len().saturating_sub(failed);
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(out)
}

/// `{"passed", "failed", "cases": […]}`.
pub(super) fn json(tried: &[Tried]) -> anyhow::Result<String> {
    let failed = failed(tried);
    let cases: Vec<_> = tried
        .iter()
        .map(|one| {
            let (result, differences, explanation) = match &one.result {
                Tally::Passed => ("passed", vec![], None),
                Tally::Failed(differences, explained) => {
                    ("failed", differences.clone(), Some(explained))
                }
                Tally::Impossible(why) => ("failed", vec![why.clone()], None),
            };
            json!({
                "test": one.test,
                "case": one.case,
                "file": one.place.file.as_ref(),
                "line": one.place.line,
                "expected": one.expected,
                "result": result,
                "differences": differences,
                "explanation": explanation,
            })
        })
        .collect();
    let report = json!({
        "passed": tried.len().saturating_sub(failed),
        "failed": failed,
        "cases": cases,
    });
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// One `testsuite` for each document, as Jenkins, GitLab and GitHub's reporters read it.
pub(super) fn junit(tried: &[Tried]) -> Result<String, fmt::Error> {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (all, failures) = (tried.len(), failed(tried));
    writeln!(
        out,
        "<testsuites name=\"attache test\" tests=\"{all}\" failures=\"{failures}\">"
    )?;
    for suite in tried.chunk_by(|one, next| one.test == next.test) {
        let name = suite.first().map(|one| xml(&one.test)).unwrap_or_default();
        let (all, failures) = (suite.len(), failed(suite));
        writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{all}\" failures=\"{failures}\">"
        )?;
        for one in suite {
            let (case, file, line) = (xml(&one.case), xml(&one.place.file), one.place.line);
            write!(
                out,
                "    <testcase classname=\"{name}\" name=\"{case}\" file=\"{file}\" line=\"{line}\""
            )?;
            if matches!(one.result, Tally::Passed) {
                writeln!(out, "/>")?;
                continue;
            }
            let (message, details) = (xml(&summary(one)), xml(&details(one)?));
            writeln!(
                out,
                ">\n      <failure message=\"{message}\">{details}</failure>\n    </testcase>"
            )?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")?;
    Ok(out)
}

fn failed(tried: &[Tried]) -> usize {
    tried
        .iter()
        .filter(|one| !matches!(one.result, Tally::Passed))
        .count()
}

fn summary(one: &Tried) -> String {
    match &one.result {
        Tally::Passed => String::new(),
        Tally::Failed(differences, _) => differences.join("; "),
        Tally::Impossible(why) => why.clone(),
    }
}

/// Nothing for a case that passed.
fn details(one: &Tried) -> Result<String, fmt::Error> {
    let mut out = String::new();
    match &one.result {
        Tally::Passed => return Ok(out),
        Tally::Failed(differences, explained) => {
            writeln!(out, "{}", one.place)?;
            for difference in differences {
                writeln!(out, "{}", plain(difference))?;
            }
            writeln!(out)?;
            explanation::explained(&mut out, explained)?;
        }
        Tally::Impossible(why) => writeln!(out, "{}\n{}", one.place, plain(why))?,
    }
    Ok(out)
}

/// Text for XML 1.0: what it cannot hold, or what a terminal would obey, is escaped.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            other if other.is_control() || matches!(other, '\u{fffe}' | '\u{ffff}') => {
                out.extend(other.escape_default());
            }
            other => out.push(other),
        }
    }
    out
}
