//! Questions to the journal: all families, oldest first, read line by line. Needs no lock and no
//! running writer.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use attache_core::{
    event::{Event, Outcome},
    time::Timestamp,
};
use thiserror::Error;

use super::{family::Family, follow::Watch, lines::Lines, segment::SegmentName, text};

/// An event is written this long after the time it bears, at the latest.
const SLACK: Duration = Duration::from_secs(5 * 60);

/// Which events are wanted: those for which every given field holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// The SPIFFE ID, its last segments (`payment-svc`), or the client's name in `policy_matched`.
    pub workload: Option<String>,
    /// The host, or the server's name in `policy_matched`.
    pub target: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The code of the denial or fault.
    pub code: Option<String>,
    /// The event of this id, and those that refer to it: summaries of its flood, accesses that got its answer.
    pub event_id: Option<String>,
    /// Only the newest ones.
    pub limit: Option<usize>,
}

/// The journal cannot be read.
#[derive(Debug, Error)]
#[error("the audit journal in {dir} cannot be read: {cause}")]
pub struct JournalUnreadable {
    dir: PathBuf,
    cause: io::Error,
}

impl Query {
    /// Whether `event` is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        let wanted = |asked: &Option<String>, holds: &dyn Fn(&str) -> bool| {
            asked.as_deref().is_none_or(holds)
        };
        let matched = event.policy_matched.as_deref().unwrap_or_default();
        let named = |position: usize, name: &str| matched.split(':').nth(position) == Some(name);
        self.since.is_none_or(|since| event.timestamp >= since)
            && self.until.is_none_or(|until| event.timestamp <= until)
            && self.outcome.is_none_or(|outcome| event.outcome == outcome)
            && wanted(&self.code, &|code| event.code.as_deref() == Some(code))
            && wanted(&self.event_id, &|id| {
                [&event.repeats, &event.lease]
                    .into_iter()
                    .any(|of| of.as_deref() == Some(id))
                    || event.event_id == id
            })
            && wanted(&self.workload, &|workload| {
                named(1, workload)
                    || event
                        .workload_svid
                        .as_deref()
                        .is_some_and(|svid| ends_in(svid, workload))
            })
            && wanted(&self.target, &|target| {
                named(2, target) || event.target_service.eq_ignore_ascii_case(target)
            })
    }

    /// The events that are there now, oldest first; [`Events::resume`] finds later ones.
    pub fn events(&self, dir: &Path) -> Result<Events, JournalUnreadable> {
        let unreadable = |cause| JournalUnreadable {
            dir: dir.to_owned(),
            cause,
        };
        // Before the first look, so that nothing falls between the two.
        let watch = Watch::begin(dir);
        let trails = Family::ALL.map(|family| Trail::begin(dir, family, self));
        let trails: Result<Vec<_>, _> = trails.into_iter().collect();
        let trails = trails.map_err(unreadable)?;
        let (query, newest) = (self.clone(), VecDeque::new());
        let mut events = Events {
            dir: dir.to_owned(),
            query,
            trails,
            newest,
            watch,
        };
        if let Some(limit) = self.limit {
            let mut newest = VecDeque::new();
            while let Some(event) = events.next_event().map_err(unreadable)? {
                newest.push_back(event);
                if newest.len() > limit {
                    newest.pop_front();
                }
            }
            events.newest = newest;
        }
        Ok(events)
    }
}

