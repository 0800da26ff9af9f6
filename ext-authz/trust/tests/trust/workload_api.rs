//! Bundles from a Workload API: a small server of the standard's own protocol, on a unix socket.

use std::{
    collections::HashMap,
    os::unix::fs::symlink,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use attache_core::time::Timestamp;
use attache_proto::spiffe::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest,
    X509svidResponse,
    spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer},
};
use attache_trust::{BundleSource, Trust, TrustSettings};
use futures::{Stream, StreamExt as _, stream};
use tokio::{
    net::UnixListener,
    runtime::{Builder, Runtime},
    sync::watch,
    time::Instant,
};
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    pki::{Authority, ID, svid},
    signer::{self, NOW, Signer, jwks, verdict, without},
    svid_providers::{DOMAIN, both, claims, shown},
};

type Streamed<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;
type Bundles = HashMap<String, Vec<u8>>;

/// The full state, as every message tells it; `Err` refuses the caller.
#[derive(Clone, Default)]
struct State {
    jwt: Bundles,
    x509: Bundles,
    refused: bool,
    /// Takes every call, and sends nothing.
    silent: bool,
}

struct Agent(watch::Receiver<State>);

impl Agent {
    /// The metadata that the standard demands of every call, and what to send.
    fn states<M>(&self, request: &Request<M>) -> Result<watch::Receiver<State>, Status> {
        let header = request.metadata().get("workload.spiffe.io");
        if header.is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument("security header missing"));
        }
        if self.0.borrow().refused {
            return Err(Status::permission_denied("no identity issued"));
        }
        Ok(self.0.clone())
    }
}

fn each<M: Send + 'static>(
    states: watch::Receiver<State>,
    message: fn(State) -> M,
) -> Response<Streamed<M>> {
    let next = move |(mut states, first): (watch::Receiver<State>, bool)| async move {
        if !first {
            states.changed().await.ok()?;
        }
        let state = states.borrow_and_update().clone();
        if state.silent {
            std::future::pending::<()>().await;
        }
        Some((Ok(message(state)), (states, false)))
    };
    Response::new(stream::unfold((states, true), next).boxed())
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Agent {
    type FetchX509SVIDStream = Streamed<X509svidResponse>;
    type FetchX509BundlesStream = Streamed<X509BundlesResponse>;
    type FetchJWTBundlesStream = Streamed<JwtBundlesResponse>;

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let message = |state: State| X509BundlesResponse {
            crl: vec![],
            bundles: state.x509,
        };
        Ok(each(self.states(&request)?, message))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let message = |state: State| JwtBundlesResponse { bundles: state.jwt };
        Ok(each(self.states(&request)?, message))
    }

    async fn fetch_x509svid(
        &self,
        _: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        Err(Status::permission_denied("bundles alone"))
    }

    async fn fetch_jwtsvid(
        &self,
        _: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        Err(Status::permission_denied("bundles alone"))
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        Err(Status::permission_denied("bundles alone"))
    }
}

struct Running {
    folder: Arc<tempfile::TempDir>,
    states: watch::Sender<State>,
    /// Of its own, so that with it every connection ends.
    server: Option<Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Running {
    fn start(state: State) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let mut running = Self {
            folder,
            states: watch::Sender::new(state),
            server: None,
        };
        running.listen();
        running
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    fn source(&self) -> BundleSource {
        BundleSource::WorkloadApi(self.socket())
    }

    fn listen(&mut self) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let context = runtime.enter();
        let listener = UnixListener::bind(self.socket()).expect("a socket");
        drop(context);
        let agent = Agent(self.states.subscribe());
        runtime.spawn(async move {
            let connections = stream::unfold(listener, |listener| async {
                let accepted = listener.accept().await.map(|(stream, _)| stream);
                Some((accepted, listener))
            });
            let service = SpiffeWorkloadApiServer::new(agent);
            let served = Server::builder()
                .add_service(service)
                .serve_with_incoming(connections.boxed());
            served.await.expect("a server");
        });
        self.server = Some(runtime);
    }

    fn end(&mut self) {
        if let Some(runtime) = self.server.take() {
            runtime.shutdown_background();
        }
    }

    /// The agent goes away, with its socket.
    fn stop(&mut self) {
        self.end();
        std::fs::remove_file(self.socket()).expect("removed");
    }
}

fn id(domain: &str) -> String {
    format!("spiffe://{domain}")
}

/// As SPIRE's agent sends it: a plain JWK Set without `use`.
fn jwt_bundle(signer: &Signer) -> Vec<u8> {
    jwks(&[without(signer.rsa_jwk("rsa"), "use")]).into_bytes()
}

fn state(signer: &Signer, authority: &Authority) -> State {
    State {
        jwt: HashMap::from([(id(DOMAIN), jwt_bundle(signer))]),
        x509: HashMap::from([(id(DOMAIN), authority.der.clone())]),
        ..State::default()
    }
}

async fn until(trust: &Trust, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing changed: {:?}", trust.status(NOW));
}

