//! Asking a running server by its admin socket, as `curl --unix-socket` does.

use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::net::UnixStream;

use crate::client::{self, Reply};

/// `GET PATH` of the socket.
pub async fn ask(socket: &Path, path: &str) -> Result<Reply> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.with_context(|| format!("nobody listens on {}", socket.display()))?;
    client::http1_over(stream, client::get("admin", path)?).await
}

/// Status code and text of `GET PATH`.
pub async fn text(socket: &Path, path: &str) -> Result<(u16, String)> {
    let reply = ask(socket, path).await?;
    Ok((reply.status, String::from_utf8(reply.body.to_vec())?))
}
