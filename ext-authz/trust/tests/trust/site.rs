//! An issuer's web server on loopback, whose answers a test can change while it runs.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Response, StatusCode},
    routing::get,
};
use tokio::{net::TcpListener, task::JoinSet};

type Answer = Arc<dyn Fn() -> Response<Body> + Send + Sync>;

struct Answers {
    discovery: Mutex<Answer>,
    keys: Mutex<Answer>,
    keys_asked: AtomicUsize,
}

pub(crate) struct Site {
    pub(crate) url: String,
    answers: Arc<Answers>,
    _server: JoinSet<()>,
}

pub(crate) fn answer(status: StatusCode, body: impl Into<String>) -> Answer {
    let body = body.into();
    Arc::new(move || {
        Response::builder()
            .status(status)
            .body(Body::from(body.clone()))
            .expect("a response")
    })
}

impl Site {
    /// Serves `keys` at `/keys` and a discovery document that says so.
    pub(crate) async fn start(keys: &str) -> Self {
        Self::start_at(&([127, 0, 0, 1], 0).into(), keys).await
    }

    pub(crate) async fn start_at(address: &SocketAddr, keys: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let document = serde_json::json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let answers = Arc::new(Answers {
            discovery: Mutex::new(answer(StatusCode::OK, document.to_string())),
            keys: Mutex::new(answer(StatusCode::OK, keys)),
            keys_asked: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(serve_keys))
            .route("/elsewhere", get(elsewhere))
            .with_state((Arc::clone(&answers), answer(StatusCode::OK, keys)));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Self {
            url,
            answers,
            _server: server,
        }
    }

    pub(crate) fn keys_url(&self) -> String {
        format!("{}/keys", self.url)
    }

    pub(crate) fn answer_keys(&self, answer: Answer) {
        *self.answers.keys.lock().expect("no test panics with it") = answer;
    }

    pub(crate) fn answer_discovery(&self, answer: Answer) {
        *self
            .answers
            .discovery
            .lock()
            .expect("no test panics with it") = answer;
    }

    /// How often the keys were asked for.
    pub(crate) fn keys_asked(&self) -> usize {
        self.answers.keys_asked.load(Ordering::SeqCst)
    }
}

/// An address on which nothing listens.
pub(crate) async fn vacant_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    listener.local_addr().expect("an address")
}

async fn discovery(State((answers, _)): State<(Arc<Answers>, Answer)>) -> Response<Body> {
    let answer = answers
        .discovery
        .lock()
        .expect("no test panics with it")
        .clone();
    answer()
}

async fn serve_keys(State((answers, _)): State<(Arc<Answers>, Answer)>) -> Response<Body> {
    answers.keys_asked.fetch_add(1, Ordering::SeqCst);
    let answer = answers.keys.lock().expect("no test panics with it").clone();
    answer()
}

/// Good keys, for those who follow a redirect.
async fn elsewhere(State((_, keys)): State<(Arc<Answers>, Answer)>) -> Response<Body> {
    keys()
}