#[tokio::test]
async fn bundles_of_a_workload_api_verify_both_kinds_of_svid() {
    let (keys, authority) = (Signer::new(), Authority::named("root"));
    let agent = Running::start(state(&keys, &authority));
    let trust = signer::trust(both(DOMAIN, &agent.source()));
    assert_eq!(
        verdict(&trust, &keys.sign("rsa", &claims(ID))).await,
        "attested"
    );
    assert_eq!(
        shown(&trust, &[&authority.issue(&svid(ID))], NOW).await,
        "attested"
    );
}

#[tokio::test]
async fn a_pushed_bundle_counts_at_once_and_drops_what_the_old_one_proved() {
    let (keys, authority) = (Signer::new(), Authority::named("root"));
    let agent = Running::start(state(&keys, &authority));
    let trust = signer::trust(both(DOMAIN, &agent.source()));
    let (token, leaf) = (keys.sign("rsa", &claims(ID)), authority.issue(&svid(ID)));
    assert_eq!(verdict(&trust, &token).await, "attested");
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "attested");
    let (next_keys, next) = (Signer::new(), Authority::named("root"));
    agent.states.send_replace(state(&next_keys, &next));
    until(&trust, async || {
        verdict(&trust, &token).await == "token-signature-invalid"
    })
    .await;
    until(&trust, async || {
        shown(&trust, &[&leaf], NOW).await != "attested"
    })
    .await;
    assert_eq!(
        verdict(&trust, &next_keys.sign("rsa", &claims(ID))).await,
        "attested"
    );
    assert_eq!(
        shown(&trust, &[&next.issue(&svid(ID))], NOW).await,
        "attested"
    );
}

#[tokio::test]
async fn what_a_message_leaves_out_is_withdrawn() {
    let (keys, authority) = (Signer::new(), Authority::named("root"));
    let agent = Running::start(state(&keys, &authority));
    let trust = signer::trust(both(DOMAIN, &agent.source()));
    let (token, leaf) = (keys.sign("rsa", &claims(ID)), authority.issue(&svid(ID)));
    assert_eq!(verdict(&trust, &token).await, "attested");
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "attested");
    agent.states.send_replace(State::default());
    until(&trust, async || {
        verdict(&trust, &token).await == "token-key-unknown"
    })
    .await;
    until(&trust, async || {
        shown(&trust, &[&leaf], NOW).await == "certificate-untrusted"
    })
    .await;
    until(&trust, async || {
        trust.status(NOW).iter().all(|one| one.last_error.is_some())
    })
    .await;
}

#[tokio::test]
async fn bundles_of_other_trust_domains_are_not_taken() {
    let (keys, authority) = (Signer::new(), Authority::named("root"));
    let partner = "partner.example";
    let mut both_domains = state(&Signer::new(), &Authority::named("root"));
    both_domains.jwt.insert(id(partner), jwt_bundle(&keys));
    both_domains.x509.insert(id(partner), authority.der.clone());
    let agent = Running::start(both_domains);
    let trust = signer::trust(both(DOMAIN, &agent.source()));
    assert_eq!(
        verdict(&trust, &keys.sign("rsa", &claims(ID))).await,
        "token-signature-invalid"
    );
    let leaf = authority.issue(&svid(ID));
    assert_eq!(
        shown(&trust, &[&leaf], NOW).await,
        "certificate-signature-invalid"
    );
    // A federated trust domain is a provider of its own, from the same socket.
    let federated = signer::trust(both(partner, &agent.source()));
    let theirs = "spiffe://partner.example/a";
    assert_eq!(
        verdict(&federated, &keys.sign("rsa", &claims(theirs))).await,
        "attested"
    );
    assert_eq!(
        shown(&federated, &[&authority.issue(&svid(theirs))], NOW).await,
        "attested"
    );
}

#[tokio::test]
async fn an_agent_that_goes_away_leaves_the_last_bundle_and_is_found_again() {
    let (keys, authority) = (Signer::new(), Authority::named("root"));
    let mut agent = Running::start(state(&keys, &authority));
    let trust = signer::trust(both(DOMAIN, &agent.source())[..1].to_vec());
    let token = keys.sign("rsa", &claims(ID));
    assert_eq!(verdict(&trust, &token).await, "attested");
    agent.stop();
    until(&trust, async || trust.status(NOW)[0].last_error.is_some()).await;
    assert_eq!(verdict(&trust, &token).await, "attested");
    let next = Signer::new();
    agent.states.send_replace(state(&next, &authority));
    agent.listen();
    until(&trust, async || verdict(&trust, &token).await != "attested").await;
    assert_eq!(
        verdict(&trust, &next.sign("rsa", &claims(ID))).await,
        "attested"
    );
    until(&trust, async || trust.status(NOW)[0].last_error.is_none()).await;
}

#[tokio::test]
async fn an_agent_that_refuses_is_told() {
    let agent = Running::start(State {
        refused: true,
        ..State::default()
    });
    let trust = signer::trust(both(DOMAIN, &agent.source()));
    let token = Signer::new().sign("rsa", &claims(ID));
    assert_eq!(verdict(&trust, &token).await, "keys-unavailable");
    let error = trust.status(NOW)[0].last_error.clone().unwrap_or_default();
    assert!(error.contains("no identity issued"), "{error}");
}

