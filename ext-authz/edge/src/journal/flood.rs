//! Floods of equal denials: the first ones of a window are recorded one by one, the rest are counted
//! and answered with the id of the last one recorded. No clock, no I/O; bounded memory.

use std::{collections::HashMap, time::Duration};

use attache_core::{
    event::{Event, Mode, Outcome},
    time::Timestamp,
};

/// No window is open.
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// When equal denials become a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodRule {
    /// How many equal denials of one window are recorded one by one; at least 1.
    pub recorded: u32,
    /// How long a window lasts from its first denial.
    pub window: Duration,
    /// How many different denials are watched at once. Beyond that, each denial is recorded.
    pub watched: usize,
}

impl Default for FloodRule {
    fn default() -> Self {
        Self {
            recorded: 20,
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
    Coalesced(String),
    /// The event that would stand for it is not yet written: write it, then ask again.
    AwaitCommit(Box<Event>),
}

/// The windows that are open.
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

/// What makes two denials equal.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    outcome: Outcome,
    mode: Mode,
    code: Option<String>,
    caller: String,
    target: String,
    method: String,
    policy: Option<String>,
}

struct Flood {
    ends_at: Timestamp,
    recorded: u32,
    last_recorded: String,
    /// The commit in which `last_recorded` is written.
    commit: u64,
    repeats: u64,
    latest: Option<Box<Event>>,
}

impl Floods {
    pub(super) fn new(rule: FloodRule) -> Self {
        let rule = FloodRule {
            recorded: rule.recorded.max(1),
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
        now: Timestamp,
    ) -> Result<String, Box<Event>> {
        if event.outcome == Outcome::Permitted || self.open.is_empty() || self.closed {
            return Err(event);
        }
        self.end_windows(now);
        match self.open.get_mut(&Likeness::of(&event)) {
            Some(flood) if flood.recorded >= self.rule.recorded && flood.commit != self.commit => {
                Ok(flood.count(event))
            }
            _first_ones => Err(event),
        }
    }

    /// Decides what becomes of `event`. Permits always stand for themselves.
    pub(super) fn admit(&mut self, event: Box<Event>, now: Timestamp) -> Admission {
        if event.outcome == Outcome::Permitted || self.closed {
            return Admission::Individually(event);
        }
        self.end_windows(now);
        let likeness = Likeness::of(&event);
        if let Some(flood) = self.open.get_mut(&likeness) {
            return flood.admit(event, self.rule, self.commit);
        }
        if self.open.len() < self.rule.watched {
            let flood = Flood {
                ends_at: now.plus(self.rule.window),
                recorded: 1,
                last_recorded: event.event_id.clone(),
                commit: self.commit,
                repeats: 0,
                latest: None,
            };
            self.next_end = self.next_end.min(flood.ends_at);
            self.open.insert(likeness, flood);
        }
        Admission::Individually(event)
    }

    /// What was admitted since the last commit is written.
    pub(super) const fn committed(&mut self) {
        self.commit = self.commit.saturating_add(1);
    }

    /// What was admitted since the last commit could not be written: its windows begin anew.
    pub(super) fn not_committed(&mut self) {
        // INVARIANT: a window that already counts repeats admits nothing more one by one, so no
        // count is dropped here.
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

impl Likeness {
    fn of(event: &Event) -> Self {
        let caller = event.workload_svid.as_deref().or_else(|| {
            event
                .source_address
                .as_deref()
                .map(|address| match address.rsplit_once(':') {
                    Some((host, _port)) => host,
                    None => address,
                })
        });
        Self {
            outcome: event.outcome,
            mode: event.mode,
            code: event.code.clone(),
            caller: caller.unwrap_or_default().to_owned(),
            target: event.target_service.clone(),
            method: event.request_method.clone(),
            policy: event.policy.clone(),
        }
    }
}

impl Flood {
    fn admit(&mut self, event: Box<Event>, rule: FloodRule, commit: u64) -> Admission {
        if self.recorded < rule.recorded {
            self.recorded = self.recorded.saturating_add(1);
            self.last_recorded.clone_from(&event.event_id);
            self.commit = commit;
            return Admission::Individually(event);
        }
        if self.commit == commit {
            return Admission::AwaitCommit(event);
        }
        Admission::Coalesced(self.count(event))
    }

    fn count(&mut self, event: Box<Event>) -> String {
        self.repeats = self.repeats.saturating_add(event.count);
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
