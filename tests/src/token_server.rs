//! An authorization server that gives bearer tokens to whoever asks, when and for as long as its test says.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::json;
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    port::Reserved,
    server::{Answer, Server, Site},
};

/// A running server, in plaintext.
pub struct TokenServer {
    reserved: Reserved,
    state: Arc<State>,
    server: Option<Server>,
}

struct State {
    asked: AtomicUsize,
    manner: Mutex<Manner>,
    leave: Semaphore,
}

/// How it answers.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How long a token takes.
    pub takes: Duration,
    /// How long a token lives, in seconds.
    pub lives: u64,
}

impl TokenServer {
    /// Starts one that makes at most `at_once` tokens at a time; more requests wait.
    pub async fn start(manner: Manner, at_once: usize) -> Result<Self> {
        let mut server = Self {
            reserved: Reserved::next()?,
            state: Arc::new(State {
                asked: AtomicUsize::new(0),
                manner: Mutex::new(manner),
                leave: Semaphore::new(at_once),
            }),
            server: None,
        };
        server.resume().await?;
        Ok(server)
    }

    /// Its token endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/token", self.address())
    }

    const fn address(&self) -> SocketAddr {
        self.reserved.address()
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.state.asked.load(SeqCst)
    }

    /// Answers so from now on.
    pub fn is(&self, manner: Manner) {
        *self.state.manner() = manner;
    }

    /// Goes away.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Is there again.
    pub async fn resume(&mut self) -> Result<()> {
        let state = Arc::clone(&self.state);
        self.server = Some(Server::start(self.address(), None, state).await?);
        Ok(())
    }
}

impl State {
    fn manner(&self) -> std::sync::MutexGuard<'_, Manner> {
        self.manner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site for State {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let _ = request.into_body().collect().await;
        let number = self.asked.fetch_add(1, SeqCst);
        let manner = *self.manner();
        let leave = self.leave.acquire().await;
        sleep(manner.takes).await;
        drop(leave);
        let token = json!({
            "access_token": format!("token-{number}"),
            "token_type": "Bearer",
            "expires_in": manner.lives,
        });
        let mut response = Response::new(Full::new(Bytes::from(token.to_string())).boxed());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert("content-type", json);
        response
    }
}
