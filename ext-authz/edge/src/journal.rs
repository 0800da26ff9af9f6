//! The audit journal: one event a line, handed to the operating system before the access it tells of
//! is answered. An access whose event cannot be recorded gets no credential.
//!
//! Segments are appended by one thread at a time (`pen`, `writer`), repaired after a kill (`segment`), rotated and
//! deleted by budget (`store`). What was granted, what passed without a grant and what was denied have
//! budgets of their own (`family`), and of the latter two equal ones are coalesced (`flood`), so that no
//! flood pushes out the evidence. `query` reads them.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use attache_core::{event::Event, time::Timestamp};
use compact_str::CompactString;
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use self::{
    counters::Counters,
    desk::{Bells, Desks, Waiting},
    family::PerFamily,
    flood::{Admission, Floodgates},
    pen::Pen,
    promised::{Given, Promises},
    queued::Queued,
    store::Store,
    writer::{Closing, Message, Writer},
};
use crate::clock;

pub use self::{
    failure::{AuditUnavailable, JournalNotOpened},
    family::Family,
    flood::{FloodRule, Target},
    query::{Events, JournalUnreadable, Query},
    reported::reported,
    store::Retention,
};

pub mod text;

mod counters;
mod desk;
mod failure;
mod family;
mod flood;
mod follow;
mod line;
mod lines;
mod lock;
mod pen;
mod promised;
mod query;
mod queued;
mod reported;
mod segment;
mod store;
mod writer;

/// Reads the wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Bytes of most lines.
const USUAL_LINE: usize = 1536;

/// How a journal is kept.
#[derive(Clone)]
pub struct JournalConfig {
    /// The directory; made if it is missing, with mode 0700.
    pub dir: PathBuf,
    /// When [`Journal::record`] returns.
    pub durability: Durability,
    /// How many events may wait to be written.
    pub queue: usize,
    /// When segments begin and end.
    pub retention: Retention,
    /// When equal accesses that nobody was granted are coalesced.
    pub flood: FloodRule,
    /// How long [`Journal::close`] waits for a disk that does not answer.
    pub close_within: Duration,
    /// The wall clock.
    pub clock: Clock,
}

impl JournalConfig {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            durability: Durability::BeforeAnswer,
            queue: 4096,
            retention: Retention::default(),
            flood: FloodRule::default(),
            close_within: Duration::from_secs(5),
            clock: Arc::new(clock::now),
        }
    }
}

/// When an event counts as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the operating system has it: a killed process loses none.
    BeforeAnswer,
    /// When it is queued: a killed process loses what [`JournalStatus::queued`] counts.
    Background,
}

/// An event that is in the journal, or promised to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The id under which the access is found: its own, or that of the event that stands for it.
    pub event_id: CompactString,
    /// Whether the access was only counted, as one of a flood.
    pub coalesced: bool,
}

/// The state of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalStatus {
    /// Events written since the start, summaries included.
    pub written: u64,
    /// Accesses that were counted instead of written one by one.
    pub coalesced: u64,
    /// Accesses that were refused because their event could not be recorded, or not in the time that their
    /// caller gave it.
    pub refused: u64,
    /// Events that wait; in [`Durability::Background`], what a kill would lose now.
    pub queued: usize,
    /// Events that were accepted and could not be written in the end.
    pub lost: u64,
    /// Torn last lines that were cut away, since the start.
    pub repaired: u64,
    /// Why the journal cannot be written now; `None` while it works.
    pub failing: Option<String>,
    /// Why a write failed last, since the start.
    pub last_error: Option<String>,
    /// How many segments there are.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// An open journal: the only writer of its directory.
pub struct Journal {
    inbox: Sender<Message>,
    desks: Desks,
    places: Arc<Semaphore>,
    queue: usize,
    durability: Durability,
    close_within: Duration,
    floods: Arc<Floodgates>,
    promises: Arc<Promises>,
    counters: Arc<Counters>,
    clock: Clock,
}

