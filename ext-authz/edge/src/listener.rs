//! Who may talk to the edge. An answer to `Check` holds a token, so a stranger gets no connection:
//! unix peers are named by the kernel, TCP peers by their certificate.

use std::{
    collections::VecDeque,
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    runtime::Handle,
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    journal::text::{MAX_FIELD_BYTES, printable},
    settings::{Bind, ListenerSettings},
    threads::Threads,
};

use self::{connection::Pipe, local::Local, renewal::Renewal, socket::bind_unix};

pub use self::connection::Connection;
pub(crate) use self::socket::bind_private;

mod connection;
mod local;
mod renewal;
mod socket;
mod tls;

#[cfg(test)]
mod tests;

/// Connections of known peers at a time; an Envoy needs one for each worker.
const MAX_CONNECTIONS: usize = 1024;

/// Connections of one listener at a time whose peer is not known yet.
const MAX_HANDSHAKES: usize = 256;

/// Open files of one listener at a time: a connection is one, another one for whoever must end it from outside, and a
/// third one while its peer does not read.
pub const MAX_OPEN_FILES: usize = 3 * (MAX_CONNECTIONS + MAX_HANDSHAKES);

/// How long a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Why a listener does not come up.
#[derive(Debug, Error)]
pub enum ListenerFailed {
    /// The address or path cannot be bound.
    #[error("listener `{listener}` cannot listen on {place}: {error}")]
    Bind {
        /// Which listener.
        listener: String,
        /// Where it should listen.
        place: String,
        /// Why it cannot.
        error: io::Error,
    },
    /// The TLS files are not usable.
    #[error("listener `{listener}`: {error}")]
    Tls {
        /// Which listener.
        listener: String,
        /// What is wrong with which file.
        error: tls::UnusableTls,
    },
}

/// A bound port that lets only known peers through.
pub struct Listener {
    port: Port,
    name: String,
}

enum Port {
    Unix {
        listener: UnixListener,
        allowed_uids: Vec<u32>,
        path: PathBuf,
    },
    Tls {
        listener: TcpListener,
        config: Arc<ArcSwap<ServerConfig>>,
        allowed: Arc<[String]>,
        /// Follows the files for as long as the port is there.
        _renewal: JoinSet<()>,
    },
    Plaintext(TcpListener),
}

impl Listener {
    /// Binds. A socket file that nobody listens on any more is replaced; one that is in use is not. Certificates
    /// are looked at whenever their files or `look` change.
    pub async fn bind(
        settings: &ListenerSettings,
        look: &watch::Receiver<()>,
    ) -> Result<Self, ListenerFailed> {
        let name = settings.name.clone();
        let failed = |place: String| {
            let listener = name.clone();
            move |error| ListenerFailed::Bind {
                listener,
                place,
                error,
            }
        };
        let port = match &settings.bind {
            Bind::Unix(unix) => {
                let listener = bind_unix(unix).map_err(failed(unix.path.display().to_string()))?;
                Port::Unix {
                    listener,
                    allowed_uids: unix.allowed_uids.clone(),
                    path: unix.path.clone(),
                }
            }
            Bind::Tls(tls) => {
                let renewal = Renewal::start(&name, tls).await;
                let renewal = renewal.map_err(|error| ListenerFailed::Tls {
                    listener: name.clone(),
                    error,
                })?;
                let listener = TcpListener::bind(tls.address).await;
                let mut following = JoinSet::new();
                let config = renewal.in_force();
                following.spawn(renewal.follow(look.clone()));
                Port::Tls {
                    listener: listener.map_err(failed(tls.address.to_string()))?,
                    config,
                    allowed: tls.allowed.clone().into(),
                    _renewal: following,
                }
            }
            Bind::Plaintext(address) => {
                warn!(listener = name, %address, "plaintext TCP: whoever reaches this port gets credentials");
                let listener = TcpListener::bind(address).await;
                Port::Plaintext(listener.map_err(failed(address.to_string()))?)
            }
        };
        Ok(Self { port, name })
    }

    /// Lets peers in until `stop`. What `serve` makes of the connection of a known one is done on one of `threads`,
    /// from the first byte on.
    pub(crate) async fn serve<S>(
        self,
        threads: &Threads,
        stop: &CancellationToken,
        serve: impl Fn(Connection) -> S + Clone + Send + Sync + 'static,
    ) where
        S: Future<Output = ()> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let strangers = Arc::new(Strangers::new(self.name.clone()));
        let mut handshakes = Handshakes::default();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.port.accept() => accepted,
            };
            let seated =
                accepted.and_then(|accepted| Ok((threads.seat(accepted.as_fd())?, accepted)));
            match seated {
                Ok((seat, accepted)) => {
                    let (slots, strangers) = (Arc::clone(&slots), Arc::clone(&strangers));
                    let (serve, runtime) = (serve.clone(), seat.runtime().clone());
                    let handshake = async move {
                        match accepted.admit(&slots).await {
                            // A task of its own: a handshake that is given up takes no known peer along.
                            Ok(connection) => {
                                let serving = serve(connection);
                                tokio::spawn(async move {
                                    serving.await;
                                    drop(seat);
                                });
                            }
                            Err(stranger) => strangers.turned_away(&stranger),
                        }
                    };
                    handshakes.begin(handshake, &runtime);
                }
                Err(error) => {
                    strangers.turned_away(&Stranger::NotAccepted(error));
                    // Out of file descriptors: the next attempt would fail as well.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Connections whose peer is not known yet.
#[derive(Default)]
struct Handshakes {
    running: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Handshakes {
    /// Begins one. SECURITY: where there are too many, the oldest is given up: strangers that connect and
    /// say nothing must not keep a known peer waiting.
    fn begin(&mut self, handshake: impl Future<Output = ()> + Send + 'static, on: &Handle) {
        while self.running.try_join_next().is_some() {}
        while self
            .oldest_first
            .front()
            .is_some_and(AbortHandle::is_finished)
        {
            self.oldest_first.pop_front();
        }
        if self.running.len() >= MAX_HANDSHAKES
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        let handshake = self.running.spawn_on(handshake, on);
        self.oldest_first.push_back(handshake);
    }
}

/// Tells of strangers, at most once a second: each connection of theirs is not worth a line.
struct Strangers {
    listener: String,
    told: Mutex<(Option<Instant>, u64)>,
}

impl Strangers {
    fn new(listener: String) -> Self {
        Self {
            listener,
            told: Mutex::default(),
        }
    }

    fn turned_away(&self, stranger: &Stranger) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, untold) = &mut *told;
        if last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            *untold = untold.saturating_add(1);
            return;
        }
        // SECURITY: names in a stranger's certificate are the stranger's text.
        let reason = printable(stranger.to_string().as_bytes(), MAX_FIELD_BYTES);
        warn!(
            listener = self.listener,
            untold, "a stranger was turned away: {reason}"
        );
        (*last, *untold) = (Some(Instant::now()), 0);
    }
}

