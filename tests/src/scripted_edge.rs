//! An edge of a test's own, `attache.token.v1.Tokens` alone: it answers as the test says and keeps what it was
//! asked.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use attache_proto::token::v1::{
    AssertionRequest, AssertionResponse, BundlesRequest, BundlesResponse, FetchRequest,
    FetchResponse, ReportRequest, ReportResponse, RevalidateRequest, RevalidateResponse,
    VerifyRequest, VerifyResponse, WatchRequest, WatchResponse,
    tokens_server::{Tokens, TokensServer},
};
use tokio::{
    net::UnixListener,
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, UnixListenerStream},
};
use tonic::{Request, Response, Status, async_trait, transport::Server};

/// How a method is answered.
type Answering<Q, A> = Box<dyn Fn(&Q) -> Result<A, Status> + Send>;

/// The edge.
pub struct ScriptedEdge {
    script: Script,
    socket: PathBuf,
    // Its own, so that going away breaks every connection.
    serving: Option<Runtime>,
}

/// What it answers and what it was asked.
#[derive(Clone)]
struct Script(Arc<State>);

struct State {
    bundles: Mutex<Answering<BundlesRequest, BundlesResponse>>,
    verify: Mutex<Answering<VerifyRequest, VerifyResponse>>,
    fetch: Mutex<Answering<FetchRequest, FetchResponse>>,
    revalidate: Mutex<Answering<RevalidateRequest, RevalidateResponse>>,
    report: Mutex<Answering<ReportRequest, ReportResponse>>,
    assertion: Mutex<Answering<AssertionRequest, AssertionResponse>>,
    delay: Mutex<Duration>,
    asked: Mutex<Asked>,
    revision: watch::Sender<String>,
}

/// What the edge was asked, in order.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// By `Fetch`.
    pub fetches: Vec<FetchRequest>,
    /// By `Verify`.
    pub verifications: Vec<VerifyRequest>,
    /// By `Revalidate`.
    pub revalidations: Vec<RevalidateRequest>,
    /// By `Report`.
    pub reports: Vec<ReportRequest>,
    /// By `Assertion`.
    pub assertions: Vec<AssertionRequest>,
    /// How often by `Bundles`.
    pub bundles: usize,
    /// How often by `Watch`.
    pub watches: usize,
}

impl ScriptedEdge {
    /// Listens on `socket`. Until it is told otherwise, every method is unimplemented but `Watch`, and `Report`,
    /// which acknowledges everything.
    pub fn start(socket: &Path) -> Result<Self> {
        let script = Script(Arc::new(State {
            bundles: Mutex::new(Box::new(|_| Err(unimplemented()))),
            verify: Mutex::new(Box::new(|_| Err(unimplemented()))),
            fetch: Mutex::new(Box::new(|_| Err(unimplemented()))),
            revalidate: Mutex::new(Box::new(|_| Err(unimplemented()))),
            report: Mutex::new(Box::new(|request| Ok(acknowledged(request)))),
            assertion: Mutex::new(Box::new(|_| Err(unimplemented()))),
            delay: Mutex::new(Duration::ZERO),
            asked: Mutex::default(),
            revision: watch::Sender::new("revision-1".to_owned()),
        }));
        let mut edge = Self {
            script,
            socket: socket.to_path_buf(),
            serving: None,
        };
        edge.open()?;
        Ok(edge)
    }

    /// Listens again after [`Self::close`].
    pub fn open(&mut self) -> Result<()> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&self.socket)?
        };
        let service = TokensServer::new(self.script.clone());
        let server = Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        self.serving = Some(runtime);
        Ok(())
    }

    /// Goes away: connections break and new ones are refused.
    pub fn close(&mut self) -> Result<()> {
        if let Some(serving) = self.serving.take() {
            serving.shutdown_background();
            std::fs::remove_file(&self.socket)?;
        }
        Ok(())
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Asked {
        lock(&self.script.0.asked).clone()
    }

    /// Answers every call this much later.
    pub fn delay(&self, delay: Duration) {
        *lock(&self.script.0.delay) = delay;
    }

    /// Tells another revision to all who watch.
    pub fn revision(&self, revision: &str) {
        self.script.0.revision.send_replace(revision.to_owned());
    }

    /// Answers `Bundles` so from now on.
    pub fn bundles(
        &self,
        answer: impl Fn(&BundlesRequest) -> Result<BundlesResponse, Status> + Send + 'static,
    ) {
        *lock(&self.script.0.bundles) = Box::new(answer);
    }

    /// Answers `Verify` so from now on.
    pub fn verify(
        &self,
        answer: impl Fn(&VerifyRequest) -> Result<VerifyResponse, Status> + Send + 'static,
    ) {
        *lock(&self.script.0.verify) = Box::new(answer);
    }

    /// Answers `Fetch` so from now on.
    pub fn fetch(
        &self,
        answer: impl Fn(&FetchRequest) -> Result<FetchResponse, Status> + Send + 'static,
    ) {
        *lock(&self.script.0.fetch) = Box::new(answer);
    }

    /// Answers `Revalidate` so from now on.
    pub fn revalidate(
        &self,
        answer: impl Fn(&RevalidateRequest) -> Result<RevalidateResponse, Status> + Send + 'static,
    ) {
        *lock(&self.script.0.revalidate) = Box::new(answer);
    }

    /// Answers `Report` so from now on.
    pub fn report(
        &self,
        answer: impl Fn(&ReportRequest) -> Result<ReportResponse, Status> + Send + 'static,
    ) {
        *lock(&self.script.0.report) = Box::new(answer);
    }

    /// Answers `Assertion` so from now on.
    pub fn assertion(
        &self,
        answer: impl Fn(&AssertionRequest) -> Result<AssertionResponse, Status> + Send + 'static,
    ) {
        *lock(&self.script.0.assertion) = Box::new(answer);
    }
}

