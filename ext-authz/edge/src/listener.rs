//! Who may talk to the edge. An answer to `Check` holds a token, so a stranger gets no connection:
//! unix peers are named by the kernel, TCP peers by their certificate.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::{info, warn};

use crate::settings::{Bind, ListenerSettings, UnixBind};

mod tls;

#[cfg(test)]
mod tests;

/// Connections of one listener at a time; an Envoy needs one for each worker.
const MAX_CONNECTIONS: usize = 1024;

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
        acceptor: TlsAcceptor,
        allowed: Arc<[String]>,
    },
    Plaintext(TcpListener),
}

impl Listener {
    /// Binds. A socket file that nobody listens on any more is replaced; one that is in use is not.
    pub async fn bind(settings: &ListenerSettings) -> Result<Self, ListenerFailed> {
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
                let config: ServerConfig =
                    tls::server_config(tls).map_err(|error| ListenerFailed::Tls {
                        listener: name.clone(),
                        error,
                    })?;
                let listener = TcpListener::bind(tls.address).await;
                Port::Tls {
                    listener: listener.map_err(failed(tls.address.to_string()))?,
                    acceptor: TlsAcceptor::from(Arc::new(config)),
                    allowed: tls.allowed.clone().into(),
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

    /// The connections of known peers, until `stop`.
    pub fn connections(
        self,
        stop: CancellationToken,
    ) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move { self.accept(sender, stop).await });
        ReceiverStream::new(receiver)
    }

    async fn accept(self, sender: mpsc::Sender<io::Result<Connection>>, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut handshakes = JoinSet::new();
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (self.port.accept().await, slot)
            };
            let (accepted, slot) = tokio::select! {
                () = stop.cancelled() => break,
                Some(_done) = handshakes.join_next() => continue,
                accepted = next => accepted,
            };
            let Ok(slot) = slot else { break };
            match accepted {
                Ok(accepted) => {
                    let (sender, name) = (sender.clone(), self.name.clone());
                    handshakes.spawn(async move {
                        match accepted.admit().await {
                            Ok(stream) => {
                                let connection = Connection { stream, _slot: slot };
                                // The server stopped listening: the connection closes.
                                let _ = sender.send(Ok(connection)).await;
                            }
                            Err(stranger) => {
                                warn!(listener = name, reason = %stranger, "a stranger was turned away");
                            }
                        }
                    });
                }
                Err(error) => {
                    warn!(listener = self.name, %error, "accept failed");
                    // Out of file descriptors: the next attempt would fail as well.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        self.port.remove();
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
                    stream,
                    allowed_uids: allowed_uids.clone(),
                })
            }
            Self::Tls {
                listener,
                acceptor,
                allowed,
            } => {
                let (stream, _) = listener.accept().await?;
                let (acceptor, allowed) = (acceptor.clone(), Arc::clone(allowed));
                Ok(Accepted::Tls {
                    stream,
                    acceptor,
                    allowed,
                })
            }
            Self::Plaintext(listener) => Ok(Accepted::Plaintext(listener.accept().await?.0)),
        }
    }

    fn remove(&self) {
        if let Self::Unix { path, .. } = self {
            // Already gone is as good.
            let _ = fs::remove_file(path);
            info!(path = %path.display(), "socket closed");
        }
    }
}

/// A connection whose peer is not known yet.
enum Accepted {
    Unix {
        stream: UnixStream,
        allowed_uids: Vec<u32>,
    },
    Tls {
        stream: TcpStream,
        acceptor: TlsAcceptor,
        allowed: Arc<[String]>,
    },
    Plaintext(TcpStream),
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
    #[error("no TLS handshake within {} s", HANDSHAKE_LIMIT.as_secs())]
    TooSlow,
    #[error("the kernel does not name the peer: {0}")]
    Unnamed(io::Error),
}

impl Accepted {
    async fn admit(self) -> Result<Pipe, Stranger> {
        match self {
            Self::Unix {
                stream,
                allowed_uids,
            } => {
                let uid = stream.peer_cred().map_err(Stranger::Unnamed)?.uid();
                if !allowed_uids.contains(&uid) {
                    return Err(Stranger::UserId(uid));
                }
                Ok(Pipe::Unix(stream))
            }
            Self::Tls {
                stream,
                acceptor,
                allowed,
            } => {
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
                stream.set_nodelay(true).map_err(Stranger::Handshake)?;
                Ok(Pipe::Plaintext(stream))
            }
        }
    }
}

fn bind_unix(unix: &UnixBind) -> io::Result<UnixListener> {
    let listener = bind_private(&unix.path)?;
    if let Some(group) = unix.group {
        chown(&unix.path, None, Some(group))?;
    }
    fs::set_permissions(&unix.path, fs::Permissions::from_mode(unix.mode))?;
    Ok(listener)
}

/// Binds a unix socket that only this user may reach, from its first moment on.
pub(crate) fn bind_private(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    // SECURITY: between bind and chmod the umask alone keeps strangers out.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

/// Removes a socket file on which nobody listens; anything else stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is no socket",
        )),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens there",
            )),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) => Err(error),
        },
    }
}

/// A connection whose peer is known.
pub struct Connection {
    stream: Pipe,
    _slot: tokio::sync::OwnedSemaphorePermit,
}

enum Pipe {
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    Plaintext(TcpStream),
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Pipe::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Pipe::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Pipe::Plaintext(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Pipe::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Pipe::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Pipe::Plaintext(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Pipe::Unix(stream) => Pin::new(stream).poll_flush(context),
            Pipe::Tls(stream) => Pin::new(stream).poll_flush(context),
            Pipe::Plaintext(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Pipe::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Pipe::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Pipe::Plaintext(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
