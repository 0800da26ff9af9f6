//! A target service: TLS with a certificate for its name, HTTP/1.1, HTTP/2 and gRPC. It records every
//! request as it arrived.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use tokio_stream::iter;

use crate::{
    authority::Authority,
    server::{Answer, Server, Site},
};

/// Which HTTP versions a target offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offers {
    /// HTTP/2 first, then HTTP/1.1.
    Http2,
    /// HTTP/1.1 alone.
    Http1,
}

/// A request as it reached the target.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The request target with its query.
    pub target: String,
    /// `Host` or `:authority`.
    pub authority: String,
    /// The HTTP version.
    pub version: Version,
    /// Every header in order: lower-case name, raw bytes; duplicates apart.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Received {
    /// The values of header `name`, in order.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.headers
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The bearer token, if `authorization` stands there exactly once and holds one.
    pub fn bearer(&self) -> Option<String> {
        match self.values("authorization").as_slice() {
            [value] => value.strip_prefix("Bearer ").map(str::to_owned),
            _ => None,
        }
    }
}

/// A running target.
#[derive(Debug)]
pub struct Target {
    server: Server,
    record: Arc<Record>,
}

#[derive(Debug, Default)]
struct Record {
    requests: Mutex<Vec<Received>>,
    connections: Mutex<usize>,
    refused: Mutex<Vec<String>>,
}

impl Target {
    /// Starts a target whose certificate, from `authority`, is for `name`.
    pub async fn start(authority: &Authority, name: &str, offers: Offers) -> Result<Self> {
        let alpn: &[&str] = match offers {
            Offers::Http2 => &["h2", "http/1.1"],
            Offers::Http1 => &["http/1.1"],
        };
        let tls = authority.issue(&[name])?.server(alpn)?;
        let record = Arc::new(Record::default());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(any, Some(tls), Arc::clone(&record)).await?;
        Ok(Self { server, record })
    }

    /// Starts an application behind a sidecar, in plaintext.
    pub async fn plaintext() -> Result<Self> {
        let record = Arc::new(Record::default());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(any, None, Arc::clone(&record)).await?;
        Ok(Self { server, record })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Every request that reached it, in order.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.record.requests).clone()
    }

    /// The request that reached it last.
    pub fn last(&self) -> Result<Received> {
        let last = lock(&self.record.requests).last().cloned();
        last.ok_or_else(|| anyhow::anyhow!("the target received nothing"))
    }

    /// The last request that reached it with the request target `target`.
    pub fn last_of(&self, target: &str) -> Option<Received> {
        let requests = lock(&self.record.requests);
        let mut newest_first = requests.iter().rev();
        newest_first
            .find(|request| request.target == target)
            .cloned()
    }

    /// How many connections were opened to it.
    pub fn connections(&self) -> usize {
        *lock(&self.record.connections)
    }

    /// Why TLS handshakes with it failed.
    pub fn refused(&self) -> Vec<String> {
        lock(&self.record.refused).clone()
    }
}

impl Site for Record {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let grpc = value(request.headers(), "content-type").starts_with("application/grpc");
        let received = receive(request).await;
        lock(&self.requests).push(received);
        if grpc { serving() } else { welcome() }
    }

    fn connected(&self) {
        *lock(&self.connections) += 1;
    }

    fn refused(&self, reason: String) {
        lock(&self.refused).push(reason);
    }
}

async fn receive(request: Request<Incoming>) -> Received {
    let (head, body) = request.into_parts();
    let host = value(&head.headers, "host");
    let authority = head.uri.authority().map_or(host, ToString::to_string);
    let target = head
        .uri
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let (body, trailers) = match body.collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().map(raw).unwrap_or_default();
            (collected.to_bytes(), trailers)
        }
        // What was cut off did not arrive whole; the record shows the request without a body.
        Err(_cut) => (Bytes::new(), Vec::new()),
    };
    Received {
        method: head.method.to_string(),
        target,
        authority,
        version: head.version,
        headers: raw(&head.headers),
        body,
        trailers,
    }
}

/// The answer to plain HTTP. It imitates a refusal of Attaché, which no target may.
fn welcome() -> Answer {
    let body = Full::new(Bytes::from_static(b"{\"welcome\":true}")).boxed();
    let mut answer = Response::new(body);
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-attache-decision", "imitated-by-the-target"),
        ("x-attache-code", "imitated-by-the-target"),
    ] {
        answer
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    answer
}

/// The answer to gRPC: `grpc.health.v1.HealthCheckResponse { status: SERVING }`, status 0 in trailers.
fn serving() -> Answer {
    let message = Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frames = [
        Ok::<_, Infallible>(Frame::data(message)),
        Ok(Frame::trailers(trailers)),
    ];
    let mut answer = Response::new(BoxBody::new(http_body_util::StreamBody::new(iter(frames))));
    let grpc = http::HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert("content-type", grpc);
    answer
}

fn value(headers: &HeaderMap, name: &str) -> String {
    let value = headers
        .get(name)
        .map(http::HeaderValue::as_bytes)
        .unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

fn raw(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    headers.iter().map(pair).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
