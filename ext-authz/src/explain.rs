//! `attache explain`: why a call is answered as it is, from a directory of policies, from a running server,
//! or for an access that the audit log tells of.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use attache_core::{
    attributes::{AttributeValue, Attributes},
    jwt::MAX_TOKEN_BYTES,
    secret::Secret,
};
use attache_edge::explain::{Call, Caller, Explained, Token, Verification};
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::{directory::Directory, event::EventTold, request::RequestArgs};
use crate::{admin_client::Server, config::Config};

mod curl;
pub(crate) mod directory;
mod event;
mod request;
pub(crate) mod text;

pub(crate) use request::parse_time;

/// The arguments do not go together.
const WRONG_USAGE: u8 = 2;

/// Explain why a call is answered as it is: which policies were looked at, what matched, what did not and
/// why.
///
/// Asks a running server (--config or --socket) or a directory of policies (--policies). Nothing is sent
/// to the target, nothing is recorded, and no credential is obtained.
///
/// Exit codes: 0 explained, whatever the decision; 1 there is nothing to explain by: no server, a broken
/// directory, an unknown event; 2 wrong usage.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// The directory of policies, instead of what a server has in force.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// The configuration of the server, whose admin socket is asked; with --policies, its settings.
    #[arg(long, env = "ATTACHE_CONFIG")]
    config: Option<PathBuf>,
    /// The admin socket itself.
    #[arg(long, conflicts_with = "policies")]
    socket: Option<PathBuf>,
    /// The listener that would be asked; the first one unless it is named.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    caller: CallerArgs,
    /// Explain this access of the audit log, and say whether today's policies would decide otherwise.
    #[arg(
        long,
        value_name = "ID",
        requires = "config",
        conflicts_with_all = [
            "host", "curl", "token_audience", "token_resource", "evidence", "attributes", "source", "port", "plaintext"
        ]
    )]
    event: Option<String>,
    /// How many policies are told of, the most telling first.
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    limit: usize,
    /// Text for people, or one JSON object for programs.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  attache explain --policies DIR --host api.example.com --method GET --path /v1/charges \\
      --attribute k8s.namespace=shop --attribute k8s.serviceAccount=checkout
  attache explain --config attache.yaml --evidence token.jwt -- curl https://api.example.com/v1/charges
  attache explain --config attache.yaml --event evt_01kv23vgk58s0v2m7m2k3p9q4r";

/// Who calls.
#[derive(Debug, Args)]
#[command(next_help_heading = "The caller")]
struct CallerArgs {
    /// A file with the caller's token, or - for standard input. It is verified.
    #[arg(long, value_name = "FILE", conflicts_with = "attributes")]
    evidence: Option<PathBuf>,
    /// Read the token and verify nothing of it.
    #[arg(long, requires = "evidence")]
    unverified: bool,
    /// What would be proven of the caller, instead of evidence; several values of one name are a list.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = parse_attribute)]
    attributes: Vec<(String, String)>,
    /// The trust provider that would prove these attributes, if several could.
    #[arg(long, value_name = "NAME", requires = "attributes")]
    trust_provider: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// An explanation, and what is told beside it.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    explained: Explained,
    /// The access of the audit log that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventTold>,
    /// What was assumed, or could not be known.
    notes: Vec<String>,
}

pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let asked_of = [&args.policies, &args.config, &args.socket];
    if asked_of.iter().all(|place| place.is_none()) {
        return wrong_usage(
            "name the server with --config FILE or --socket PATH, or a directory with --policies DIR",
        );
    }
    if args.event.is_none() && !args.request.is_given() {
        return wrong_usage(
            "name the request: --host HOST [--method …] [--path …], or `-- curl …`; or a token with --token-audience AUDIENCE",
        );
    }
    let report = match &args.event {
        Some(id) => of_event(args, id)?,
        None => of_request(args)?,
    };
    let told = match args.output {
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
        Output::Text => {
            let mut told = String::new();
            text::notes(&mut told, &report.notes)?;
            if let Some(event) = &report.event {
                text::event(&mut told, event)?;
            }
            text::explained(&mut told, &report.explained)?;
            told
        }
    };
    crate::print(&told)
}

