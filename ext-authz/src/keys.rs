//! `attache keys`: the signing keys of a running server, by its admin socket.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::{Context as _, bail};
use attache_control::keys::{Revoke, Rotate};
use attache_core::time::Timestamp;
use attache_issuer::{
    KeyState, KeysTold,
    told::{KeyTold, NextStep},
};
use clap::{Args, Subcommand, ValueEnum};
use hyper::{Method, StatusCode};

use crate::admin_client::Server;

/// List, rotate or revoke the keys that sign our tokens.
///
/// A key is prepared, published, active, retired, removed, each step long enough after the one before that
/// no verifier meets an unknown `kid`.
///
/// Exit codes: 0 done, 1 the server is not reachable or refused.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    List(ListArgs),
    Rotate(RotateArgs),
    Revoke(RevokeArgs),
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For machines, with every moment of every key.
    Json,
}

/// List the keys, where each stands, and what becomes of it.
///
/// Exit codes: 0 listed, 1 the server is not reachable.
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    server: Server,
    /// List keys that were removed or revoked too.
    #[arg(long)]
    all: bool,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Have the next key sign as soon as everyone can know it: at once if it has been published for long
/// enough, and otherwise by itself when it has.
///
/// Exit codes: 0 rotated, or it will by itself; 1 the server is not reachable or refused.
#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    server: Server,
    /// Rotate the keys of this algorithm alone: RS256 or ES256.
    #[arg(long)]
    algorithm: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Take a key out of the published documents at once: whoever may have its private part must not be
/// believed any more. Tokens that it signed are not used again; the next key signs from now on.
///
/// Exit codes: 0 revoked, 1 there is no such key or the server is not reachable.
#[derive(Debug, Args)]
struct RevokeArgs {
    #[command(flatten)]
    server: Server,
    /// The key's `kid`, as `attache keys list` prints it.
    // One in 64 begins with `-`.
    #[arg(allow_hyphen_values = true)]
    kid: String,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

pub(crate) fn run(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        KeysCommand::List(list) => {
            let keys = asked(&list.server, Method::GET, "/keys", Vec::new())?;
            print(&keys, list.output, list.all)
        }
        KeysCommand::Rotate(rotate) => {
            let algorithm = rotate.algorithm.clone();
            let body = serde_json::to_vec(&Rotate { algorithm })?;
            let keys = asked(&rotate.server, Method::POST, "/keys/rotate", body)?;
            print(&keys, rotate.output, false)
        }
        KeysCommand::Revoke(revoke) => {
            let key_id = revoke.kid.clone();
            let body = serde_json::to_vec(&Revoke { key_id })?;
            let keys = asked(&revoke.server, Method::POST, "/keys/revoke", body)?;
            print(&keys, revoke.output, true)
        }
    }
}

fn asked(server: &Server, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<KeysTold> {
    let (code, answer) = server.ask_with(method, path, body)?;
    if code != StatusCode::OK {
        bail!("{}", answer.trim_end());
    }
    serde_json::from_str(&answer).context("the server's answer is no list of keys")
}

fn print(keys: &KeysTold, output: Output, all: bool) -> anyhow::Result<ExitCode> {
    let told = match output {
        Output::Text => text(keys, all),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(keys)?),
    };
    crate::print(&told)
}

/// One line for each key.
fn text(keys: &KeysTold, all: bool) -> String {
    let mut text = String::new();
    let shown = keys.keys.iter().filter(|key| all || key.state.is_kept());
    for key in shown {
        let KeyTold {
            key_id,
            algorithm,
            state,
            ..
        } = key;
        // Writing to a String cannot fail.
        let _ = write!(text, "{key_id}  {algorithm}  {:<9}  ", state.name());
        if let Some(since) = since(key) {
            let _ = write!(text, "since {since}");
        }
        if let Some(NextStep { state, at }) = &key.next {
            let _ = write!(text, ", {} from {at}", state.name());
        }
        text.push('\n');
    }
    text
}

/// When a key came to where it stands.
const fn since(key: &KeyTold) -> Option<Timestamp> {
    match key.state {
        KeyState::Prepared => Some(key.created_at),
        KeyState::Published => key.published_at,
        KeyState::Active => key.active_at,
        KeyState::Retired => key.retired_at,
        KeyState::Removed => key.removed_at,
        KeyState::Revoked => key.revoked_at,
    }
}

#[cfg(test)]
mod tests;
