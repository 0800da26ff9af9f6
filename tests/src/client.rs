//! Callers: HTTP/1.1 byte by byte, HTTP/1.1, HTTP/2 and gRPC. One connection for each call.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{
    metadata::{AsciiMetadataKey, AsciiMetadataValue},
    transport::Endpoint,
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use crate::wait::within;

/// Where a caller shows who it is.
pub const EVIDENCE: &str = "x-attache-evidence";

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Reply {
    /// The value of header `name`, if it is there once and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let only = values.next()?;
        if values.next().is_some() {
            return None;
        }
        only.to_str().ok()
    }

    /// Attaché's code, if the answer is Attaché's.
    pub fn code(&self) -> Option<&str> {
        self.header("x-attache-code")
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// `GET http://HOST/PATH`, for any of the callers below.
pub fn get(host: &str, path: &str) -> Result<Request<Full<Bytes>>> {
    let uri = format!("http://{host}{path}");
    Ok(Request::get(uri)
        .header("host", host)
        .body(Full::default())?)
}

/// The same request, with evidence.
pub fn with_evidence(
    mut request: Request<Full<Bytes>>,
    token: &str,
) -> Result<Request<Full<Bytes>>> {
    request.headers_mut().insert(EVIDENCE, token.parse()?);
    Ok(request)
}

/// Asks over HTTP/1.1.
pub async fn http1(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Reply> {
    http1_over(TcpStream::connect(address).await?, request).await
}

/// Asks over HTTP/1.1 on a connection that stands.
pub async fn http1_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut request: Request<Full<Bytes>>,
) -> Result<Reply> {
    // Origin form: the host stands in its header.
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    *request.uri_mut() = target.parse()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let reply = within("an HTTP/1.1 answer", async {
        collect(sender.send_request(request).await?).await
    })
    .await?;
    driver.abort();
    reply
}

/// Asks over HTTP/2 without TLS (prior knowledge).
pub async fn http2<B>(address: SocketAddr, mut request: Request<B>) -> Result<Reply>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    // HTTP/2 names the host in `:authority`.
    request.headers_mut().remove("host");
    http2_as_it_is(address, request).await
}

/// The same, with a `host` beside `:authority` if the request has one.
pub async fn http2_as_it_is<B>(address: SocketAddr, request: Request<B>) -> Result<Reply>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    let driver = tokio::spawn(connection);
    let reply = within("an HTTP/2 answer", async {
        collect(sender.send_request(request).await?).await
    })
    .await?;
    driver.abort();
    reply
}

/// Sends `bytes` as they are and reads one HTTP/1.1 answer.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Result<Reply> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    within("an answer to raw bytes", read_answer(&mut stream)).await?
}

/// Asks `grpc.health.v1.Health/Check` of `host` through the proxy at `address`.
pub async fn grpc_health(
    address: SocketAddr,
    host: &str,
    headers: &[(&str, &str)],
) -> Result<Result<HealthCheckResponse, tonic::Status>> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .origin(format!("http://{host}").parse()?)
        .connect()
        .await?;
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    for (name, value) in headers {
        let name = AsciiMetadataKey::from_bytes(name.as_bytes())?;
        request
            .metadata_mut()
            .append(name, AsciiMetadataValue::try_from(*value)?);
    }
    let answer = within("a gRPC answer", HealthClient::new(channel).check(request)).await?;
    Ok(answer.map(tonic::Response::into_inner))
}

async fn collect(response: Response<Incoming>) -> Result<Reply> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

async fn read_answer(stream: &mut TcpStream) -> Result<Reply> {
    let mut bytes = Vec::new();
    let head_end = loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            break end;
        }
        anyhow::ensure!(
            stream.read_buf(&mut bytes).await? > 0,
            "the connection was closed after: {}",
            String::from_utf8_lossy(&bytes)
        );
    };
    let head = String::from_utf8_lossy(bytes.get(..head_end).unwrap_or_default()).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .context("no status line")?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').context("a header without colon")?;
        headers.append(http::HeaderName::try_from(name)?, value.trim().parse()?);
    }
    let mut body = bytes.get(head_end + 4..).unwrap_or_default().to_vec();
    let length = headers
        .get("content-length")
        .and_then(|value| value.to_str().ok());
    match length.and_then(|digits| digits.parse::<usize>().ok()) {
        Some(length) => while body.len() < length && stream.read_buf(&mut body).await? > 0 {},
        None => {
            stream.read_to_end(&mut body).await?;
        }
    }
    Ok(Reply {
        status: status.parse()?,
        headers,
        body: body.into(),
    })
}
