//! Streams of the edge's state: at once, after each change, and every second. A reader that is slow misses states
//! and never the last one, for each is read when it can be sent.

use std::time::Duration;

use attache_proto::token::v1::WatchResponse;
use futures::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep_until},
};
use tokio_stream::Stream;
use tonic::Status;

use super::{PROTOCOL, State, service::TokensService};
use crate::clock;

/// Streams that are open at once.
pub const MAX_STREAMS: usize = 1024;

/// How long a reader hears nothing at most.
const HEARTBEAT: Duration = Duration::from_secs(1);

struct Reader {
    service: TokensService,
    state: watch::Receiver<State>,
    due: Instant,
    _place: OwnedSemaphorePermit,
}

impl TokensService {
    pub(super) fn watched(
        &self,
    ) -> Result<impl Stream<Item = Result<WatchResponse, Status>> + Send + use<>, Status> {
        let place = self.tokens.streams.clone().try_acquire_owned();
        let place = place.map_err(|_full| {
            let message = format!("{MAX_STREAMS} streams are open already; try again later");
            Status::resource_exhausted(message)
        })?;
        let reader = Reader {
            service: self.clone(),
            state: self.tokens.state.subscribe(),
            due: Instant::now(),
            _place: place,
        };
        Ok(stream::unfold(reader, Reader::next))
    }
}

impl Reader {
    /// Waits for a change or the next heartbeat; the stream ends with the edge.
    async fn next(mut self) -> Option<(Result<WatchResponse, Status>, Self)> {
        let stop = self.service.stop.clone();
        tokio::select! {
            () = stop.cancelled() => return None,
            changed = self.state.changed() => changed.ok()?,
            () = sleep_until(self.due) => {}
        }
        self.due = Instant::now() + HEARTBEAT;
        let told = self.told();
        Some((Ok(told), self))
    }

    fn told(&mut self) -> WatchResponse {
        let state = self.state.borrow_and_update().clone();
        // SECURITY: policy and revocations as they are now, not as they were looked at last.
        let revision = self.service.edge.revision();
        WatchResponse {
            protocol: PROTOCOL,
            revision: self.service.tokens.revision(revision),
            policy_revision: self.service.edge.live.compiled().revision().to_owned(),
            generation: revision.generation,
            bundles: state.bundles,
            at: clock::now().as_millis(),
        }
    }
}