fn wrong_usage(way_out: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stderr(), "attache: {way_out}")?;
    Ok(ExitCode::from(WRONG_USAGE))
}

fn of_request(args: &ExplainArgs) -> anyhow::Result<Report> {
    let (call, mut notes) = args.request.call(args.caller.read()?)?;
    match &call.caller {
        Caller::Evidence {
            verification: Verification::Skip,
            ..
        } => notes.push(
            "NOTHING of the evidence was verified: neither signature, times nor audience"
                .to_owned(),
        ),
        Caller::Attributes { .. } => {
            notes.push("the caller is supposed: nothing of it was verified".to_owned());
        }
        Caller::Request { .. }
        | Caller::Evidence { .. }
        | Caller::Recorded { .. }
        | Caller::Unproven { .. } => {}
    }
    let (explained, note) = args.ask(call)?;
    notes.extend(note);
    Ok(Report {
        explained,
        event: None,
        notes,
    })
}

fn of_event(args: &ExplainArgs, id: &str) -> anyhow::Result<Report> {
    let path = args
        .config
        .as_deref()
        .context("name the configuration with --config FILE")?;
    let config = Config::load(path)?;
    let recorded = event::find(&config.audit.dir, id)?;
    event::check(&recorded)?;
    let mut call = event::call(&recorded);
    call.at = args.request.at().or(call.at);
    let named = |listener: &str| config.edge.listeners.iter().any(|it| it.name == listener);
    call.listener = Some(recorded.listener.to_string()).filter(|listener| named(listener));
    let (mut explained, _) = args.ask(call)?;
    let (event, notes) = event::compare(&recorded, &mut explained);
    Ok(Report {
        explained,
        event: Some(event),
        notes,
    })
}

impl ExplainArgs {
    /// Asks the directory, or the running server. With the explanation goes what is to be noted.
    fn ask(&self, mut call: Call) -> anyhow::Result<(Explained, Option<String>)> {
        call.policies = Some(self.limit);
        call.listener = self.listener.clone().or(call.listener);
        let Some(policies) = &self.policies else {
            let server = Server::new(self.config.clone(), self.socket.clone());
            return Ok((server.explain(&call)?, None));
        };
        let config = self.config.as_deref().map(Config::load).transpose()?;
        let directory = Directory::load(policies, config.as_ref(), call.listener.as_deref())?;
        Ok(directory.explain(&call)?)
    }
}

impl CallerArgs {
    fn read(&self) -> anyhow::Result<Caller> {
        if let Some(path) = &self.evidence {
            let verification = if self.unverified {
                Verification::Skip
            } else {
                Verification::Verify
            };
            let token = Token(token(path)?);
            return Ok(Caller::Evidence {
                token,
                verification,
            });
        }
        if self.attributes.is_empty() {
            return Ok(Caller::Request {});
        }
        let mut attributes = Attributes::new();
        for (name, value) in &self.attributes {
            let value = match attributes.value(name).cloned() {
                None => AttributeValue::one(value.as_str()),
                Some(AttributeValue::One(first)) => {
                    AttributeValue::Many(vec![first, value.as_str().into()])
                }
                Some(AttributeValue::Many(mut values)) => {
                    values.push(value.as_str().into());
                    AttributeValue::Many(values)
                }
            };
            attributes.insert(name.clone(), value);
        }
        let trust_provider = self.trust_provider.clone();
        Ok(Caller::Attributes {
            trust_provider,
            attributes,
        })
    }
}

/// The token in a file, or on standard input.
fn token(path: &Path) -> anyhow::Result<Secret> {
    let limit = u64::try_from(MAX_TOKEN_BYTES)?.saturating_add(2);
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read the evidence {}", path.display()))?;
    let token = text.trim();
    if token.is_empty() {
        bail!("{} holds no token", path.display());
    }
    Ok(Secret::new(token.to_owned()))
}

fn parse_attribute(text: &str) -> anyhow::Result<(String, String)> {
    let attribute = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = attribute.context("write NAME=VALUE, such as k8s.namespace=shop")?;
    Ok((name.to_owned(), value.to_owned()))
}
