//! Traces: what an access did, as spans of the trace that Envoy began. Only calls that come with a sampled W3C
//! trace context are traced; Attaché begins no trace of its own.
//!
//! INVARIANT: no call waits for a trace. What the queue has no room for is counted and lost.
//!
//! SECURITY: spans hold stable codes and names of the configuration and the policies; nothing that a caller sent
//! but the ids of its trace context, no evidence, no credential.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{clock, stages::Passed};

pub use self::export::{InvalidReceiver, Receiver};
pub(crate) use self::{parent::Parent, span::Told};

mod export;
mod parent;
mod span;

#[cfg(test)]
mod tests;

/// How many calls may wait to be sent.
const QUEUE: usize = 2048;

/// Where finished calls are handed over.
#[derive(Clone)]
pub struct Traces {
    queue: mpsc::Sender<Vec<Span>>,
    counters: Arc<Counters>,
}

/// What became of spans since the start.
#[derive(Default)]
struct Counters {
    exported: AtomicU64,
    lost: AtomicU64,
}

/// The state of the traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TracesStatus {
    /// Spans that the receiver took.
    pub exported: u64,
    /// Spans that nobody has: the queue was full, the receiver was away or refused them.
    pub lost: u64,
    /// Calls that wait to be sent.
    pub queued: usize,
}

impl Traces {
    /// Sends to `receiver` until `stop`, and then what waits, for a moment.
    pub fn start(
        receiver: Receiver,
        stop: CancellationToken,
    ) -> Result<(Self, JoinHandle<()>), InvalidReceiver> {
        let (queue, finished) = mpsc::channel(QUEUE);
        let counters = Arc::<Counters>::default();
        let exporter = receiver.exporter(Arc::clone(&counters))?;
        let task = tokio::spawn(exporter.run(finished, stop));
        Ok((Self { queue, counters }, task))
    }

    /// Takes an access that is over. `began` is when it arrived.
    pub(crate) fn record(
        &self,
        parent: &Parent,
        told: &Told<'_>,
        began: Instant,
        stages: &[Passed],
    ) {
        if !parent.is_sampled() {
            return;
        }
        let moments = Moments::ending_now(began);
        let spans = span::of_call(parent, told, &moments, stages);
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        match self.queue.try_send(spans) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => self.counters.lose(count),
        }
    }

    /// What became of spans.
    pub fn status(&self) -> TracesStatus {
        TracesStatus {
            exported: self.counters.exported.load(Ordering::Relaxed),
            lost: self.counters.lost.load(Ordering::Relaxed),
            queued: self
                .queue
                .max_capacity()
                .saturating_sub(self.queue.capacity()),
        }
    }
}

impl Counters {
    fn lose(&self, spans: u64) {
        self.lost.fetch_add(spans, Ordering::Relaxed);
    }
}

/// Moments of the monotonic clock on the wall clock: read once, so that spans of a call never disagree because
/// the clock was set meanwhile.
struct Moments {
    began: Instant,
    began_nanos: u64,
}

impl Moments {
    fn ending_now(began: Instant) -> Self {
        let elapsed = nanos(began.elapsed());
        let began_nanos = clock::unix_nanos().saturating_sub(elapsed);
        Self { began, began_nanos }
    }

    /// Nanoseconds since 1970.
    fn at(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.began);
        self.began_nanos.saturating_add(nanos(since))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
