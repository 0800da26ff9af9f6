//! A real Envoy, started from a bootstrap of `envoy/`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::{
    bootstrap::Bootstrap,
    client::{self, Reply},
    process::Process,
    wait::until,
    workspace,
};

/// Where the bootstraps put the admin socket.
const ADMIN: &str = "/run/attache/envoy-admin.sock";

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: PathBuf,
    // Removed after the process was ended.
    _directory: TempDir,
}

impl Envoy {
    /// Starts Envoy and waits until it takes requests.
    pub async fn start(bootstrap: Bootstrap) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let admin = directory.path().join("admin.sock");
        let bootstrap = bootstrap.replace(ADMIN, &admin.display().to_string())?;
        let mut command = command(&bootstrap, directory.path())?;
        command.args([
            "--concurrency",
            "2",
            "--use-dynamic-base-id",
            "--disable-hot-restart",
            // The access log is written at once, not every ten seconds.
            "--file-flush-interval-msec",
            "50",
        ]);
        let mut process = Process::start("envoy", &mut command, directory.path())?;
        process
            .ready(async |_process| {
                ask(&admin, "/ready")
                    .await
                    .is_ok_and(|reply| reply.status == 200)
            })
            .await?;
        Ok(Self {
            process,
            admin,
            _directory: directory,
        })
    }

    /// Whether Envoy would start from `bootstrap`; if not, why.
    pub fn validate(bootstrap: &Bootstrap) -> Result<()> {
        let directory = tempfile::tempdir()?;
        let output = command(bootstrap, directory.path())?
            .args(["--mode", "validate"])
            .output()?;
        let reason = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "envoy/{} is refused: {reason}",
            bootstrap.name()
        );
        Ok(())
    }

    /// Where the listener `name` listens.
    pub async fn address(&self, name: &str) -> Result<SocketAddr> {
        let listeners = ask(&self.admin, "/listeners?format=json").await?.json()?;
        let statuses = listeners
            .pointer("/listener_statuses")
            .and_then(Value::as_array);
        let listener = statuses
            .and_then(|all| all.iter().find(|listener| listener["name"] == name))
            .with_context(|| format!("no listener `{name}` in {listeners}"))?;
        let socket = &listener["local_address"]["socket_address"];
        let ip = socket["address"]
            .as_str()
            .context("a listener without address")?;
        let port = socket["port_value"]
            .as_u64()
            .context("a listener without port")?;
        Ok(SocketAddr::new(ip.parse()?, u16::try_from(port)?))
    }

    /// The access log so far, one JSON object for each request.
    pub fn access_log(&self) -> Vec<Value> {
        let output = self.process.output();
        output
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits until the access log has a line for which `wanted` holds.
    pub async fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        until(&format!("the access log of {what}"), async || {
            self.access_log().into_iter().find(|line| wanted(line))
        })
        .await
    }

    /// The counter or gauge `name`; 0 while Envoy does not know it.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let stats = ask(&self.admin, &format!("/stats?format=json&filter=^{name}$"))
            .await?
            .json()?;
        let value = stats.pointer("/stats/0/value").and_then(Value::as_u64);
        Ok(value.unwrap_or(0))
    }

    /// The socket of Envoy's admin interface.
    pub fn admin(&self) -> &Path {
        &self.admin
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What Envoy said of itself.
    pub fn messages(&self) -> String {
        self.process.errors()
    }
}

fn command(bootstrap: &Bootstrap, directory: &Path) -> Result<Command> {
    let binary = workspace::envoy();
    ensure!(
        binary.is_file(),
        "no Envoy at {}; `make envoy` fetches it, or set ENVOY to another",
        binary.display()
    );
    let file = directory.join(bootstrap.name());
    fs::write(&file, bootstrap.text())?;
    let mut command = Command::new(binary);
    command
        .arg("--config-path")
        .arg(file)
        .args(["--log-level", "warning"]);
    Ok(command)
}

async fn ask(admin: &Path, path: &str) -> Result<Reply> {
    let stream = UnixStream::connect(admin).await?;
    client::http1_over(stream, client::get("envoy-admin", path)?).await
}
