//! Floods of equal accesses that nobody was granted: the first ones of a window are recorded one by one,
//! the rest are counted and answered with the id of the last one recorded; so are all accesses of one
//! source beyond its total. No clock, no I/O; bounded memory.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use attache_core::{event::Event, time::Timestamp};
use compact_str::CompactString;

use self::likeness::{Alike, Ending, Likeness, Source, generalise};
use super::{counters::lock, family::Family};

pub use self::likeness::Target;

mod likeness;

/// No window is open.
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// When equal accesses become a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodRule {
    /// How many equal accesses of one window are recorded one by one; at least 1.
    pub recorded: u32,
    /// How many accesses of one source, equal or not, are recorded one by one in a window; at least 1.
    pub from_one_source: u32,
    /// How long a window lasts from its first access.
    pub window: Duration,
    /// How many windows may be open at once. Beyond that, callers that are not proven count as one source,
    /// and each access of a proven one is recorded.
    pub watched: usize,
}

impl Default for FloodRule {
    fn default() -> Self {
        Self {
            recorded: 20,
            from_one_source: 200,
            window: Duration::from_secs(10),
            watched: 4096,
        }
    }
}

/// What becomes of an event.
pub(super) enum Admission {
    /// It is recorded as it is.
    Individually(Box<Event>),
    /// It is counted; the event that stands for it in the journal.
    Coalesced(CompactString),
    /// The event that would stand for it is not yet written: write it, then ask again.
    AwaitCommit(Box<Event>),
}

/// The floods of the families that are coalesced. Permits always stand for themselves.
pub(super) struct Floodgates {
    passed: Mutex<Floods>,
    denied: Mutex<Floods>,
}

impl Floodgates {
    pub(super) fn new(rule: FloodRule) -> Self {
        Self {
            passed: Mutex::new(Floods::new(rule)),
            denied: Mutex::new(Floods::new(rule)),
        }
    }

    /// The floods of one family; `None` if it has none.
    pub(super) fn of(&self, family: Family) -> Option<MutexGuard<'_, Floods>> {
        match family {
            Family::Permitted => None,
            Family::Passed => Some(lock(&self.passed)),
            Family::Denied => Some(lock(&self.denied)),
        }
    }

    /// Each of them, one after the other.
    pub(super) fn iter(&self) -> impl Iterator<Item = MutexGuard<'_, Floods>> {
        Family::ALL.into_iter().filter_map(|family| self.of(family))
    }
}

/// The windows of one family that are open.
pub(super) struct Floods {
    rule: FloodRule,
    open: HashMap<Likeness, Flood>,
    /// Counts commits, so that an event is never answered with one whose write may still fail.
    commit: u64,
    /// No window ends earlier.
    next_end: Timestamp,
    last_seen: Timestamp,
    summaries: Vec<Event>,
    /// Nobody will write another summary.
    closed: bool,
}

struct Flood {
    ends_at: Timestamp,
    recorded: u32,
    last_recorded: CompactString,
    /// The commit in which `last_recorded` is written.
    commit: u64,
    repeats: u64,
    latest: Option<Box<Event>>,
}

impl Floods {
    pub(super) fn new(rule: FloodRule) -> Self {
        let rule = FloodRule {
            recorded: rule.recorded.max(1),
            from_one_source: rule.from_one_source.max(1),
            ..rule
        };
        Self {
            rule,
            open: HashMap::new(),
            commit: 0,
            next_end: NEVER,
            last_seen: Timestamp::from_millis(i64::MIN),
            summaries: Vec::new(),
            closed: false,
        }
    }

    /// Counts `event` if a flood of its like is under way, and gives the id of the event that stands
    /// for it; otherwise gives it back. What is counted here never waits behind a write.
    pub(super) fn count(
        &mut self,
        event: Box<Event>,
        target: Target,
        now: Timestamp,
    ) -> Result<CompactString, Box<Event>> {
        if self.open.is_empty() || self.closed {
            return Err(event);
        }
        self.end_windows(now);
        let likenesses = self.likenesses(&event, target);
        let commit = self.commit;
        match self.full(&likenesses) {
            Some(flood) if flood.commit != commit => Ok(flood.count(event)),
            _first_ones => Err(event),
        }
    }

    /// Decides what becomes of `event`.
    pub(super) fn admit(&mut self, event: Box<Event>, target: Target, now: Timestamp) -> Admission {
        if self.closed {
            return Admission::Individually(event);
        }
        self.end_windows(now);
        let likenesses = self.likenesses(&event, target);
        let commit = self.commit;
        match self.full(&likenesses) {
            Some(flood) if flood.commit == commit => Admission::AwaitCommit(event),
            Some(flood) => Admission::Coalesced(flood.count(event)),
            None => {
                for likeness in likenesses {
                    self.note(likeness, &event.event_id, now);
                }
                Admission::Individually(event)
            }
        }
    }

