//! Bundles from a SPIFFE Workload API (SPIFFE Workload API §5.2.2, §6.2.2): a stream on a unix socket, kept
//! open; each message is the full state. When it breaks off it is opened again, ever more slowly and never
//! in step with others.

use std::{collections::HashMap, io, os::fd::AsRawFd as _, path::Path, sync::Arc, time::Duration};

use attache_core::{
    attestation::ProviderKind,
    jwks::{InvalidKeySet, KeySet},
    spiffe_id::TrustDomain,
};
use attache_proto::spiffe::{
    JwtBundlesRequest, X509BundlesRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{
    net::UnixStream,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout_at},
};
use tonic::{
    Request, Status, Streaming,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::{
    attest::Clock,
    confined,
    keyring::{self, Keyring},
    pace,
    source::Fetched,
    x509::{Authorities, InvalidConcatenation},
};

/// From connecting to the first message.
const FIRST_MESSAGE: Duration = Duration::from_secs(5);
/// A dead agent is noticed after both: no data for the one, no answer to a ping for the other.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How often an open stream says that what it sent last still holds.
const CONFIRM_EVERY: Duration = Duration::from_mins(1);

/// Why a Workload API gives no bundle.
#[derive(Debug, Error)]
pub(crate) enum StreamFailed {
    #[error("cannot open the socket of the Workload API: {0}")]
    Socket(io::Error),
    #[error(
        "the Workload API sends no bundle within {} seconds; is that socket an agent's?",
        FIRST_MESSAGE.as_secs()
    )]
    Silent,
    #[error("cannot connect to the Workload API: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the Workload API answers {code}: {message}")]
    Refused { code: tonic::Code, message: String },
    #[error("the Workload API ended the stream")]
    Ended,
    #[error("the Workload API has no bundle of the trust domain `{0}`; nothing of it is trusted")]
    Withdrawn(String),
    #[error("the Workload API sends a JWT bundle that is refused: {0}")]
    JwtBundle(#[from] InvalidKeySet),
    #[error("the Workload API sends an X.509 bundle that is refused: {0}")]
    X509Bundle(#[from] InvalidConcatenation),
}

impl From<Status> for StreamFailed {
    fn from(status: Status) -> Self {
        // The server's words; a log shows them on one line.
        let message = status.message().escape_debug().take(200).collect();
        Self::Refused {
            code: status.code(),
            message,
        }
    }
}

/// Keeps `ring` as the Workload API at `socket` says, until the task is dropped.
pub(crate) async fn follow(ring: Arc<Keyring>, socket: Arc<Path>, clock: Clock) {
    let mut failures = 0_u32;
    loop {
        let failed = follow_once(&ring, &socket, &clock, &mut failures).await;
        failures = failures.saturating_add(1);
        ring.failed(failed.into());
        let pause = pace::jittered(pace::retry_after(failures), keyring::random_byte());
        sleep(pause).await;
    }
}

async fn follow_once(
    ring: &Keyring,
    socket: &Arc<Path>,
    clock: &Clock,
    failures: &mut u32,
) -> StreamFailed {
    let followed = if ring.config().kind == ProviderKind::SpiffeX509 {
        follow_x509(ring, socket, clock, failures).await
    } else {
        follow_jwt(ring, socket, clock, failures).await
    };
    followed.unwrap_or_else(|failed| failed)
}

async fn follow_jwt(
    ring: &Keyring,
    socket: &Arc<Path>,
    clock: &Clock,
    failures: &mut u32,
) -> Result<StreamFailed, StreamFailed> {
    let until = Instant::now() + FIRST_MESSAGE;
    let opening = async {
        let mut client = connect(ring, socket).await?;
        let request = secured(JwtBundlesRequest {});
        Ok::<_, StreamFailed>(client.fetch_jwt_bundles(request).await?.into_inner())
    };
    let opened = timeout_at(until, opening).await;
    let mut stream = opened.map_err(|_elapsed| StreamFailed::Silent)??;
    let mut latest = Latest::Awaited(until);
    loop {
        let Some(message) = next(&mut stream, &latest, ring, clock).await? else {
            return Ok(StreamFailed::Ended);
        };
        *failures = 0;
        let read = |bytes: &[u8]| {
            Ok(Fetched::of(
                KeySet::parse_workload_api(bytes)?,
                Duration::MAX,
            ))
        };
        latest = take(ring, clock, &message.bundles, read);
    }
}

async fn follow_x509(
    ring: &Keyring,
    socket: &Arc<Path>,
    clock: &Clock,
    failures: &mut u32,
) -> Result<StreamFailed, StreamFailed> {
    let until = Instant::now() + FIRST_MESSAGE;
    let opening = async {
        let mut client = connect(ring, socket).await?;
        let request = secured(X509BundlesRequest {});
        Ok::<_, StreamFailed>(client.fetch_x509_bundles(request).await?.into_inner())
    };
    let opened = timeout_at(until, opening).await;
    let mut stream = opened.map_err(|_elapsed| StreamFailed::Silent)??;
    let mut latest = Latest::Awaited(until);
    loop {
        let Some(message) = next(&mut stream, &latest, ring, clock).await? else {
            return Ok(StreamFailed::Ended);
        };
        *failures = 0;
        let domain = &ring.config().trust_domain;
        let read = |bytes: &[u8]| {
            let authorities = Authorities::concatenated(domain.clone(), bytes)?;
            Ok(trusting(authorities))
        };
        latest = take(ring, clock, &message.bundles, read);
    }
}

/// What the last message of a stream came to.
enum Latest {
    /// There is none yet, and it must come until then.
    Awaited(Instant),
    Taken,
    Refused,
}

/// Takes the bundle of the provider's own trust domain out of the full state, and no other.
fn take(
    ring: &Keyring,
    clock: &Clock,
    bundles: &HashMap<String, Vec<u8>>,
    read: impl Fn(&[u8]) -> Result<Fetched, StreamFailed>,
) -> Latest {
    let domain = &ring.config().trust_domain;
    let Some(bytes) = bundle_of(domain, bundles) else {
        // What a message leaves out is withdrawn, so nothing it proved may be believed any more.
        let none = Authorities::new(domain.clone(), []);
        ring.pushed(trusting(none), clock());
        ring.failed(StreamFailed::Withdrawn(domain.as_str().to_owned()).into());
        return Latest::Taken;
    };
    match read(bytes) {
        Ok(fetched) => match ring.pushed(fetched, clock()) {
            true => Latest::Taken,
            false => Latest::Refused,
        },
        // The last good one stays until its age limit; the stream goes on.
        Err(failed) => {
            ring.failed(failed.into());
            Latest::Refused
        }
    }
}

fn trusting(authorities: Authorities) -> Fetched {
    Fetched {
        keys: KeySet::default(),
        authorities: Some(authorities),
        sequence: None,
        refresh_after: Duration::MAX,
    }
}

/// Bundles go by the SPIFFE ID of their trust domain; some agents write it with a slash at its end.
fn bundle_of<'b>(domain: &TrustDomain, bundles: &'b HashMap<String, Vec<u8>>) -> Option<&'b [u8]> {
    let id = format!("spiffe://{}", domain.as_str());
    let found = bundles.get(&id).or_else(|| bundles.get(&format!("{id}/")));
    found.map(Vec::as_slice)
}

