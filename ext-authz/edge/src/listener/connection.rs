//! A connection whose peer is known, whichever kind it is.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::local::Local;
use crate::threads;

/// As much as is read at once from a unix socket: half a dozen questions.
const READ_BYTES: usize = 16 * 1024;

/// A connection whose peer is known.
pub struct Connection {
    pub(super) stream: Pipe,
    pub(super) _slot: tokio::sync::OwnedSemaphorePermit,
}

pub(super) enum Pipe {
    Unix(BufReader<Local>),
    Tls(Box<TlsStream<TcpStream>>),
    Plaintext(TcpStream),
}

impl Pipe {
    /// Over a unix socket.
    pub(super) fn unix(stream: Local) -> Self {
        Self::Unix(BufReader::with_capacity(READ_BYTES, stream))
    }
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
        if threads::is_retired() {
            // What came before its end is not answered any more.
            return Poll::Ready(Ok(()));
        }
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
