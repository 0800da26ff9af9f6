//! `attache validate DIR`: every problem of a policy directory in one run, for people or programs.

use std::{
    ffi::OsString,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use attache_core::spiffe_id::TrustDomain;
use attache_credentials::SecretRoots;
use attache_edge::{live, providers, reload::PolicySource, secrets};
use attache_policy::{
    Code, Compiled, Problems, Report, Settings, Source,
    problem::printable,
    render::{self, Colour},
};
use clap::{Args, ValueEnum};

use crate::config::Config;

/// The arguments, the directory or the configuration cannot be used.
const UNUSABLE: u8 = 2;

/// Check a directory of policies; list every problem at once.
///
/// Every problem is shown with its code, file, line and column, the line itself, what is wrong and what to
/// write instead. Warnings do not refuse a set.
///
/// Exit codes: 0 without errors (warnings allowed), 1 with errors, 2 if the arguments are wrong or the
/// directory or the configuration cannot be read.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The directory of documents (.yaml, .yml, .json).
    directory: PathBuf,
    /// The configuration whose trust domain and trust providers apply.
    #[arg(long, env = "ATTACHE_CONFIG")]
    config: Option<PathBuf>,
    /// Lines for people, or one JSON object for programs.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// How many problems are told at most; the counts are those of all. 0 tells all that are kept: of one set
    /// 10,000 errors and 10,000 warnings.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

impl ValidateArgs {
    const fn limit(&self) -> usize {
        match self.limit {
            0 => usize::MAX,
            limit => limit,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Each problem with its line, then a summary. In colour on a terminal, unless NO_COLOR is set.
    Text,
    /// `{"errors", "warnings", "revision", "omitted", "problems": [{"severity", "code", "message", "help", "file",
    /// "line", "column", "end_line", "end_column", "path"}]}`.
    Json,
}

pub(crate) fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let (source, sources) = match read(args) {
        Ok(read) => read,
        Err(error) => {
            let told = format!("{error:#}");
            let told: Vec<_> = told.lines().map(printable).collect();
            writeln!(std::io::stderr(), "attache: {}", told.join("\n"))?;
            return Ok(ExitCode::from(UNUSABLE));
        }
    };
    let (problems, compiled) = check(&source, &sources);
    let revision = compiled.as_ref().map(Compiled::revision);
    let report = match args.format {
        Format::Json => render::json(&problems, revision, args.limit()) + "\n",
        Format::Text => {
            let colour = colour(|name| std::env::var_os(name));
            let shown = render::text(&problems, &sources, colour, args.limit());
            let directory = args.directory.display().to_string();
            let directory = printable(&directory);
            let summary = render::summary(&problems);
            let revision = revision.map(|revision| format!("; revision {revision}"));
            format!(
                "{shown}{directory}: {summary}{}\n",
                revision.unwrap_or_default()
            )
        }
    };
    crate::print(&report)?;
    Ok(match compiled {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    })
}

fn read(args: &ValidateArgs) -> anyhow::Result<(PolicySource, Vec<Source>)> {
    let directory = args.directory.clone();
    let source = match &args.config {
        Some(path) => PolicySource {
            directory,
            ..Config::load(path)?.policy_source()
        },
        None => PolicySource {
            directory,
            settings: Settings {
                trust_domain: TrustDomain::parse("cluster.local")?,
                trust_providers: vec![],
            },
            file_roots: vec![PathBuf::from("/")],
            secrets: SecretRoots::everything(),
        },
    };
    let sources = live::sources(&source.directory)?;
    Ok((source, sources))
}

/// What `serve` checks before it puts a set in force. The set is `None` if an error refuses it.
fn check(source: &PolicySource, sources: &[Source]) -> (Problems, Option<Compiled>) {
    let compiled = match attache_policy::compile(sources, &source.settings) {
        Ok(compiled) => compiled,
        Err(problems) => return (problems, None),
    };
    let mut roots = vec![source.directory.clone()];
    roots.extend_from_slice(&source.file_roots);
    let refused = match providers::of(&compiled, &roots) {
        Err(providers::ForeignFiles(problems)) => problems,
        Ok(configs) => match attache_trust::check(&configs) {
            Ok(()) => match secrets::check(&compiled, &source.secrets) {
                Ok(()) => return (compiled.warnings().clone(), Some(compiled)),
                Err(secrets::ForeignSecrets(problems)) => problems,
            },
            Err(invalid) => placed(&invalid, &compiled),
        },
    };
    (compiled.warnings().clone().and(refused), None)
}

fn placed(invalid: &attache_trust::InvalidProviders, compiled: &Compiled) -> Problems {
    let report = Report::new();
    for one in &invalid.0 {
        let written = compiled
            .trust_providers()
            .iter()
            .find(|provider| provider.name == one.provider);
        let place = written.map(|provider| provider.place.clone());
        let message = one.problem.to_string();
        report.error(place.unwrap_or_default(), Code::InvalidValue, message);
    }
    report.into_problems()
}

fn colour(variable: impl Fn(&str) -> Option<OsString>) -> Colour {
    if std::io::stdout().is_terminal() && wants_colour(variable) {
        Colour::Always
    } else {
        Colour::Never
    }
}

/// <https://no-color.org>: any value that is not empty says no.
fn wants_colour(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = variable("TERM").is_some_and(|term| term == "dumb");
    !no_color && !dumb
}

#[cfg(test)]
mod tests;