/// The next message. While there is none, the last one holds if it was taken: the connection answers its pings.
///
/// SECURITY: a message that was refused may be the one that withdraws a key, so nothing confirms what was held
/// before it; nor does a stream that has said nothing.
async fn next<M>(
    stream: &mut Streaming<M>,
    latest: &Latest,
    ring: &Keyring,
    clock: &Clock,
) -> Result<Option<M>, StreamFailed> {
    match latest {
        Latest::Awaited(until) => {
            let first = timeout_at(*until, stream.message()).await;
            return Ok(first.map_err(|_elapsed| StreamFailed::Silent)??);
        }
        Latest::Refused => return Ok(stream.message().await?),
        Latest::Taken => {}
    }
    let mut confirm = interval(CONFIRM_EVERY);
    confirm.set_missed_tick_behavior(MissedTickBehavior::Delay);
    confirm.tick().await;
    loop {
        tokio::select! {
            message = stream.message() => return Ok(message?),
            _tick = confirm.tick() => ring.confirm(clock()),
        }
    }
}

async fn connect(
    ring: &Keyring,
    socket: &Arc<Path>,
) -> Result<SpiffeWorkloadApiClient<Channel>, StreamFailed> {
    let (named, roots) = (Arc::clone(socket), ring.config().file_roots.clone());
    let opening = spawn_blocking(move || confined::socket(&named, roots.as_deref()));
    let opened = opening.await.map_err(io::Error::other).flatten();
    let opened = Arc::new(opened.map_err(StreamFailed::Socket)?);
    // The name is never resolved: the connector dials the socket.
    let endpoint = Endpoint::from_static("http://workload-api.invalid")
        .http2_keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    let connector = service_fn(move |_uri| {
        let opened = Arc::clone(&opened);
        async move {
            // SECURITY: the very socket that was checked, whatever its name leads to by now (proc(5)).
            let checked = format!("/proc/self/fd/{}", opened.as_raw_fd());
            UnixStream::connect(checked).await.map(TokioIo::new)
        }
    });
    let channel = endpoint.connect_with_connector(connector).await?;
    Ok(SpiffeWorkloadApiClient::new(channel))
}

/// SPIFFE Workload Endpoint §4.1: the header shows that no browser was tricked into the call.
fn secured<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}
