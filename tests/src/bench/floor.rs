//! The floor of `Check`: a tonic server on the same service that decides nothing and gives one answer, as large
//! as Attaché's. A process of its own, so that its processor time can be told.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};
use base64ct::{Base64, Encoding as _};
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use prost::Message as _;
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, async_trait, transport::Server};

use crate::{cluster, forgery::RsaKey, process::Process, wait::until};

/// The variable that holds the answer, for it has no place in a command line.
const ANSWER: &str = "ATTACHE_BENCH_ANSWER";

/// The variable that holds what is done for each answer.
const WORK: &str = "ATTACHE_BENCH_WORK";

/// What the server does for each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Nothing,
    /// One RSA signature with 2048 bits, as a token has it.
    Signature,
}

impl Work {
    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Signature => "signature",
        }
    }
}

/// The argument by which the program becomes the floor.
pub const ARGUMENT: &str = "serve-empty";

/// Starts this program again as the floor, on `socket`.
pub async fn start(
    socket: &Path,
    answer: &CheckResponse,
    work: Work,
    directory: &Path,
) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    let encoded = Base64::encode_string(&answer.encode_to_vec());
    command.arg(ARGUMENT).arg(socket).env(ANSWER, encoded);
    command.env(WORK, work.name());
    let process = Process::start("empty", &mut command, directory)?;
    until("the empty server", async || socket.exists().then_some(())).await?;
    Ok(process)
}

/// Serves on `socket` until the process is asked to end (SIGTERM).
pub async fn serve(socket: &Path) -> Result<()> {
    let encoded = std::env::var(ANSWER).with_context(|| format!("{ANSWER} is not set"))?;
    let answer = CheckResponse::decode(Base64::decode_vec(&encoded)?.as_slice())?;
    let connections = UnixListenerStream::new(UnixListener::bind(socket)?);
    let signs = std::env::var(WORK).is_ok_and(|work| work == Work::Signature.name());
    let service = AuthorizationServer::new(Empty {
        answer,
        key: signs.then(|| RsaKey::generate("floor")).transpose()?,
    });
    let server = Server::builder().add_service(service);
    let mut asked_to_end = signal(SignalKind::terminate())?;
    tokio::select! {
        served = server.serve_with_incoming(connections) => Ok(served?),
        _ = asked_to_end.recv() => Ok(()),
    }
}

struct Empty {
    answer: CheckResponse,
    /// What signs for each answer, if anything.
    key: Option<RsaKey>,
}

#[async_trait]
impl Authorization for Empty {
    async fn check(
        &self,
        _asked: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        if let Some(key) = &self.key {
            let claims = cluster::pod_claims("https://issuer.example", "team-0", "app-0");
            let signed = key.sign(&claims);
            signed.map_err(|_unspecified| Status::internal("no signature was made"))?;
        }
        Ok(Response::new(self.answer.clone()))
    }
}
