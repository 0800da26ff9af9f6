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
    sync::{Mutex, OnceCell},
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
    let build = || build("attache-filter", &[], "attache_filter.wasm");
    BUILT.get_or_try_init(build).await.cloned()
}

/// The same, but a request with the header `x-trap` ends the VM that it runs in, and `x-now` is its clock.
pub async fn wasm_for_tests() -> Result<PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || {
        build(
            "attache-filter",
            &["--features", "for-tests"],
            "attache_filter_for_tests.wasm",
        )
    };
    BUILT.get_or_try_init(build).await.cloned()
}

/// The .wasm of a package of this workspace.
pub async fn built(package: &str) -> Result<PathBuf> {
    build(package, &[], &format!("{package}.wasm")).await
}

async fn build(package: &str, features: &[&str], name: &str) -> Result<PathBuf> {
    // Both come out of cargo under one name.
    static ONE_BY_ONE: Mutex<()> = Mutex::const_new(());
    let _alone = ONE_BY_ONE.lock().await;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = tokio::process::Command::new(cargo);
    command
        .args(["rustc", "--package", package, "--lib"])
        .args(["--crate-type", "cdylib"])
        .args(["--target", "wasm32-wasip1", "--profile", "filter"])
        .args(["--message-format", "json"])
        .args(features)
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
    let built = wasm.next().context("cargo built no .wasm")?;
    let folder = workspace::target().join("filter-for-tests");
    std::fs::create_dir_all(&folder)?;
    // Another process may load the one that is there.
    let (new, place) = (
        folder.join(format!("{name}.{}", std::process::id())),
        folder.join(name),
    );
    std::fs::copy(built, &new)?;
    std::fs::rename(&new, &place)?;
    Ok(place)
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
