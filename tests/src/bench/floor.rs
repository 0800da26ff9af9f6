//! The floor of `Check`: a tonic server on the same service that decides nothing and gives one answer, as large
//! as Attaché's. A process of its own, so that its processor time can be told.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};
use base64ct::{Base64, Encoding as _};
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use prost::Message as _;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, async_trait, transport::Server};

use crate::{process::Process, wait::until};

/// The variable that holds the answer, for it has no place in a command line.
const ANSWER: &str = "ATTACHE_BENCH_ANSWER";

/// The argument by which the program becomes the floor.
pub const ARGUMENT: &str = "serve-empty";

/// Starts this program again as the floor, on `socket`.
pub async fn start(socket: &Path, answer: &CheckResponse, directory: &Path) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    let encoded = Base64::encode_string(&answer.encode_to_vec());
    command.arg(ARGUMENT).arg(socket).env(ANSWER, encoded);
    let process = Process::start("empty", &mut command, directory)?;
    until("the empty server", async || socket.exists().then_some(())).await?;
    Ok(process)
}

/// Serves on `socket` until the process is ended.
pub async fn serve(socket: &Path) -> Result<()> {
    let encoded = std::env::var(ANSWER).with_context(|| format!("{ANSWER} is not set"))?;
    let answer = CheckResponse::decode(Base64::decode_vec(&encoded)?.as_slice())?;
    let connections = UnixListenerStream::new(UnixListener::bind(socket)?);
    let service = AuthorizationServer::new(Empty(answer));
    let server = Server::builder().add_service(service);
    Ok(server.serve_with_incoming(connections).await?)
}

struct Empty(CheckResponse);

#[async_trait]
impl Authorization for Empty {
    async fn check(
        &self,
        _asked: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }
}
