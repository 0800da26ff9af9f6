//! `attache status` and `attache reload`: commands that talk to a running server by its admin socket.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use attache_edge::admin::{ProviderKeys, Status};
use clap::Args;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, StatusCode, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::config::Config;

/// How long a running server may take to answer a command.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Where the server is.
#[derive(Debug, Args)]
struct Server {
    /// The configuration of the server; its admin socket is asked.
    #[arg(long, env = "ATTACHE_CONFIG", required_unless_present = "socket")]
    config: Option<PathBuf>,
    /// The admin socket itself.
    #[arg(long)]
    socket: Option<PathBuf>,
}

/// Exit codes: 0 ready, 1 not ready or not reachable.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    server: Server,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Exit codes: 0 the new policies are in force, 1 they were refused.
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    server: Server,
}

pub(crate) fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let (_, body) = args.server.ask(Method::GET, "/status")?;
    let status: Status = serde_json::from_str(&body).context("the server's answer is no status")?;
    crate::print(&if args.json { body } else { text(&status)? })?;
    Ok(if status.ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(crate) fn reload(args: &ReloadArgs) -> anyhow::Result<ExitCode> {
    let (code, body) = args.server.ask(Method::POST, "/reload")?;
    if code != StatusCode::OK {
        bail!("{}", body.trim_end());
    }
    crate::print(&body)
}

impl Server {
    fn socket(&self) -> anyhow::Result<PathBuf> {
        match (&self.socket, &self.config) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(config)) => Ok(Config::load(config)?.admin_socket),
            (None, None) => bail!("name the server with --config FILE or --socket PATH"),
        }
    }

    fn ask(&self, method: Method, path: &str) -> anyhow::Result<(StatusCode, String)> {
        let socket = self.socket()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answered = runtime.block_on(async {
            tokio::time::timeout(ANSWER_LIMIT, exchange(&socket, method, path)).await
        });
        let place = || {
            format!(
                "the server at {} does not answer; is it running?",
                socket.display()
            )
        };
        answered
            .map_err(anyhow::Error::from)
            .flatten()
            .with_context(place)
    }
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
) -> anyhow::Result<(StatusCode, String)> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "admin")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let code = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((code, String::from_utf8(body.to_vec())?))
}

fn text(status: &Status) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    if status.ready {
        writeln!(text, "ready")?;
    } else {
        writeln!(
            text,
            "not ready: waiting for {}",
            status.blocked_by.join(", ")
        )?;
    }
    writeln!(text, "edge             {}", status.edge)?;
    writeln!(text, "policy revision  {}", status.policy_revision)?;
    if let Some(refused) = &status.policy_refused {
        writeln!(text, "policy refused   {refused}")?;
    }
    for provider in &status.trust_providers {
        writeln!(text, "trust provider   {}", keys(provider))?;
    }
    let audit = &status.audit;
    writeln!(
        text,
        "audit            {} events written, {} denials counted, {} waiting, {} lost",
        audit.written, audit.coalesced, audit.queued, audit.lost
    )?;
    if let Some(failing) = &audit.failing {
        writeln!(
            text,
            "audit failing    {failing}; {} accesses refused so far",
            audit.refused
        )?;
    }
    Ok(text)
}

fn keys(provider: &ProviderKeys) -> String {
    let mut text = format!("{} ({}): ", provider.name, provider.issuer);
    text += &match (provider.keys, provider.age_seconds) {
        (None, _) => "no keys yet".to_owned(),
        (Some(keys), None) => format!("{keys} keys"),
        (Some(keys), Some(age)) => format!("{keys} keys, fetched {age} s ago"),
    };
    for ignored in &provider.ignored_keys {
        text += &format!("; ignored: {ignored}");
    }
    if let Some(error) = &provider.last_error {
        text += &format!("; last fetch failed: {error}");
    }
    text
}