#[tokio::test]
async fn a_broken_message_leaves_the_last_good_bundle() {
    let (keys, authority) = (Signer::new(), Authority::named("root"));
    let agent = Running::start(state(&keys, &authority));
    let trust = signer::trust(both(DOMAIN, &agent.source()));
    let (token, leaf) = (keys.sign("rsa", &claims(ID)), authority.issue(&svid(ID)));
    assert_eq!(verdict(&trust, &token).await, "attested");
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "attested");
    let broken = |bytes: &[u8]| HashMap::from([(id(DOMAIN), bytes.to_vec())]);
    agent.states.send_replace(State {
        jwt: broken(b"{"),
        x509: broken(b"\x30"),
        ..State::default()
    });
    until(&trust, async || {
        trust.status(NOW).iter().all(|one| one.last_error.is_some())
    })
    .await;
    assert_eq!(verdict(&trust, &token).await, "attested");
    assert_eq!(shown(&trust, &[&leaf], NOW).await, "attested");
}

/// Lets paused time run, and the agent's thread do its part in between.
async fn pass(time: Duration) {
    for _ in 0..time.as_secs() {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::spawn_blocking(std::thread::yield_now)
            .await
            .expect("a thread");
    }
}

#[tokio::test]
async fn an_open_stream_keeps_its_bundle_young_until_a_message_is_refused() {
    let (keys, authority) = (Signer::new(), Authority::named("root"));
    let agent = Running::start(state(&keys, &authority));
    let seconds = Arc::new(AtomicI64::new(NOW.as_seconds()));
    let clock = Arc::clone(&seconds);
    let now = move || Timestamp::from_seconds(clock.load(Ordering::SeqCst));
    let trust = Trust::new(TrustSettings::new(Arc::new(now.clone())));
    trust.replace(both(DOMAIN, &agent.source())).expect("sound");
    until(&trust, async || {
        trust.status(NOW).iter().all(|one| one.usable)
    })
    .await;
    let ages = || {
        let status = trust.status(now());
        let ages = status.iter().map(|one| one.key_age.expect("an age"));
        ages.map(|age| age.as_secs()).collect::<Vec<_>>()
    };
    tokio::time::pause();
    seconds.fetch_add(600, Ordering::SeqCst);
    assert_eq!(ages(), [600, 600]);
    pass(Duration::from_secs(70)).await;
    assert_eq!(ages(), [0, 0], "confirmed");
    tokio::time::resume();
    let broken = |bytes: &[u8]| HashMap::from([(id(DOMAIN), bytes.to_vec())]);
    agent.states.send_replace(State {
        jwt: broken(b"{"),
        x509: broken(b"\x30"),
        ..State::default()
    });
    until(&trust, async || {
        trust.status(NOW).iter().all(|one| one.last_error.is_some())
    })
    .await;
    tokio::time::pause();
    seconds.fetch_add(600, Ordering::SeqCst);
    pass(Duration::from_secs(300)).await;
    assert_eq!(ages(), [600, 600], "not confirmed any more");
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_makes_the_first_request_wait_and_no_other_and_is_told() {
    let agent = Running::start(State {
        silent: true,
        ..State::default()
    });
    let trust = signer::trust(both(DOMAIN, &agent.source())[..1].to_vec());
    let token = Signer::new().sign("rsa", &claims(ID));
    let started = Instant::now();
    assert_eq!(verdict(&trust, &token).await, "keys-unavailable");
    assert_eq!(started.elapsed().as_secs(), 2);
    assert_eq!(verdict(&trust, &token).await, "keys-unavailable");
    assert_eq!(started.elapsed().as_secs(), 2, "nobody waits again");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let error = trust.status(NOW)[0].last_error.clone().unwrap_or_default();
    assert!(error.contains("no bundle within 5 seconds"), "{error}");
}

#[tokio::test]
async fn a_socket_that_leads_outside_by_now_is_not_dialled() {
    let (keys, authority) = (Signer::new(), Authority::named("root"));
    let agent = Running::start(state(&keys, &authority));
    let root = tempfile::tempdir().expect("a folder");
    let named = root.path().join("agent.sock");
    symlink(agent.socket(), &named).expect("a link");
    let mut configs = both(DOMAIN, &BundleSource::WorkloadApi(named));
    let token = keys.sign("rsa", &claims(ID));
    for (roots, expected) in [
        (vec![root.path().to_owned()], "keys-unavailable"),
        (
            vec![root.path().to_owned(), agent.folder.path().to_owned()],
            "attested",
        ),
    ] {
        for config in &mut configs {
            config.file_roots = Some(roots.clone());
        }
        let trust = signer::trust(configs.clone());
        assert_eq!(verdict(&trust, &token).await, expected);
        let error = trust.status(NOW)[0].last_error.clone().unwrap_or_default();
        let told = error.contains("outside of `file_roots`");
        assert_eq!(told, expected != "attested", "{error}");
    }
}
