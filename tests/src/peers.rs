//! Peers that are not ours: a Python service that verifies what it is shown with a JOSE library, and a
//! certified OpenID Connect client in Node. `make peers` fetches what they need.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{authority::IdentityFiles, process::Process, workspace};

/// A Python HTTPS service that lets in only bearers of a valid token.
#[derive(Debug)]
pub struct VerifyingTarget {
    process: Process,
    address: SocketAddr,
}

impl VerifyingTarget {
    /// Starts it: it believes tokens of `issuer` for `audience`, whose keys it fetches by discovery.
    pub async fn start(
        identity: &IdentityFiles,
        issuer: &str,
        audience: &str,
        directory: &Path,
    ) -> Result<Self> {
        let python = workspace::python();
        ensure!(
            python.is_file(),
            "no Python at {}; `make peers` makes it",
            python.display()
        );
        let mut command = Command::new(python);
        command
            .arg(workspace::root().join("tests/peers/python/target.py"))
            .arg("--certificate")
            .arg(&identity.certificate)
            .arg("--key")
            .arg(&identity.key)
            .args(["--issuer", issuer, "--audience", audience]);
        let mut process = Process::start("target", &mut command, directory)?;
        process
            .ready(async |process| listening_on(&process.output()).is_some())
            .await?;
        let address =
            listening_on(&process.output()).context("it does not say where it listens")?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it verified or refused so far, one JSON object for each request.
    pub fn verdicts(&self) -> Vec<Value> {
        let output = self.process.output();
        output
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

/// Writes a database of countries in MaxMind's format to `file`: each network with its country's code.
pub fn write_countries(file: &Path, places: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new(workspace::python());
    command
        .arg(workspace::root().join("tests/peers/python/geography.py"))
        .arg(file)
        .args(
            places
                .iter()
                .map(|(network, country)| format!("{network}={country}")),
        );
    let output = command
        .output()
        .context("no Python; `make peers` makes it")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "no database was written: {errors}");
    Ok(())
}

/// Has the reference parser read OpenMetrics text: each family by its name, or why it is refused.
pub fn metrics(text: &str) -> Result<Value> {
    let mut command = Command::new(workspace::python());
    command.arg(workspace::root().join("tests/peers/python/metrics.py"));
    let mut reader = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("no Python; `make peers` makes it")?;
    let mut stdin = reader.stdin.take().context("it reads nothing")?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let output = reader.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "refused: {errors}\n{text}");
    serde_json::from_slice(&output.stdout).context("it printed no JSON")
}

fn listening_on(output: &str) -> Option<SocketAddr> {
    output
        .lines()
        .find_map(|line| line.strip_prefix("listening on "))?
        .parse()
        .ok()
}

/// Runs `tests/peers/python/SCRIPT` with `arguments` to its end and reads the JSON that it prints.
pub async fn python(script: &str, arguments: &[&str]) -> Result<Value> {
    let path = workspace::root().join("tests/peers/python").join(script);
    let mut command = tokio::process::Command::new(workspace::python());
    command.arg(path).args(arguments).kill_on_drop(true);
    let output = crate::wait::within("python", command.output()).await?;
    let output = output.context("no Python; `make peers` makes it")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script} failed: {errors}");
    serde_json::from_slice(&output.stdout).context("it printed no JSON")
}

/// Runs `tests/peers/node/SCRIPT` with `arguments` to its end and reads the JSON that it prints.
pub async fn node(script: &str, arguments: &[&str]) -> Result<Value> {
    let modules = workspace::root().join("target/npm");
    let path = modules.join(script);
    ensure!(
        path.is_file(),
        "no {}; `make peers` fetches it",
        path.display()
    );
    let mut command = tokio::process::Command::new("node");
    command.arg(path).args(arguments).kill_on_drop(true);
    let output = crate::wait::within("node", command.output()).await??;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script} failed: {errors}");
    serde_json::from_slice(&output.stdout).context("it printed no JSON")
}
