//! What providers are tested against: a server on loopback that answers as its test says and records what it was
//! asked, secrets in files, and an issuer.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use attache_core::{
    claims::RenderedClaims, evidence::Evidence, freshness::Lifetime, secret::Secret,
    spiffe_id::SpiffeId, time::Timestamp, token::TokenPlan,
};
use attache_outbound::{Limits, Reach};
use attache_policy::document::{CredentialKind, SecretReference};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::{calls::Callers, svid::Prover};
use crate::{
    mint::{Mint, MintFailed, Minted, Order},
    provider::Wanted,
    secrets::{SecretRoots, SecretStore, Secrets},
};

pub(super) const CALLER: &str = "spiffe://cluster.local/ns/shop/sa/web";
/// In every secret that providers are given.
pub(super) const GIVEN: &str = "canary-given";
/// In every secret that they give.
pub(super) const ISSUED: &str = "canary-issued";

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    head: String,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The values of a field of the form.
    pub(crate) fn fields(&self, name: &str) -> Vec<String> {
        let pairs = form_urlencoded::parse(self.body.as_bytes());
        let found = pairs.filter(|(found, _)| found == name);
        found.map(|(_, value)| value.into_owned()).collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What is answered.
#[derive(Clone)]
pub(crate) enum Reply {
    Says(String),
    /// The connection stays, and nothing comes.
    Nothing,
}

impl Reply {
    pub(crate) fn of(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Says(format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
    }

    pub(crate) fn json(status: &str, body: &Value) -> Self {
        let headers = "content-type: application/json\r\n";
        Self::of(status, headers, &body.to_string())
    }
}

type Script = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
    is_away: AtomicBool,
}

impl Peer {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            asked: Mutex::default(),
            is_away: AtomicBool::new(false),
        });
        let mut task = JoinSet::new();
        let own = Arc::clone(&shared);
        task.spawn(async move {
            let mut each = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                each.spawn(serve(stream, Arc::clone(&own)));
            }
        });
        Self {
            address,
            shared,
            _task: task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers so from now on.
    pub(crate) fn says(&self, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// What it answers now.
    pub(crate) fn script(&self) -> Script {
        Arc::clone(&self.shared.script.lock().unwrap())
    }

    /// Breaks off every connection, or no longer.
    pub(crate) fn away(&self, is_away: bool) {
        self.shared.is_away.store(is_away, SeqCst);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Asked {
        self.asked().last().expect("a request").clone()
    }

    /// How often it was asked for what begins so.
    pub(crate) fn count(&self, line: &str) -> usize {
        let asked = self.asked();
        asked.iter().filter(|it| it.line.starts_with(line)).count()
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Some(asked) = request(&mut stream).await {
        if shared.is_away.load(SeqCst) {
            return;
        }
        let script = Arc::clone(&shared.script.lock().unwrap());
        shared.asked.lock().unwrap().push(asked.clone());
        match script(&asked) {
            Reply::Says(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Nothing => sleep(Duration::from_secs(60)).await,
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let (line, head) = head.split_once("\r\n")?;
    let mut asked = Asked {
        line: line.to_owned(),
        head: head.to_owned(),
        body: String::new(),
    };
    let length = asked.header("content-length").unwrap_or("0").parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}

/// Callers that may call loopback, and lose patience soon.
pub(super) fn callers() -> Arc<Callers> {
    let limits = Limits {
        connect: Duration::from_secs(1),
        total: Duration::from_secs(1),
        body_bytes: 64 * 1024,
        calls: 8,
    };
    Arc::new(Callers::within(Reach::default().and_loopback(), limits))
}

/// An issuer whose tokens say what was ordered.
#[derive(Default)]
pub(super) struct Issuer {
    pub(super) minted: AtomicUsize,
    pub(super) generation: AtomicU64,
    pub(super) plans: Mutex<Vec<TokenPlan>>,
    pub(super) failure: Mutex<Option<MintFailed>>,
}

impl Issuer {
    pub(super) fn prover(self: &Arc<Self>) -> Prover {
        Prover::new(Arc::clone(self) as Arc<dyn Mint>)
    }
}

impl Mint for Issuer {
    fn issuer(&self) -> &'static str {
        "https://attache.example.com"
    }

    fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    fn mint<'a>(
        &'a self,
        order: &'a Order,
    ) -> Pin<Box<dyn Future<Output = Result<Minted, MintFailed>> + Send + 'a>> {
        let number = self.minted.fetch_add(1, SeqCst);
        self.plans.lock().unwrap().push(order.plan.clone());
        let failure = *self.failure.lock().unwrap();
        let (form, audience) = (order.plan.form.name(), order.plan.audience());
        let minted = Minted {
            token: Secret::new(format!("{GIVEN}.{form}.{audience}.{number}")),
            token_id: format!("tok_{number}"),
            spiffe_id: SpiffeId::parse(CALLER).unwrap(),
            claims: RenderedClaims::default(),
            lifetime: Lifetime::starting(order.now, order.plan.ttl),
        };
        Box::pin(std::future::ready(failure.map_or(Ok(minted), Err)))
    }
}

/// Secrets in files, and the store that reads them.
pub(super) struct Files {
    pub(super) folder: tempfile::TempDir,
    store: Arc<SecretStore>,
}

impl Files {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = SecretRoots {
            base: folder.path().to_owned(),
            folders: vec![folder.path().to_owned()],
            ..SecretRoots::nothing()
        };
        Self {
            store: Arc::new(SecretStore::new(roots)),
            folder,
        }
    }

    pub(super) fn write(&self, name: &str, text: &str) -> SecretReference {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        SecretReference::File(name.into())
    }

    pub(super) async fn secrets(&self, parameters: &CredentialKind<String>) -> Secrets {
        let secrets = self.store.current(&parameters.secrets()).await;
        secrets.unwrap_or_else(|fault| panic!("{fault:?}"))
    }

    /// What is wanted of a provider with these parameters.
    pub(super) async fn wanted(&self, parameters: &CredentialKind<String>) -> Wanting {
        Wanting {
            parameters: parameters.clone(),
            secrets: self.secrets(parameters).await,
        }
    }
}

/// What is wanted, but for the moment.
pub(super) struct Wanting {
    pub(super) parameters: CredentialKind<String>,
    secrets: Secrets,
}

impl Wanting {
    pub(super) fn at(&self, now: Timestamp) -> Wanted {
        Wanted {
            provider: "tested".to_owned(),
            caller: SpiffeId::parse(CALLER).unwrap(),
            evidence: Evidence::Token(Secret::new(format!("{GIVEN}.evidence"))),
            parameters: self.parameters.clone(),
            claims: RenderedClaims::default(),
            secrets: self.secrets.clone(),
            now,
        }
    }
}

/// The text of a token.
pub(super) fn shown(obtained: &crate::provider::Obtained) -> String {
    use attache_policy::document::Part;
    let token = obtained.material.part(&Part::Token);
    token.expect("a token").expose().to_owned()
}
