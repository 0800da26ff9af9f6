//! A real `attache serve`, built once, with a configuration and policies of a test's own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    authority::IdentityFiles,
    port::Reserved,
    process::Process,
    wait::{until, within},
    workspace,
};

/// Who may call the edge, and how.
#[derive(Clone, Debug)]
pub enum Port {
    /// A unix socket in the installation's folder.
    Unix,
    /// TCP with mutual TLS.
    Tls {
        /// Where.
        address: SocketAddr,
        /// The edge's own certificate.
        identity: IdentityFiles,
        /// The authority of the callers.
        client_ca: PathBuf,
        /// The names that may call.
        allowed: Vec<String>,
    },
    /// TCP without protection.
    Plaintext(SocketAddr),
}

/// One edge, as the configuration file describes it.
#[derive(Clone, Debug)]
pub struct EdgePlan {
    /// The program, if not the one that all run.
    pub binary: Option<PathBuf>,
    /// Who may call.
    pub port: Port,
    /// The pod's token file: the listener is then a `sidecar-outbound` one.
    pub token_file: Option<PathBuf>,
    /// `deny` or `pass-without-credential`.
    pub unmatched: &'static str,
    /// Whether the edge only watches.
    pub observe: bool,
    /// Where the audit log goes, if not into the installation's folder.
    pub audit: Option<PathBuf>,
    /// More settings of the issuer, `name: value` each.
    pub issuer: Vec<String>,
    /// What counts as evidence, if not a token in our header.
    pub evidence: Option<String>,
    /// More settings of the listener, one line each.
    pub listener: Vec<String>,
    /// More settings of the whole, one line each.
    pub settings: Vec<String>,
}

impl Default for EdgePlan {
    fn default() -> Self {
        Self {
            binary: None,
            port: Port::Unix,
            token_file: None,
            unmatched: "deny",
            observe: false,
            audit: None,
            issuer: Vec::new(),
            evidence: None,
            listener: Vec::new(),
            settings: Vec::new(),
        }
    }
}

/// The variable of an edge that waits for long, for tests in which nobody is to be late.
pub const PATIENT: &str = "ATTACHE_EDGE_ANSWER_WITHIN=20s";

/// A folder with configuration, policies and state, which outlives the processes that run on it.
#[derive(Debug)]
pub struct Installation {
    directory: TempDir,
    issuer: Reserved,
    audit: PathBuf,
    binary: PathBuf,
}

impl Installation {
    /// Writes the configuration of `plan` into a new folder. Policies come into [`Self::policies`].
    pub async fn new(plan: &EdgePlan) -> Result<Arc<Self>> {
        let directory = tempfile::tempdir()?;
        let issuer = Reserved::next()?;
        let audit = plan
            .audit
            .clone()
            .unwrap_or_else(|| directory.path().join("audit"));
        fs::create_dir(directory.path().join("policies"))?;
        fs::write(
            directory.path().join("attache.yaml"),
            configuration(plan, directory.path(), &audit, issuer.address()),
        )?;
        Ok(Arc::new(Self {
            directory,
            issuer,
            audit,
            binary: match &plan.binary {
                Some(binary) => binary.clone(),
                None => binary().await?,
            },
        }))
    }

    /// The folder of all of it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The program.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("attache.yaml")
    }

    /// The folder of the policies.
    pub fn policies(&self) -> PathBuf {
        self.directory.path().join("policies")
    }

    /// Writes one file of policies.
    pub fn policy(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.policies().join(name), text)?;
        Ok(())
    }

    /// The unix socket that Envoy calls.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("ext_authz.sock")
    }

    /// The unix socket of the commands.
    pub fn admin(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    /// The issuer's own URL.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.issuer.address())
    }

    /// Where the issuer listens.
    pub const fn issuer_address(&self) -> SocketAddr {
        self.issuer.address()
    }

    /// The folder of the audit log.
    pub fn audit(&self) -> &Path {
        &self.audit
    }

    /// Starts `attache serve` and waits until it is ready.
    pub async fn start(self: &Arc<Self>) -> Result<Attache> {
        let mut attache = self.launch()?;
        attache.ready().await?;
        Ok(attache)
    }

    /// Starts `attache serve` and does not wait: it may be unready for a reason that a test wants.
    pub fn launch(self: &Arc<Self>) -> Result<Attache> {
        self.launch_by(Command::new(&self.binary))
    }

    /// The same by another program, whose last argument becomes the path of `attache`.
    pub fn launch_under(self: &Arc<Self>, mut wrapper: Command) -> Result<Attache> {
        wrapper.arg(&self.binary);
        self.launch_by(wrapper)
    }

    fn launch_by(self: &Arc<Self>, mut command: Command) -> Result<Attache> {
        command.arg("serve").arg("--config").arg(self.config());
        command.arg("--policies").arg(self.policies());
        let process = Process::start("attache", &mut command, self.directory.path())?;
        Ok(Attache {
            process,
            installation: Arc::clone(self),
        })
    }

    /// Runs `attache ARGUMENTS --config FILE` to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--config").arg(self.config());
        command.output().context("cannot run attache")
    }

    /// The audit events so far, oldest first, as they stand in the journal's files. A line that is only
    /// half written at its file's end is left out.
    pub fn events(&self) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        for entry in fs::read_dir(&self.audit)? {
            let path = entry?.path();
            if path
                .extension()
                .is_none_or(|extension| extension != "jsonl")
            {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let whole = text.rsplit_once('\n').map_or("", |(whole, _half)| whole);
            for line in whole.lines() {
                let event: Value = serde_json::from_str(line)
                    .with_context(|| format!("{} holds {line}", path.display()))?;
                events.push(event);
            }
        }
        // A ULID sorts by time.
        events.sort_by_cached_key(|event| event["event_id"].to_string());
        Ok(events)
    }

    /// Waits for the event of the decision `id`.
    pub async fn event(&self, id: &str) -> Result<Value> {
        until(&format!("the audit event {id}"), async || {
            let events = self.events().unwrap_or_default();
            events.into_iter().find(|event| event["event_id"] == id)
        })
        .await
    }

    /// The last audit event.
    pub fn last_event(&self) -> Result<Value> {
        self.events()?.pop().context("the audit log is empty")
    }
}

