//! The edge's revision: one stream for each VM, which says it at once after each change and at least once a
//! second. Without it the answers that are kept still serve; they cannot be taken back then.

use core::time::Duration;

use attache_core::time::Timestamp;
use attache_proto::token::v1::{WatchRequest, WatchResponse};
use prost::Message as _;

use crate::{
    bundles::{PROTOCOL, TOKENS},
    host::{Buffer, Host, Method},
};

/// Silence after which the edge counts as unreachable.
const SILENCE: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);
const MAX_MESSAGE: usize = 64 * 1024;

/// The stream and what it said last.
#[derive(Default)]
pub(super) struct Watch {
    stream: Option<(u32, Timestamp)>,
    next_try_at: Option<Timestamp>,
    revision: Option<String>,
}

impl Watch {
    /// Opens the stream if it is not open, or if nothing was heard of it for long.
    pub(super) fn tick<H: Host>(&mut self, host: &H, cluster: &str, now: Timestamp) {
        if let Some((token, heard_at)) = self.stream {
            if now.since(heard_at) < SILENCE && now >= heard_at {
                return;
            }
            host.cancel(token);
            self.stream = None;
        }
        if self
            .next_try_at
            .is_some_and(|at| now < at && at.since(now) <= PAUSE)
        {
            return;
        }
        self.next_try_at = Some(now.plus(PAUSE));
        let request = WatchRequest { protocol: PROTOCOL };
        let method = Method {
            cluster,
            service: TOKENS,
            method: "Watch",
        };
        let opened = host.stream(method, &request.encode_to_vec());
        self.stream = opened.ok().map(|token| (token, now));
    }

    /// Whether the token is the stream's.
    pub(super) fn is(&self, token: u32) -> bool {
        self.stream.is_some_and(|(ours, _)| ours == token)
    }

    /// Takes a message; the answer is whether the revision changed.
    pub(super) fn on_message<H: Host>(&mut self, host: &H, now: Timestamp) -> bool {
        let bytes = host.bytes(Buffer::GrpcMessage, MAX_MESSAGE);
        let Ok(message) = WatchResponse::decode(bytes.as_slice()) else {
            return false;
        };
        if let Some((_, heard_at)) = &mut self.stream {
            *heard_at = now;
        }
        let changed = self.revision.as_ref() != Some(&message.revision);
        self.revision = Some(message.revision);
        changed
    }

    /// The stream ended.
    pub(super) fn on_close(&mut self) {
        self.stream = None;
    }

    /// The revision that was heard last.
    pub(super) fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }
}