    /// What `event` is counted under, the narrowest first.
    fn likenesses(&self, event: &Event, target: Target) -> Vec<Likeness> {
        let (source, ending) = (Source::of(event), Ending::of(event));
        let is_proven = matches!(source, Source::Workload(_));
        let alike = Likeness::Alike(Box::new(Alike::of(event, target)));
        let mut likenesses = vec![alike, Likeness::Source(source, ending)];
        if self.open.len().saturating_add(likenesses.len()) > self.rule.watched {
            likenesses.retain(|likeness| self.open.contains_key(likeness));
            // A proven caller is never counted among strangers, who could hide it so.
            if !is_proven {
                likenesses.push(Likeness::Strangers(ending));
            }
        }
        likenesses
    }

    /// The first flood of which no more is recorded one by one.
    fn full(&mut self, likenesses: &[Likeness]) -> Option<&mut Flood> {
        let full = likenesses.iter().find(|likeness| {
            let flood = self.open.get(likeness);
            flood.is_some_and(|flood| flood.recorded >= self.rule.limit(likeness))
        })?;
        self.open.get_mut(full)
    }

    /// Notes an event that is recorded one by one.
    fn note(&mut self, likeness: Likeness, event_id: &str, now: Timestamp) {
        let flood = self.open.entry(likeness).or_insert_with(|| Flood {
            ends_at: now.plus(self.rule.window),
            recorded: 0,
            last_recorded: CompactString::default(),
            commit: self.commit,
            repeats: 0,
            latest: None,
        });
        flood.recorded = flood.recorded.saturating_add(1);
        flood.last_recorded = event_id.into();
        flood.commit = self.commit;
        self.next_end = self.next_end.min(flood.ends_at);
    }

    /// What was admitted since the last commit is written.
    pub(super) const fn committed(&mut self) {
        self.commit = self.commit.saturating_add(1);
    }

    /// What was admitted since the last commit could not be written: its windows begin anew.
    pub(super) fn not_committed(&mut self) {
        // INVARIANT: a flood that already counts repeats is full, so nothing more is recorded under it
        // and no count is dropped here.
        self.open.retain(|_, flood| flood.commit != self.commit);
        self.committed();
    }

    /// Ends the windows whose time is over; their summaries wait to be taken.
    pub(super) fn end_windows(&mut self, now: Timestamp) {
        // After the clock was set back, no window may last until it comes by again.
        if now.plus(self.rule.window) < self.last_seen {
            self.end_all();
        }
        self.last_seen = now;
        if now < self.next_end {
            return;
        }
        let over = self.open.extract_if(|_, flood| flood.ends_at <= now);
        self.summaries
            .extend(over.filter_map(|(_, flood)| flood.summary()));
        let ends = self.open.values().map(|flood| flood.ends_at);
        self.next_end = ends.min().unwrap_or(NEVER);
    }

    /// Ends every window now.
    pub(super) fn end_all(&mut self) {
        let over = self.open.drain();
        self.summaries
            .extend(over.filter_map(|(_, flood)| flood.summary()));
        self.next_end = NEVER;
    }

    /// From here on nothing is counted any more.
    pub(super) const fn close(&mut self) {
        self.closed = true;
    }

    /// The summaries of ended windows, each of which must now be written.
    pub(super) fn take_summaries(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.summaries)
    }

    /// Whether no window is open and no summary waits.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.summaries.is_empty()
    }
}

impl FloodRule {
    const fn limit(&self, likeness: &Likeness) -> u32 {
        match likeness {
            Likeness::Alike(_) => self.recorded,
            Likeness::Source(..) | Likeness::Strangers(_) => self.from_one_source,
        }
    }
}

impl Flood {
    fn count(&mut self, mut event: Box<Event>) -> CompactString {
        self.repeats = self.repeats.saturating_add(event.count);
        if let Some(earlier) = &self.latest {
            generalise(&mut event, earlier);
        }
        self.latest = Some(event);
        self.last_recorded.clone()
    }

    /// The latest of the events that were only counted, standing for all of them.
    fn summary(self) -> Option<Event> {
        let mut event = *self.latest?;
        event.count = self.repeats;
        event.repeats = Some(self.last_recorded);
        Some(event)
    }
}

#[cfg(test)]
mod tests;
