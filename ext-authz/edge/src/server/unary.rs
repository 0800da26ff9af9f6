//! A unary call of gRPC over HTTP/2: one message there, one message back. What `tonic` does for every kind of call, with
//! buffers and states for streams, done for the one call that nearly all are.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::poll_fn;
use hyper::{
    HeaderMap, Response,
    body::{Body, Frame, SizeHint},
    header::{CONTENT_TYPE, HeaderValue},
};
use tonic::Status;

#[cfg(test)]
mod tests;

/// A byte that says whether the message is compressed, and four with its length, before each message.
const PREFIX: usize = 5;

/// Most bytes of an answer in one frame. A longer one is written by a call of the system of its own; shorter ones are
/// written together, as many as there are.
const PIECE: usize = 1000;

/// The message of a call, of at most `most` bytes, once the whole call is there: a call that is answered before its end
/// came counts as broken off by the server, and a connection does not outlive many of those.
pub(super) async fn message<B>(mut body: B, most: usize) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut arrived = Arrived::default();
    let mut message = None;
    while !body.is_end_stream() {
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let Some(frame) = frame else { break };
        let frame =
            frame.map_err(|error| Status::cancelled(format!("the call broke off: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if message.is_none() {
            arrived.take(data);
            message = arrived.message(most)?;
        } else if !data.is_empty() {
            return Err(one_message());
        }
    }
    message.ok_or_else(|| Status::internal("the call ended before its message did"))
}

fn one_message() -> Status {
    Status::internal("the call has more than one message")
}

/// The bytes of a call that arrived. Nearly always they come in one piece, which is not copied.
#[derive(Default)]
struct Arrived {
    first: Bytes,
    more: BytesMut,
}

impl Arrived {
    fn take(&mut self, data: Bytes) {
        if self.first.is_empty() && self.more.is_empty() {
            self.first = data;
            return;
        }
        if self.more.is_empty() {
            self.more.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.more.extend_from_slice(&data);
    }

    /// `None` if some of it is still to come.
    fn message(&mut self, most: usize) -> Result<Option<Bytes>, Status> {
        let bytes = if self.more.is_empty() {
            &*self.first
        } else {
            &*self.more
        };
        let Some((&[compressed, a, b, c, d], rest)) = bytes.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        if compressed != 0 {
            return Err(Status::unimplemented(
                "the message is compressed; send it with grpc-encoding: identity",
            ));
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > most {
            return Err(Status::out_of_range(format!(
                "the message has {length} bytes, at most {most} are read"
            )));
        }
        if rest.len() < length {
            return Ok(None);
        }
        if rest.len() > length {
            return Err(one_message());
        }
        let mut whole = if self.more.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            self.more.split().freeze()
        };
        Ok(Some(whole.split_off(PREFIX)))
    }
}

/// The answer with `answered`, or the status of a call that gives none.
pub(super) fn answer(answered: Result<Framed, Status>) -> Response<Reply> {
    match answered {
        Ok(Framed(bytes)) => {
            let mut response = Response::new(Reply::Message(bytes));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(CONTENT_TYPE, grpc);
            response
        }
        Err(status) => status.into_http(),
    }
}

/// A message as it stands in a call, with its length before it.
// SECURITY: no `Debug`. It holds a token.
pub(crate) struct Framed(Bytes);

impl Framed {
    /// The message of `length` bytes that `write` appends.
    pub(crate) fn new(length: usize, write: impl FnOnce(&mut BytesMut)) -> Result<Self, Status> {
        let told = u32::try_from(length);
        let told = told.map_err(|_too_long| Status::internal("too long an answer"))?;
        let mut bytes = BytesMut::with_capacity(PREFIX + length);
        bytes.put_u8(0);
        bytes.put_u32(told);
        write(&mut bytes);
        // What is longer or shorter than it says would be read as the beginning of something else.
        if bytes.len() != PREFIX + length {
            return Err(Status::internal("the answer is not as long as it says"));
        }
        Ok(Self(bytes.freeze()))
    }

    /// Its bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a call is answered.
pub(super) enum Reply {
    /// One message, and then that all went well.
    Message(Bytes),
    /// That all went well.
    Trailers,
    /// Nothing more.
    Over,
    /// What another service says.
    Other(tonic::body::Body),
}

impl Default for Reply {
    /// Of a call whose headers say all.
    fn default() -> Self {
        Self::Over
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let (next, frame) = match &mut *self {
            Self::Message(bytes) if bytes.len() > PIECE => {
                let piece = bytes.split_to(PIECE);
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            Self::Message(bytes) => (Self::Trailers, Frame::data(std::mem::take(bytes))),
            Self::Trailers => (Self::Over, Frame::trailers(all_went_well())),
            Self::Over => return Poll::Ready(None),
            Self::Other(body) => return Pin::new(body).poll_frame(context),
        };
        *self = next;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(_) | Self::Trailers => false,
            Self::Over => true,
            Self::Other(body) => body.is_end_stream(),
        }
    }

    // No size of a message is told: it would become a `content-length`, which a call of gRPC does not have.
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Message(_) | Self::Trailers | Self::Over => SizeHint::default(),
            Self::Other(body) => body.size_hint(),
        }
    }
}

fn all_went_well() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    let ok = HeaderValue::from_static("0");
    trailers.insert(Status::GRPC_STATUS, ok);
    trailers
}
