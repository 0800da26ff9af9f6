//! Rotation under load at 100 times the speed of a clock: tokens are minted all the time by a process that is
//! killed after every kind of step, and verifiers that keep the documents exactly as long as they may never
//! meet a token that they refuse.
// `cfg(test)` tells clippy that a failed expectation is an answer here.
#![cfg(test)]

use std::{
    collections::{BTreeSet, HashMap},
    env,
    future::{Future, pending},
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use attache_control::{
    Exchange, Store, TokenEndpoint, keys,
    token::{Asked, Exchanged, Given, NotGiven},
};
use attache_core::{
    attestation::ProviderKind,
    claims::CustomClaims,
    jwt::Algorithm,
    spiffe_id::TrustDomain,
    time::Timestamp,
    token::{TokenForm, TokenPlan},
};
use attache_issuer::{
    Issuer, IssuerConfig, MintOrder, Schedule, SealingKey, Step,
    config::{Environment, IssuerUrl},
    signer,
};
use attache_trust::{KeySource, ProviderConfig, Trust, TrustSettings};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, jwk::JwkSet};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Names the folder of the child process, and the moment at which its clock began.
const FOLDER: &str = "ATTACHE_TEST_FOLDER";
const BEGAN: &str = "ATTACHE_TEST_BEGAN";
const PORT: &str = "ATTACHE_TEST_PORT";

const SPEED: u64 = 100;
const START: Timestamp = Timestamp::from_seconds(1_781_000_000);
const CLUSTER: &str = "https://cluster.example.com";
/// Of tokens, and the longest that is allowed.
const TTL: Duration = Duration::from_secs(300);
/// What a verifier gives the clocks of others, as is usual.
const LEEWAY: i64 = 60;
/// How long the test goes on, in real time: more than three periods.
const RUN: Duration = Duration::from_secs(40);

/// Milliseconds of real time.
#[expect(
    clippy::disallowed_methods,
    reason = "two processes share this clock and nothing else"
)]
fn real_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The fast clock.
fn now(began: u64) -> Timestamp {
    START.plus(Duration::from_millis((real_now() - began) * SPEED))
}

fn real(fast: Duration) -> Duration {
    fast / u32::try_from(SPEED).unwrap()
}

// ---- the process that is killed ---------------------------------------------------------------------

/// Mints for whoever shows evidence; the audience says what.
struct Mint {
    issuer: Arc<Issuer>,
    began: u64,
}

impl Exchange for Mint {
    fn exchange(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Exchanged> + Send + '_>> {
        Box::pin(async move {
            let audience = asked.audience.unwrap();
            let svid = audience == "svid";
            let plan = TokenPlan {
                form: if svid {
                    TokenForm::JwtSvid
                } else {
                    TokenForm::OidcToken
                },
                algorithm: if svid {
                    Algorithm::Es256
                } else {
                    Algorithm::Rs256
                },
                audiences: vec![audience],
                ttl: TTL,
                claims: CustomClaims::default(),
            };
            let order = MintOrder {
                evidence: &asked.evidence,
                plan: &plan,
            };
            let minted = self.issuer.mint(order, now(self.began)).await;
            let outcome = minted.map(|minted| Given {
                token: minted.token,
                expires_in: TTL,
            });
            Exchanged {
                decision_id: String::new(),
                outcome: outcome.map_err(|error| {
                    eprintln!("{error}");
                    NotGiven::Unavailable("not-minted", "not minted")
                }),
            }
        })
    }
}

