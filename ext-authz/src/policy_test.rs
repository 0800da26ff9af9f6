//! `attache test DIR`: holds the policies of a directory against the expectations beside them.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::ensure;
use attache_core::{event::Outcome, request::Transport};
use attache_edge::explain::{Call, Caller, Explained, Unexplainable};
use attache_policy::{
    Place,
    document::{Case, Expected, PolicyTest, TestedCall, policy_tests},
};
use clap::{Args, ValueEnum};

use crate::{config::Config, explain::directory::Directory};

mod report;

#[cfg(test)]
mod tests;

/// The set cannot be tested.
const UNTESTABLE: u8 = 2;

/// Hold policies against the expectations that are kept beside them (`PolicyTest` documents).
///
/// Each case that fails is shown with the explanation of what was decided instead. Nothing is sent
/// anywhere, and no keys are fetched.
///
/// Exit codes: 0 all cases passed, 1 one failed, 2 wrong usage, the set does not load, or it has no case.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The directory of policies and tests (.yaml, .yml, .json).
    directory: PathBuf,
    /// The configuration whose trust domain, trust providers and `unmatched` apply.
    #[arg(long, env = "ATTACHE_CONFIG")]
    config: Option<PathBuf>,
    /// Only the cases whose document or name contains this text.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Text for people, JSON for programs, or JUnit's XML for CI.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
    Junit,
}

/// One case and how it went.
#[derive(Debug)]
struct Tried {
    /// The document's qualified name.
    test: String,
    case: String,
    /// Where it was written.
    place: Place,
    expected: String,
    result: Tally,
}

/// How a case went.
#[derive(Debug)]
enum Tally {
    Passed,
    /// It was decided otherwise: each difference, and the way to the decision.
    Failed(Vec<String>, Box<Explained>),
    /// It asks for what cannot be.
    Impossible(String),
}

pub(crate) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let tried = match try_all(args) {
        Ok(tried) => tried,
        Err(error) => {
            writeln!(io::stderr(), "attache: {error:#}")?;
            return Ok(ExitCode::from(UNTESTABLE));
        }
    };
    crate::print(&match args.output {
        Output::Text => report::text(&tried)?,
        Output::Json => report::json(&tried)?,
        Output::Junit => report::junit(&tried)?,
    })?;
    let passed = tried.iter().all(|one| matches!(one.result, Tally::Passed));
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn try_all(args: &TestArgs) -> anyhow::Result<Vec<Tried>> {
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let directory = Directory::load(&args.directory, config.as_ref(), None)?;
    let tests = policy_tests(&directory.sources, &directory.settings)?;
    let wanted = |test: &PolicyTest, case: &Case| {
        args.only
            .as_deref()
            .is_none_or(|text| test.name.to_string().contains(text) || case.name.contains(text))
    };
    let mut tried = Vec::new();
    for test in &tests {
        let cases = test.cases.iter().filter(|case| wanted(test, case));
        tried.extend(cases.map(|case| try_one(&directory, test, case)));
    }
    ensure!(
        !tried.is_empty(),
        "{} holds no {}case; write a document of kind PolicyTest",
        args.directory.display(),
        if args.only.is_some() { "such " } else { "" }
    );
    Ok(tried)
}

fn try_one(directory: &Directory, test: &PolicyTest, case: &Case) -> Tried {
    let Expected {
        outcome,
        policy,
        code,
        ..
    } = &case.expect;
    let mut expected = vec![word(*outcome).to_owned()];
    expected.extend(code.clone());
    expected.extend(policy.as_ref().map(|policy| format!("by {policy}")));
    Tried {
        test: test.name.to_string(),
        case: case.name.clone(),
        place: case.place.clone(),
        expected: expected.join(" "),
        result: tally(directory, test, case),
    }
}

fn tally(directory: &Directory, test: &PolicyTest, case: &Case) -> Tally {
    let providers = directory.compiled.trust_providers();
    let provider = match case.trust_provider.as_deref() {
        None => None,
        Some(written) => match test.provider(written, providers) {
            Some(provider) => Some(provider.name.clone()),
            // Told with the names that there are.
            None => Some(written.to_owned()),
        },
    };
    let call = call(
        &case.call,
        Caller::Attributes {
            trust_provider: provider,
            attributes: case.attributes.clone(),
        },
    );
    let explained = directory.explain(&call).map(|(explained, _)| explained);
    match explained {
        // Else it would pass at noon and fail at night.
        Ok(explained) if case.call.at.is_none() && depends_on_time(&explained) => {
            let way_out = "the answer depends on the time; write `at` in the request, such as \"2026-06-15T08:30:00Z\"";
            Tally::Impossible(way_out.to_owned())
        }
        Ok(explained) => judged(test, case, explained),
        Err(unexplainable) => impossible(&unexplainable),
    }
}

fn depends_on_time(explained: &Explained) -> bool {
    explained
        .policy
        .as_ref()
        .is_some_and(|policy| policy.depends_on_time)
}

fn impossible(unexplainable: &Unexplainable) -> Tally {
    Tally::Impossible(unexplainable.to_string())
}

fn judged(test: &PolicyTest, case: &Case, explained: Explained) -> Tally {
    let verdict = &explained.verdict;
    let Expected {
        outcome,
        policy,
        code,
        ..
    } = &case.expect;
    let mut differences = Vec::new();
    if verdict.outcome != *outcome {
        differences.push(format!(
            "outcome: expected {}, actual {}",
            word(*outcome),
            word(verdict.outcome)
        ));
    }
    let nothing = "none".to_owned();
    if let Some(code) = code
        .as_ref()
        .filter(|code| verdict.code.as_ref() != Some(*code))
    {
        let actual = verdict.code.as_ref().unwrap_or(&nothing);
        differences.push(format!("code: expected {code}, actual {actual}"));
    }
    let (name, matched) = (verdict.policy.as_deref(), verdict.policy_matched.as_deref());
    if let Some(policy) = policy
        .as_ref()
        .filter(|policy| !test.means(policy, name, matched))
    {
        let actual = match (name, matched) {
            (Some(name), Some(matched)) => format!("{name} ({matched})"),
            (_, _) => nothing,
        };
        differences.push(format!("policy: expected {policy}, actual {actual}"));
    }
    if differences.is_empty() {
        Tally::Passed
    } else {
        Tally::Failed(differences, Box::new(explained))
    }
}

fn call(tested: &TestedCall, caller: Caller) -> Call {
    let scheme = match tested.transport {
        Transport::Tls => "https",
        Transport::Plaintext => "http",
    };
    let is_ipv6 = tested.host.parse::<std::net::Ipv6Addr>().is_ok();
    let authority = if is_ipv6 {
        format!("[{}]", tested.host)
    } else {
        tested.host.clone()
    };
    Call {
        method: tested.method.clone(),
        target: tested.path.clone(),
        origin: format!("{scheme}://{authority}:{}", tested.port),
        authority,
        headers: tested.headers.clone(),
        source: tested.source,
        country: tested.country.map(|country| country.as_str().to_owned()),
        at: tested.at,
        listener: None,
        policies: Some(3),
        token: None,
        caller,
    }
}

const fn word(outcome: Outcome) -> &'static str {
    crate::explain::text::word(outcome)
}
