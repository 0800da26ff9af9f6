//! A server of npm's, started by a script beside its modules: `SCRIPT PORT …`. It prints `ready`, and what it has to tell
//! as a line of JSON each.

use std::{net::SocketAddr, path::Path, process::Command};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{port::Reserved, process::Process, workspace};

/// A running server.
#[derive(Debug)]
pub(crate) struct NodeServer {
    reserved: Reserved,
    process: Process,
}

impl NodeServer {
    /// Starts the script of that name with what follows its port, and waits until it is ready. Its output goes to
    /// `directory`.
    pub(crate) async fn start(name: &str, arguments: &[&str], directory: &Path) -> Result<Self> {
        let script = workspace::root().join(format!("target/npm/{name}.mjs"));
        ensure!(
            script.is_file(),
            "no {}; `make peers` fetches it",
            script.display()
        );
        let reserved = Reserved::next()?;
        let port = reserved.address().port().to_string();
        let mut command = Command::new("node");
        command.arg(script).arg(port).args(arguments);
        let mut process = Process::start(name, &mut command, directory)?;
        process
            .ready(async |process| process.output().lines().any(|line| line == "ready"))
            .await?;
        Ok(Self { reserved, process })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.reserved.address()
    }

    /// Its `iss`.
    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address())
    }

    /// What it told so far.
    pub(crate) fn told(&self) -> Vec<Value> {
        let output = self.process.output();
        let lines = output.lines().filter(|line| line.starts_with('{'));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}