async fn open(folder: &Path, url: &str, began: u64) -> Issuer {
    let clock: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(move || now(began));
    let trust_domain = TrustDomain::parse("cluster.local").unwrap();
    let trust = Trust::new(TrustSettings::new(clock));
    let jwks = std::fs::read_to_string(folder.join("cluster.json")).unwrap();
    let provider = ProviderConfig::new(
        "cluster",
        ProviderKind::KubernetesServiceAccount,
        CLUSTER,
        KeySource::Inline(jwks),
        trust_domain.clone(),
    );
    trust.replace(vec![provider]).unwrap();
    let url = IssuerUrl::parse(url).unwrap();
    let mut config = IssuerConfig::new(url, Environment::parse("test").unwrap(), trust_domain);
    config.max_ttl = TTL;
    let (period, ahead) = (Duration::from_secs(1200), Duration::from_secs(600));
    config.schedule = Schedule::new(period, period, ahead).unwrap();
    config.token_endpoint = true;
    let store = Store::open(&folder.join("attache.db")).await.unwrap();
    let sealing_key = SealingKey::load_or_create(&folder.join("sealing.key")).unwrap();
    let trust = Arc::new(trust);
    Issuer::open(Arc::new(store), sealing_key, config, trust, now(began))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process that the test below starts and kills"]
async fn issues_as_a_child() {
    let folder = PathBuf::from(env::var_os(FOLDER).expect("started by a test"));
    let began: u64 = env::var(BEGAN).unwrap().parse().unwrap();
    let address = format!("127.0.0.1:{}", env::var(PORT).unwrap());
    let issuer = Arc::new(open(&folder, &format!("http://{address}"), began).await);
    let mint = Arc::new(Mint {
        issuer: Arc::clone(&issuer),
        began,
    });
    let tokens = TokenEndpoint::new(mint, 100_000);
    let admin = keys::router(Arc::clone(&issuer), Arc::new(move || now(began)));
    let router = attache_control::router(Arc::clone(&issuer), Some(tokens))
        .merge(axum::Router::new().nest("/admin", admin));
    let listener = TcpListener::bind(&address).await.unwrap();
    tokio::spawn(attache_control::serve(
        listener,
        router,
        pending(),
        Duration::ZERO,
    ));
    println!("\nserving");
    loop {
        for step in issuer.turn(now(began)).await.unwrap() {
            println!("step {}", kind(&step));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

const fn kind(step: &Step) -> &'static str {
    match step {
        Step::Begin(_) => "begin",
        Step::Lengthen => "lengthen",
        Step::Activate(_) => "activate",
        Step::Remove(_) => "remove",
        Step::Publish(_) => "publish",
        Step::Prepare(_) => "prepare",
    }
}

// ---- who asks it, and who verifies ------------------------------------------------------------------

struct World {
    base: String,
    began: u64,
    evidence: String,
    client: Client,
    stop: AtomicBool,
    /// Tokens that are good, and until when.
    tokens: Mutex<Vec<(String, i64)>>,
    verified: AtomicUsize,
    minted: AtomicUsize,
    signed_by: Mutex<BTreeSet<String>>,
}

impl World {
    fn is_over(&self) -> bool {
        self.stop.load(SeqCst)
    }

    /// Asks for tokens all the time.
    async fn mint(self: Arc<Self>) {
        let kinds = ["svid", "oidc"];
        for audience in kinds.iter().cycle() {
            if self.is_over() {
                return;
            }
            let form = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", &self.evidence),
                ("audience", audience),
            ];
            let body = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(form)
                .finish();
            let asked = self.client.post(format!("{}/token", self.base)).body(body);
            let asked = asked.header("content-type", "application/x-www-form-urlencoded");
            // While the process is down nobody answers.
            let Ok(answer) = asked.send().await else {
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            let status = answer.status();
            let Ok(bytes) = answer.bytes().await else {
                continue;
            };
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(status, 200, "{body}");
            let token = body["access_token"].as_str().unwrap().to_owned();
            let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
            self.signed_by.lock().unwrap().insert(kid);
            self.minted.fetch_add(1, SeqCst);
            self.circulate(token);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Puts a token in circulation, and takes those out that are over.
    fn circulate(&self, token: String) {
        let now = now(self.began).as_seconds();
        let mut tokens = self.tokens.lock().unwrap();
        tokens.retain(|(_, end)| *end + LEEWAY > now);
        tokens.push((token, now + 300));
    }

    /// A document, and the real moment until which it may be used.
    async fn document(&self, path: &str) -> Option<(Value, u64)> {
        // RFC 9111 §4.2.3: the age counts from when it was asked for.
        let asked_at = real_now();
        let answer = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .ok()?;
        let cache = answer.headers()["cache-control"]
            .to_str()
            .unwrap()
            .to_owned();
        let age: u64 = cache
            .strip_prefix("public, max-age=")
            .unwrap()
            .parse()
            .unwrap();
        let bytes = answer.bytes().await.ok()?;
        let fast = Duration::from_secs(age);
        let until = asked_at + u64::try_from(real(fast).as_millis()).unwrap();
        Some((serde_json::from_slice(&bytes).unwrap(), until))
    }

    /// Verifies what is in circulation by a document that it keeps as long as it may, and never fetches early.
    async fn verify(self: Arc<Self>, path: &'static str) {
        let mut kept: Option<(Value, u64)> = None;
        let mut sequences: HashMap<u64, Value> = HashMap::new();
        let mut last_sequence = 0;
        while !self.is_over() {
            if kept.as_ref().is_none_or(|(_, until)| *until <= real_now()) {
                kept = self.document(path).await;
                if let Some((document, _)) = kept.as_ref().filter(|_| path == "/bundle") {
                    let sequence = document["spiffe_sequence"].as_u64().unwrap();
                    assert!(sequence >= last_sequence, "the sequence went back");
                    last_sequence = sequence;
                    let known = sequences
                        .entry(sequence)
                        .or_insert_with(|| document.clone());
                    assert_eq!(known, document, "two bundles of one sequence");
                }
            }
            let Some((document, until)) = &kept else {
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            let tokens = self.tokens.lock().unwrap().clone();
            for (token, end) in tokens {
                // Beyond either end nothing is promised.
                let usable = end > now(self.began).as_seconds() && *until > real_now();
                if usable {
                    check(&token, document);
                    self.verified.fetch_add(1, SeqCst);
                }
            }
            sleep(Duration::from_millis(15)).await;
        }
    }
}

/// Verifies `token` by the keys of `document` with a library that is not ours.
fn check(token: &str, document: &Value) {
    let mut document = document.clone();
    for key in document["keys"].as_array_mut().unwrap() {
        // The library knows no other word.
        key["use"] = Value::from("sig");
    }
    let header = jsonwebtoken::decode_header(token).unwrap();
    let kid = header.kid.unwrap();
    let keys: JwkSet = serde_json::from_value(document.clone()).unwrap();
    let jwk = keys
        .find(&kid)
        .unwrap_or_else(|| panic!("unknown kid {kid} in {document}"));
    let mut rules = Validation::new(header.alg);
    rules.validate_exp = false;
    rules.validate_aud = false;
    let key = DecodingKey::from_jwk(jwk).unwrap();
    jsonwebtoken::decode::<Value>(token, &key, &rules).expect("it verifies");
}

/// The issuer's process, its steps as it prints them.
struct Process {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Process {
    async fn start(folder: &Path, began: u64, port: u16) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "issues_as_a_child", "--nocapture"])
            .env(FOLDER, folder)
            .env(BEGAN, began.to_string())
            .env(PORT, port.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                // The test is over when nobody listens any more.
                let _ = sender.send(line);
            }
        });
        let mut process = Self { child, lines };
        process
            .line("serving")
            .await
            .expect("the issuer does not start");
        process
    }

    /// Waits for a line that begins with `beginning`; `None` if none comes in a while.
    async fn line(&mut self, beginning: &str) -> Option<String> {
        let looking = async {
            loop {
                let line = self.lines.recv().await?;
                if line.starts_with(beginning) {
                    return Some(line);
                }
            }
        };
        timeout(Duration::from_secs(20), looking)
            .await
            .ok()
            .flatten()
    }
}

/// A cluster's key: its JWK set, and a token of two hours.
fn cluster(folder: &Path) -> String {
    let pkcs8 = signer::generate(Algorithm::Es256).unwrap();
    let public = signer::parse(Algorithm::Es256, &pkcs8)
        .unwrap()
        .public_key()
        .clone();
    let jwk = public.jwk(Algorithm::Es256);
    std::fs::write(
        folder.join("cluster.json"),
        json!({ "keys": [jwk] }).to_string(),
    )
    .unwrap();
    let iat = START.as_seconds();
    let claims = json!({
        "iss": CLUSTER,
        "sub": "system:serviceaccount:production:payment-svc",
        "aud": ["attache"],
        "iat": iat,
        "nbf": iat,
        "exp": iat + 4 * 3600,
        "kubernetes.io": {
            "namespace": "production",
            "serviceaccount": { "name": "payment-svc", "uid": "2b1f0c7e-0000-4000-8000-000000000002" },
        },
    });
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = jwk["kid"].as_str().map(str::to_owned);
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_der(&pkcs8)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_verifier_refuses_a_token_while_keys_turn_and_the_issuer_is_killed_at_every_step() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let evidence = cluster(folder);
    // Free now, and nobody else of ours takes it: each test binary runs by itself.
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let began = real_now();
    let world = Arc::new(World {
        base: format!("http://127.0.0.1:{port}"),
        began,
        evidence,
        client: Client::builder().no_proxy().build().unwrap(),
        stop: AtomicBool::new(false),
        tokens: Mutex::default(),
        verified: AtomicUsize::new(0),
        minted: AtomicUsize::new(0),
        signed_by: Mutex::default(),
    });
    let mut process = Process::start(folder, began, port).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&world).mint());
    for path in ["/keys", "/keys", "/bundle"] {
        tasks.spawn(Arc::clone(&world).verify(path));
    }
    let mut killed: HashMap<String, usize> = HashMap::new();
    while Duration::from_millis(real_now() - began) < RUN {
        // The next step of a kind that was met the least; every third one goes on unharmed.
        let Some(step) = process.line("step ").await else {
            panic!("no step for a long time");
        };
        let times = killed.entry(step).or_default();
        *times += 1;
        if !times.is_multiple_of(3) {
            process.child.kill().await.unwrap();
            process = Process::start(folder, began, port).await;
        }
        if let Some(ended) = tasks.try_join_next() {
            ended.unwrap();
            panic!("a task ended early");
        }
    }
    world.stop.store(true, SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    for step in ["prepare", "publish", "activate", "remove"] {
        assert!(killed.contains_key(&format!("step {step}")), "{killed:?}");
    }
    let (minted, verified) = (world.minted.load(SeqCst), world.verified.load(SeqCst));
    let keys = world.signed_by.lock().unwrap().len();
    println!("{minted} tokens by {keys} keys, {verified} times verified, killed after {killed:?}");
    assert!(
        minted > 100 && verified > 1000 && keys >= 6,
        "{minted} {verified} {keys}"
    );
}
