//! A trust domain of go-spiffe's making: SVIDs in files, a bundle endpoint of the profile https_spiffe and a
//! Workload API. `make peers` builds it.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::workspace;

/// The trust domain that it is of.
pub const TRUST_DOMAIN: &str = "peer.example";
/// Whom its SVIDs name.
pub const WORKLOAD: &str = "spiffe://peer.example/ns/shop/sa/payment";
/// Whom the certificate of its bundle endpoint names.
pub const ENDPOINT: &str = "spiffe://peer.example/spire/server";

/// Runs until it is dropped.
#[derive(Debug)]
pub struct SpiffePeer {
    process: Child,
    folder: TempDir,
    /// The bundle endpoint.
    pub url: String,
    /// The Workload API.
    pub socket: PathBuf,
}

fn program() -> Result<PathBuf> {
    let program = workspace::root().join("target/spiffe-peer/spiffe");
    ensure!(
        program.is_file(),
        "no program at {}; `make peers` builds it",
        program.display()
    );
    Ok(program)
}

impl SpiffePeer {
    /// Starts it, and waits until it serves.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // It ends when its standard input does, so that it never outlives a test.
        let mut process = Command::new(program()?)
            .arg("serve")
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("its output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line)?;
        let text = |name: &str| ready[name].as_str().map(str::to_owned);
        Ok(Self {
            url: text("url").context("no url")?,
            socket: text("socket").context("no socket")?.into(),
            process,
            folder,
        })
    }

    /// A file that it wrote: `bundle.json`, `token.jwt`, `svid.pem`, `deep.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether go-spiffe accepts the SVID in `file`.
    pub fn accepts(&self, file: &Path) -> Result<bool> {
        let mut judge = Command::new(program()?);
        judge.arg("judge").arg(self.folder.path()).arg(file);
        Ok(judge.stderr(Stdio::null()).status()?.success())
    }
}

impl Drop for SpiffePeer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