impl Port {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix {
                listener,
                allowed_uids,
                ..
            } => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix {
                    peer: stream.peer_cred().map(|peer| peer.uid()),
                    stream: stream.into_std()?,
                    allowed_uids: allowed_uids.clone(),
                })
            }
            Self::Tls {
                listener,
                config,
                allowed,
                ..
            } => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Tls {
                    stream: stream.into_std()?,
                    acceptor: TlsAcceptor::from(config.load_full()),
                    allowed: Arc::clone(allowed),
                })
            }
            Self::Plaintext(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Plaintext(stream.into_std()?))
            }
        }
    }
}

/// However it ends, a start that fails at the next listener included.
impl Drop for Port {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // Already gone is as good.
            let _ = fs::remove_file(&*path);
            info!(path = %path.display(), "socket closed");
        }
    }
}

/// A connection whose peer is not known yet, and which no thread looks after yet.
enum Accepted {
    Unix {
        /// The peer's user id, as the kernel tells it.
        peer: io::Result<u32>,
        stream: std::os::unix::net::UnixStream,
        allowed_uids: Vec<u32>,
    },
    Tls {
        stream: std::net::TcpStream,
        acceptor: TlsAcceptor,
        allowed: Arc<[String]>,
    },
    Plaintext(std::net::TcpStream),
}

/// Why a peer was turned away.
#[derive(Debug, Error)]
enum Stranger {
    #[error("user id {0} is not in allowed_uids")]
    UserId(u32),
    #[error("its certificate carries none of the allowed names; it has: {}", .0.join(", "))]
    Name(Vec<String>),
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    #[error("{MAX_CONNECTIONS} connections of known peers are open already")]
    TooMany,
    #[error("no TLS handshake within {} s", HANDSHAKE_LIMIT.as_secs())]
    TooSlow,
    #[error("no connection can be accepted: {0}")]
    NotAccepted(io::Error),
    #[error("the kernel does not name the peer: {0}")]
    Unnamed(io::Error),
}

impl AsFd for Accepted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix { stream, .. } => stream.as_fd(),
            Self::Tls { stream, .. } | Self::Plaintext(stream) => stream.as_fd(),
        }
    }
}

impl Accepted {
    /// Makes the peer known, on the thread on which this is awaited.
    async fn admit(self, slots: &Arc<Semaphore>) -> Result<Connection, Stranger> {
        let stream = self.identify().await?;
        let slot = Arc::clone(slots)
            .try_acquire_owned()
            .map_err(|_full| Stranger::TooMany)?;
        Ok(Connection {
            stream,
            _slot: slot,
        })
    }

    async fn identify(self) -> Result<Pipe, Stranger> {
        match self {
            Self::Unix {
                peer,
                stream,
                allowed_uids,
            } => {
                let uid = peer.map_err(Stranger::Unnamed)?;
                if !allowed_uids.contains(&uid) {
                    return Err(Stranger::UserId(uid));
                }
                let stream = Local::of(stream).map_err(Stranger::NotAccepted)?;
                Ok(Pipe::unix(stream))
            }
            Self::Tls {
                stream,
                acceptor,
                allowed,
            } => {
                let stream = TcpStream::from_std(stream).map_err(Stranger::NotAccepted)?;
                // Small messages must not wait for each other.
                stream.set_nodelay(true).map_err(Stranger::Handshake)?;
                let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream));
                let stream = handshake
                    .await
                    .map_err(|_elapsed| Stranger::TooSlow)?
                    .map_err(Stranger::Handshake)?;
                let names = tls::peer_names(stream.get_ref().1);
                if !names.iter().any(|name| allowed.contains(name)) {
                    return Err(Stranger::Name(names));
                }
                Ok(Pipe::Tls(Box::new(stream)))
            }
            Self::Plaintext(stream) => {
                let stream = TcpStream::from_std(stream).map_err(Stranger::NotAccepted)?;
                stream.set_nodelay(true).map_err(Stranger::Handshake)?;
                Ok(Pipe::Plaintext(stream))
            }
        }
    }
}