impl Drop for ScriptedEdge {
    fn drop(&mut self) {
        // The folder of the socket goes with its test.
        let _ = self.close();
    }
}

/// Everything of a report is recorded.
pub fn acknowledged(request: &ReportRequest) -> ReportResponse {
    ReportResponse {
        protocol: 1,
        epoch: request.epoch.clone(),
        acknowledged: request.accesses.last().map_or(0, |access| access.sequence),
        refused: Vec::new(),
    }
}

impl Script {
    async fn answer<Q, A>(
        &self,
        request: Request<Q>,
        keep: impl FnOnce(&mut Asked, &Q),
        answering: &Mutex<Answering<Q, A>>,
    ) -> Result<Response<A>, Status> {
        let request = request.into_inner();
        keep(&mut lock(&self.0.asked), &request);
        let delay = *lock(&self.0.delay);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        lock(answering)(&request).map(Response::new)
    }
}

#[async_trait]
impl Tokens for Script {
    async fn fetch(&self, asked: Request<FetchRequest>) -> Result<Response<FetchResponse>, Status> {
        let keep = |all: &mut Asked, one: &FetchRequest| all.fetches.push(one.clone());
        self.answer(asked, keep, &self.0.fetch).await
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        _asked: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        lock(&self.0.asked).watches += 1;
        let mut revisions = self.0.revision.subscribe();
        let mut heartbeat = interval(Duration::from_secs(1));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let revision = revisions.borrow_and_update().clone();
                let response = WatchResponse {
                    protocol: 1,
                    revision,
                    ..WatchResponse::default()
                };
                if sender.send(Ok(response)).await.is_err() {
                    break;
                }
                tokio::select! {
                    _ = heartbeat.tick() => {}
                    changed = revisions.changed() => if changed.is_err() { break },
                }
            }
        });
        let stream = ReceiverStream::new(receiver);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn revalidate(
        &self,
        asked: Request<RevalidateRequest>,
    ) -> Result<Response<RevalidateResponse>, Status> {
        let keep = |all: &mut Asked, one: &RevalidateRequest| all.revalidations.push(one.clone());
        self.answer(asked, keep, &self.0.revalidate).await
    }

    async fn report(
        &self,
        asked: Request<ReportRequest>,
    ) -> Result<Response<ReportResponse>, Status> {
        let keep = |all: &mut Asked, one: &ReportRequest| all.reports.push(one.clone());
        self.answer(asked, keep, &self.0.report).await
    }

    async fn bundles(
        &self,
        asked: Request<BundlesRequest>,
    ) -> Result<Response<BundlesResponse>, Status> {
        let keep = |all: &mut Asked, _one: &BundlesRequest| all.bundles += 1;
        self.answer(asked, keep, &self.0.bundles).await
    }

    async fn verify(
        &self,
        asked: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
        let keep = |all: &mut Asked, one: &VerifyRequest| all.verifications.push(one.clone());
        self.answer(asked, keep, &self.0.verify).await
    }

    async fn assertion(
        &self,
        asked: Request<AssertionRequest>,
    ) -> Result<Response<AssertionResponse>, Status> {
        let keep = |all: &mut Asked, one: &AssertionRequest| all.assertions.push(one.clone());
        self.answer(asked, keep, &self.0.assertion).await
    }
}

fn unimplemented() -> Status {
    Status::unimplemented("the test says nothing of this method")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
