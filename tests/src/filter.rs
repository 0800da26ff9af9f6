//! The filter as Envoy loads it: built by cargo from the sources that are here, so that no test runs a stale one.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Request, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OnceCell,
    task::AbortHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    authority::Authority,
    client::{self, Reply},
    wait::within,
    workspace,
};

/// Where the bootstraps expect it.
pub const IN_BOOTSTRAPS: &str = "/etc/attache/attache_filter.wasm";

/// The .wasm, built once for each run; the variable `ATTACHE_FILTER` names another.
pub async fn wasm() -> Result<PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    if let Some(named) = std::env::var_os("ATTACHE_FILTER").filter(|named| !named.is_empty()) {
        return Ok(PathBuf::from(named));
    }
    BUILT
        .get_or_try_init(|| built("attache-filter"))
        .await
        .cloned()
}

/// The .wasm of a package of this workspace.
pub async fn built(package: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = tokio::process::Command::new(cargo);
    command
        .args(["build", "--package", package, "--lib"])
        .args(["--target", "wasm32-wasip1", "--profile", "filter"])
        .args(["--message-format", "json"])
        .current_dir(workspace::root())
        .kill_on_drop(true);
    let output = command.output().await.context("cannot run cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{package} does not build; `rustup target add wasm32-wasip1` brings its target: {errors}"
    );
    let messages = String::from_utf8(output.stdout)?;
    let files = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["filenames"].as_array().cloned())
        .flatten();
    let files = files.filter_map(|file| file.as_str().map(PathBuf::from));
    let mut wasm = files.filter(|file| file.extension().is_some_and(|kind| kind == "wasm"));
    wasm.next().context("cargo built no .wasm")
}

/// Asks over HTTP/1.1 in TLS, for the name in the request's `Host`.
pub async fn https(
    address: SocketAddr,
    authority: &Authority,
    request: Request<Full<Bytes>>,
) -> Result<Reply> {
    let name = request.uri().host().context("a request without host")?;
    let stream = tls(address, authority, name).await?;
    client::http1_over(stream, request).await
}

async fn tls(
    address: SocketAddr,
    authority: &Authority,
    name: &str,
) -> Result<TlsStream<TcpStream>> {
    let config = authority.client(None, &["http/1.1"])?;
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned())?;
    Ok(TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?)
}

/// One connection for many calls.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Connection {
    /// Connects over TLS, to a server of this name.
    pub async fn open(address: SocketAddr, authority: &Authority, name: &str) -> Result<Self> {
        Self::over(tls(address, authority, name).await?).await
    }

    /// Connects in plaintext.
    pub async fn plaintext(address: SocketAddr) -> Result<Self> {
        Self::over(TcpStream::connect(address).await?).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection).abort_handle();
        Ok(Self { sender, driver })
    }

    /// Asks, after the answer to the call before.
    pub async fn ask(&mut self, mut request: Request<Full<Bytes>>) -> Result<Reply> {
        // Origin form: the host stands in its header.
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", PathAndQuery::as_str);
        *request.uri_mut() = target.parse()?;
        within("an answer on a kept connection", async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            Ok(Reply {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
            })
        })
        .await?
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
