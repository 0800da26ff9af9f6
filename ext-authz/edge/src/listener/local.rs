//! A connection over a unix socket. Its task is woken for what the peer sends, and for room to write only while there is
//! none. The kernel tells of room whenever the peer has read, and whoever asks for both, as tokio's own stream does, is
//! woken for each answer that was taken.

use std::{
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::{
        fd::{AsFd as _, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

pub(super) struct Local {
    stream: AsyncFd<UnixStream>,
    /// The same socket, while there is no room to write.
    full: Option<AsyncFd<OwnedFd>>,
}

impl Local {
    /// In the runtime in which this is called. The stream must not block.
    pub(super) fn of(stream: UnixStream) -> io::Result<Self> {
        Ok(Self {
            stream: registered(stream, Interest::READABLE)?,
            full: None,
        })
    }
}

/// In the runtime in which this is called.
#[expect(
    deprecated,
    reason = "what takes its place is unsafe, for types whose descriptor changes: those of `std` keep theirs"
)]
fn registered<T: Into<OwnedFd> + AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncRead for Local {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.stream.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            let wanted = room.len();
            let Ok(read) = ready.try_io(|stream| stream.get_ref().read(room)) else {
                continue;
            };
            let read = read?;
            if read < wanted {
                // There was no more. What comes now is told again.
                ready.clear_ready();
            }
            buffer.advance(read);
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for Local {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(full) = &self.full {
                ready!(full.poll_write_ready(context))?.clear_ready();
            }
            match self.stream.get_ref().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.full = None;
                    return Poll::Ready(written);
                }
            }
            if self.full.is_none() {
                let handle = self.stream.get_ref().as_fd().try_clone_to_owned()?;
                self.full = Some(registered(handle, Interest::WRITABLE)?);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests;