impl Journal {
    /// Locks the directory, repairs what a kill left there and starts the writing thread.
    pub fn open(config: JournalConfig) -> Result<Self, JournalNotOpened> {
        let JournalConfig {
            dir,
            durability,
            queue,
            retention,
            flood,
            close_within,
            clock,
        } = config;
        let now = clock();
        let (store, full) = Store::open(&dir, retention, now)?;
        let counters = Arc::new(Counters::default());
        if let Some(full) = full {
            counters.failed(&full);
        }
        let floods = Arc::new(Floodgates::new(flood));
        let promises = Arc::new(Promises::new(Arc::clone(&counters)));
        let writer = Writer {
            store,
            clock: Arc::clone(&clock),
            floods: Arc::clone(&floods),
            counters: Arc::clone(&counters),
            pending: PerFamily::default(),
            promises: Arc::clone(&promises),
            bells: Bells::default(),
            tidied_at: now,
            hurries: false,
        };
        writer.publish();
        let pen = Arc::new(Pen::of(writer));
        let thread = Arc::clone(&pen);
        let (inbox, messages) = mpsc::channel();
        thread::Builder::new()
            .name("audit-journal".to_owned())
            .spawn(move || {
                let closing = thread.work(&messages);
                // Whoever hears of the end can rely on it: nothing is accepted any more.
                drop(messages);
                closing.into_iter().for_each(Closing::tell);
            })
            .map_err(JournalNotOpened::Thread)?;
        // The queue is bounded by places, not by the channel, so that waiting for one does not block.
        let queue = queue.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(queue));
        Ok(Self {
            inbox,
            desks: Desks::before(pen),
            places,
            queue,
            durability,
            close_within,
            floods,
            promises,
            counters,
            clock,
        })
    }

    /// Records one access whose host only its client names, unless a policy matched. See
    /// [`Journal::record_to`].
    pub fn record(
        &self,
        event: impl Into<Box<Event>>,
    ) -> impl Future<Output = Result<Recorded, AuditUnavailable>> {
        self.record_to(event.into(), Target::Claimed)
    }

    /// Records one access. Returns when the operating system has its event, or, in the background
    /// mode, when its event is queued.
    ///
    /// Once it was called, the event may be in the journal even if the future is dropped. A permit whose
    /// future was dropped before it was written is then recorded as an access that was not answered.
    pub async fn record_to(
        &self,
        mut event: Box<Event>,
        target: Target,
    ) -> Result<Recorded, AuditUnavailable> {
        let refusal = Refusal(Some(&self.counters));
        text::make_printable(&mut event);
        let recorded = match self.durability {
            Durability::BeforeAnswer => self.record_now(event, target).await,
            Durability::Background => self.record_later(event, target),
        }?;
        refusal.retract();
        Ok(recorded)
    }

    /// Writes everything that was recorded so far, and the counts of floods that are not over.
    pub async fn flush(&self) -> Result<(), AuditUnavailable> {
        self.ask(Message::Flush).await
    }

    /// Flushes, waits for the storage device, and ends. Later events are refused. Takes no longer than
    /// [`JournalConfig::close_within`]; a process may end then, whatever its disk does.
    pub async fn close(&self) -> Result<(), AuditUnavailable> {
        let closed = timeout(self.close_within, self.ask(Message::Close)).await;
        closed.unwrap_or_else(|_elapsed| {
            Err(AuditUnavailable::NotClosed {
                waited: self.close_within,
                queued: self.status().queued,
            })
        })
    }

    /// The state of the journal.
    pub fn status(&self) -> JournalStatus {
        let counters = &self.counters;
        JournalStatus {
            written: counters.written.load(Ordering::Relaxed),
            coalesced: counters.coalesced.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            queued: self.queue.saturating_sub(self.places.available_permits()),
            lost: counters.lost.load(Ordering::Relaxed),
            repaired: counters.repaired.load(Ordering::Relaxed),
            failing: counters.failing(),
            last_error: counters.last_error(),
            segments: counters.segments.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
        }
    }

    async fn record_now(
        &self,
        event: Box<Event>,
        target: Target,
    ) -> Result<Recorded, AuditUnavailable> {
        let event = match self.count(event, target) {
            Ok(event_id) => return Ok(self.coalesced(event_id)),
            Err(event) => event,
        };
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_closed| AuditUnavailable::Closed)?;
        let desk = self.desks.here(&self.inbox);
        let desk = desk.ok_or(AuditUnavailable::Closed)?;
        let (caller, answer) = oneshot::channel();
        desk.hand_in(Queued {
            event,
            target,
            caller: Waiting::at(Arc::clone(&desk), caller),
            place,
        });
        answer.await.unwrap_or(Err(AuditUnavailable::Closed))
    }

    fn count(&self, event: Box<Event>, target: Target) -> Result<CompactString, Box<Event>> {
        match self.floods.of(Family::of(&event)) {
            Some(mut floods) => floods.count(event, target, (self.clock)()),
            None => Err(event),
        }
    }

    fn record_later(
        &self,
        event: Box<Event>,
        target: Target,
    ) -> Result<Recorded, AuditUnavailable> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_full| AuditUnavailable::QueueFull(self.queue))?;
        let family = Family::of(&event);
        let admission = match self.floods.of(family) {
            Some(mut floods) => {
                let admission = floods.admit(event, target, (self.clock)());
                // Accepted events are kept until they are written, so that others may refer to them at once.
                floods.committed();
                admission
            }
            None => Admission::Individually(event),
        };
        let event = match admission {
            Admission::Individually(event) | Admission::AwaitCommit(event) => event,
            Admission::Coalesced(event_id) => return Ok(self.coalesced(event_id)),
        };
        let mut line = Vec::with_capacity(USUAL_LINE);
        line::write(&mut line, &event)
            .map_err(|error| AuditUnavailable::NotWritten(self.counters.failed(&error)))?;
        match self.promises.give(family, line, place) {
            // A thread that just ended took what was promised along.
            Some(Given::Tell) => drop(self.send(Message::Promised)),
            Some(Given::Nothing) => {}
            None => return Err(AuditUnavailable::Closed),
        }
        Ok(Recorded {
            event_id: event.event_id,
            coalesced: false,
        })
    }

    fn coalesced(&self, event_id: CompactString) -> Recorded {
        self.counters.coalesced.fetch_add(1, Ordering::Relaxed);
        Recorded {
            event_id,
            coalesced: true,
        }
    }

    async fn ask(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<(), AuditUnavailable>>) -> Message,
    ) -> Result<(), AuditUnavailable> {
        let (caller, answer) = oneshot::channel();
        self.send(question(caller))?;
        answer.await.unwrap_or(Err(AuditUnavailable::Closed))
    }

    fn send(&self, message: Message) -> Result<(), AuditUnavailable> {
        let sent = self.inbox.send(message);
        sent.map_err(|_closed| AuditUnavailable::Closed)
    }
}

/// Counts an access as refused when it is dropped, also with the future of a caller that went away.
struct Refusal<'a>(Option<&'a Counters>);

impl Refusal<'_> {
    fn retract(mut self) {
        self.0 = None;
    }
}

impl Drop for Refusal<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            counters.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
