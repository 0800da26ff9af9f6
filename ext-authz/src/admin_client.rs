//! `attache status` and `attache reload`: commands that talk to a running server by its admin socket.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use attache_edge::{
    admin::{ListenerState, Protection, ProviderKeys, SecretsState, Status},
    explain::{Call, Explained},
};
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::config::Config;

/// How long a running server may take to answer a command.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Where the server is.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The configuration of the server; its admin socket is asked.
    #[arg(long, env = "ATTACHE_CONFIG", required_unless_present = "socket")]
    config: Option<PathBuf>,
    /// The admin socket itself.
    #[arg(long)]
    socket: Option<PathBuf>,
}

/// Ask a running server if it is ready, what blocks it, and what is in force.
///
/// Exit codes: 0 ready, 1 not ready or not reachable.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    server: Server,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Have a running server read its policies again; a broken set leaves the last good one in force.
///
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
    /// The server of a configuration, or of a socket.
    pub(crate) const fn new(config: Option<PathBuf>, socket: Option<PathBuf>) -> Self {
        Self { config, socket }
    }

    /// Has it explain a call.
    pub(crate) fn explain(&self, call: &Call) -> anyhow::Result<Explained> {
        let question = serde_json::to_vec(call)?;
        let (code, body) = self.ask_with(Method::POST, "/explain", question)?;
        if code != StatusCode::OK {
            bail!("{}", body.trim_end());
        }
        serde_json::from_str(&body)
            .context("the server's answer is no explanation; is it of this version?")
    }

    fn socket(&self) -> anyhow::Result<PathBuf> {
        match (&self.socket, &self.config) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(config)) => Ok(Config::load(config)?.admin_socket),
            (None, None) => bail!("name the server with --config FILE or --socket PATH"),
        }
    }

    fn ask(&self, method: Method, path: &str) -> anyhow::Result<(StatusCode, String)> {
        self.ask_with(method, path, Vec::new())
    }

    pub(crate) fn ask_with(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, String)> {
        let socket = self.socket()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answered = runtime.block_on(async {
            tokio::time::timeout(ANSWER_LIMIT, exchange(&socket, method, path, body)).await
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
    body: Vec<u8>,
) -> anyhow::Result<(StatusCode, String)> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "admin")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
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
    listeners(&mut text, status)?;
    policy(&mut text, status)?;
    for provider in &status.trust_providers {
        writeln!(text, "trust provider   {}", keys(provider))?;
    }
    credentials(&mut text, status)?;
    for key in &status.signing_keys {
        writeln!(
            text,
            "signing key      {}, since {}",
            key.algorithm, key.since
        )?;
    }
    if let Some(traces) = &status.traces {
        writeln!(
            text,
            "traces           {} spans sent, {} lost, {} calls waiting",
            traces.exported, traces.lost, traces.queued
        )?;
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

/// What credential providers gave, and how the secrets stand that credentials are made of.
fn credentials(text: &mut String, status: &Status) -> std::fmt::Result {
    for provider in &status.credential_providers {
        writeln!(
            text,
            "credentials      {}: {} kept, {} waited for, {} failed; asked {} times, {} of them in vain, and {} times ahead, {} in vain{}",
            provider.name,
            provider.kept,
            provider.awaited,
            provider.failed,
            provider.fetched.saturating_add(provider.fetches_failed),
            provider.fetches_failed,
            provider.refreshed.saturating_add(provider.refreshes_failed),
            provider.refreshes_failed,
            if provider.failing { "; FAILING" } else { "" }
        )?;
    }
    let secrets = status.secrets;
    if secrets != SecretsState::default() {
        writeln!(
            text,
            "secrets          {} read, {} kept while their Vault is away, {} unreadable",
            secrets.read, secrets.kept, secrets.unreadable
        )?;
    }
    Ok(())
}

fn listeners(text: &mut String, status: &Status) -> std::fmt::Result {
    for ListenerState {
        name,
        place,
        protection,
    } in &status.listeners
    {
        let callers = match protection {
            Protection::UnixPeer => "callers known by their user",
            Protection::MutualTls => "callers known by their certificate",
            Protection::Plaintext => "PLAINTEXT TCP: whoever reaches it gets credentials",
        };
        writeln!(text, "listener         {name} at {place}: {callers}")?;
    }
    let calls = &status.calls;
    writeln!(
        text,
        "calls            {} in flight of at most {}, {} turned away",
        calls.in_flight, calls.most, calls.turned_away
    )
}

fn policy(text: &mut String, status: &Status) -> std::fmt::Result {
    let (revision, accepted_at) = (&status.policy_revision, status.policy_accepted_at);
    let origin = if status.policy_is_last_good {
        " by an earlier run: the last good one"
    } else {
        ""
    };
    writeln!(
        text,
        "policy revision  {revision}, accepted {accepted_at}{origin}"
    )?;
    if let (Some(refused), Some(since)) = (&status.policy_refused, status.policy_refused_since) {
        writeln!(
            text,
            "policy refused   since {since}: what the directory holds is not in force"
        )?;
        writeln!(text, "{refused}")?;
    }
    if let Some(since) = status.policy_stalled_since {
        writeln!(
            text,
            "policy stalled   since {since}: the directory or the folder of state does not answer"
        )?;
    }
    if let Some(problem) = &status.policy_not_kept {
        writeln!(text, "policy not kept  for the next start: {problem}")?;
    }
    if let Some(geography) = &status.geography {
        let built = match (geography.built_at, geography.good_until) {
            (Some(built), Some(until)) => format!("built {built}, good until {until}"),
            _ => "not there, so no country is known".to_owned(),
        };
        writeln!(text, "geography        {}: {built}", geography.database)?;
        if let Some(refused) = &geography.refused {
            writeln!(text, "geography file   refused: {refused}")?;
        }
    }
    Ok(())
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