/// `spiffe://cluster.local/ns/production/sa/payment-svc` ends in `sa/payment-svc`, not in `svc`.
fn ends_in(svid: &str, segments: &str) -> bool {
    let before = svid.strip_suffix(segments);
    before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// The answer to a [`Query`], read as it is consumed.
pub struct Events {
    dir: PathBuf,
    query: Query,
    /// One for each family.
    trails: Vec<Trail>,
    /// With a limit: what was found, before anything newer.
    newest: VecDeque<Event>,
    watch: Watch,
}

impl Events {
    /// How many lines were no events and were left out.
    pub fn skipped(&self) -> u64 {
        self.trails.iter().map(|trail| trail.skipped).sum()
    }

    /// Waits until the journal may hold more, `patience` at most.
    pub fn wait(&mut self, patience: Duration) {
        self.watch.wait(patience);
    }

    /// After the iterator ended: finds new lines and new segments, so that it goes on.
    pub fn resume(&mut self) -> Result<(), JournalUnreadable> {
        let resumed = self.trails.iter_mut().try_for_each(Trail::resume);
        resumed.map_err(|cause| self.unreadable(cause))
    }

    /// The oldest one of the families' next events.
    fn next_event(&mut self) -> io::Result<Option<Event>> {
        if let Some(event) = self.newest.pop_front() {
            return Ok(Some(event));
        }
        loop {
            let mut first: Option<(Timestamp, &mut Trail)> = None;
            for trail in &mut self.trails {
                let Some(time) = trail.peek()?.map(|event| event.timestamp) else {
                    continue;
                };
                if first.as_ref().is_none_or(|(earliest, _)| time < *earliest) {
                    first = Some((time, trail));
                }
            }
            let Some(mut event) = first.and_then(|(_, trail)| trail.head.take()) else {
                return Ok(None);
            };
            if self.query.matches(&event) {
                // SECURITY: the file may hold what this program would not have written.
                text::make_printable(&mut event);
                return Ok(Some(event));
            }
        }
    }

    fn unreadable(&self, cause: io::Error) -> JournalUnreadable {
        JournalUnreadable {
            dir: self.dir.clone(),
            cause,
        }
    }
}

impl Iterator for Events {
    type Item = Result<Event, JournalUnreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event()
            .map_err(|cause| self.unreadable(cause))
            .transpose()
    }
}

/// The events of one family in the order in which they were written.
struct Trail {
    dir: PathBuf,
    family: Family,
    until: Option<Timestamp>,
    ahead: VecDeque<SegmentName>,
    current: Option<(SegmentName, Lines)>,
    head: Option<Event>,
    skipped: u64,
}

impl Trail {
    fn begin(dir: &Path, family: Family, query: &Query) -> io::Result<Self> {
        let segments = SegmentName::list(dir, family)?;
        let mut ahead = VecDeque::new();
        for (position, segment) in segments.iter().enumerate() {
            let successor = segments.get(position.saturating_add(1));
            let ended = successor.is_some_and(|next| {
                query
                    .since
                    .is_some_and(|since| next.started_at.plus(SLACK) < since)
            });
            if !ended {
                ahead.push_back(*segment);
            }
        }
        let (dir, until) = (dir.to_owned(), query.until.map(|until| until.plus(SLACK)));
        Ok(Self {
            dir,
            family,
            until,
            ahead,
            current: None,
            head: None,
            skipped: 0,
        })
    }

    fn peek(&mut self) -> io::Result<Option<&Event>> {
        if self.head.is_none() {
            self.head = self.next_event()?;
        }
        Ok(self.head.as_ref())
    }

    fn next_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some((_, lines)) = &mut self.current {
                let event = lines.next_event()?;
                self.skipped = self
                    .skipped
                    .saturating_add(std::mem::take(&mut lines.skipped));
                if event.is_some() || self.ahead.is_empty() {
                    return Ok(event);
                }
                // The successor was seen before this last look, so nothing more is written here.
                if lines.has_torn_end() {
                    self.skipped = self.skipped.saturating_add(1);
                }
            }
            let Some(next) = self.ahead.pop_front() else {
                return Ok(None);
            };
            let mut lines = match Lines::open(&self.dir.join(next.to_string())) {
                Ok(lines) => lines,
                // Deleted by its age or budget since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let first = lines.next_event()?;
            // After the clock was set back, a name may lie ahead of its events: ask both.
            let too_late = |time: Timestamp| self.until.is_some_and(|until| time > until);
            if too_late(next.started_at)
                && first.as_ref().is_none_or(|first| too_late(first.timestamp))
            {
                continue;
            }
            self.current = Some((next, lines));
            if first.is_some() {
                return Ok(first);
            }
        }
    }

    fn resume(&mut self) -> io::Result<()> {
        let listed = match SegmentName::list(&self.dir, self.family) {
            // The directory is being replaced; what comes is seen when it is there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        let last = self
            .ahead
            .back()
            .or(self.current.as_ref().map(|(name, _)| name))
            .copied();
        let newer =
            |segment: &SegmentName| last.is_none_or(|last| segment.started_at > last.started_at);
        self.ahead.extend(listed.into_iter().filter(newer));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