/// A running `attache serve`.
#[derive(Debug)]
pub struct Attache {
    /// The process.
    pub process: Process,
    installation: Arc<Installation>,
}

impl Attache {
    /// Waits until `attache status` says that it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        let installation = &self.installation;
        self.process
            .ready(async |_process| {
                installation
                    .run(&["status"])
                    .is_ok_and(|out| out.status.success())
            })
            .await
    }
}

/// The program itself, built once by cargo; the variable `ATTACHE` names another.
async fn binary() -> Result<PathBuf> {
    static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
    if let Some(named) = std::env::var_os("ATTACHE").filter(|named| !named.is_empty()) {
        return Ok(PathBuf::from(named));
    }
    BINARY.get_or_try_init(build).await.cloned()
}

async fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = tokio::process::Command::new(cargo);
    command
        .args([
            "build",
            "--package",
            "attache",
            "--bin",
            "attache",
            "--message-format",
            "json",
        ])
        .current_dir(workspace::root())
        .kill_on_drop(true);
    let output = command.output().await.context("cannot run cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "attache does not build: {errors}");
    let messages = String::from_utf8(output.stdout)?;
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.context("cargo built no executable")
}

fn configuration(plan: &EdgePlan, directory: &Path, audit: &Path, issuer: SocketAddr) -> String {
    let directory = directory.display();
    let audit = audit.display();
    let EdgePlan {
        unmatched, observe, ..
    } = plan;
    let port = match &plan.port {
        Port::Unix => format!("unix: {directory}/ext_authz.sock"),
        Port::Plaintext(address) => format!("tcp: {address}\n        plaintext: true"),
        Port::Tls {
            address,
            identity,
            client_ca,
            allowed,
        } => format!(
            "tcp: {address}\n        tls: {{ certificate: {}, key: {}, client_ca: {}, allowed: [{}] }}",
            identity.certificate.display(),
            identity.key.display(),
            client_ca.display(),
            allowed.join(", ")
        ),
    };
    let (role, evidence) = match &plan.token_file {
        None => ("gateway", "{ header: x-attache-evidence }".to_owned()),
        Some(file) => (
            "sidecar-outbound",
            format!("{{ token_file: {} }}", file.display()),
        ),
    };
    let evidence = plan.evidence.clone().unwrap_or(evidence);
    let more = plan.issuer.iter().map(|setting| format!(", {setting}"));
    let more: String = more.collect();
    let listener = plan.listener.join("\n        ");
    let settings = plan.settings.join("\n");
    format!(
        "\
data_dir: {directory}/data
log: {{ level: info }}
trust_domain: cluster.local
environment: prod
issuer: {{ url: http://{issuer}, listen: {issuer}{more} }}
edge:
  name: edge-1
  unmatched: {unmatched}
  observe: {observe}
  listeners:
      - name: egress
        role: {role}
        {port}
        evidence: {evidence}
        destination: vouched-by-route
        {listener}
audit: {{ dir: {audit} }}
admin: {{ socket: {directory}/admin.sock }}
{settings}
"
    )
}

/// Asks the issuer at `address` for `path`, as a relying party would.
pub async fn published(address: SocketAddr, path: &str) -> Result<Value> {
    let request = crate::client::get(&address.to_string(), path)?;
    within("the issuer", crate::client::http1(address, request))
        .await??
        .json()
}
