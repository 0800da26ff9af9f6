//! Accesses that a proxy answered from memory: each into the journal once. What a report says is believed as far
//! as a lease of ours covers it; that the access happened, and how it ended, is the proxy's word.

use std::{collections::BTreeMap, time::Duration};

use attache_core::{
    event::{Event, Outcome, Record, Reported},
    scope::Region,
    time::Timestamp,
};
use attache_proto::token::v1 as proto;
use futures::future::join_all;
use tonic::Status;

use super::{
    epochs::{EPOCH_BYTES, Epoch, EpochId, Gap, MAX_SEQUENCE, Seen},
    lease::Lease,
    regions,
    service::{TokensService, check_protocol},
};
use crate::{clock, journal::text::printable};

/// Accesses, and leases, of one report.
pub const MAX_BATCH: usize = 256;
/// Epochs that one report may end.
const MAX_ENDED: usize = 16;
/// Longest text of a report that an event keeps, in bytes.
const MAX_TEXT_BYTES: usize = 1024;
/// How far the clocks of proxy and edge may lie apart.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// How late a report may come.
const MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far the time of an event may lie before its writing, so that those who look for it by time find it.
const MAX_EVENT_AGE: Duration = Duration::from_secs(240);

/// The code of an event that tells of lost accesses.
pub const LOST: &str = "reports-lost";

const LEASE_UNKNOWN: &str = "lease-unknown";
const LEASE_FOREIGN: &str = "lease-of-another-listener";
const OUTSIDE: &str = "outside-of-lease";
const MALFORMED: &str = "report-malformed";

/// What becomes of the accesses of one report.
#[derive(Default)]
struct Plan {
    lost: Vec<Gap>,
    /// New ones, in their order.
    taken: Vec<(u64, Event)>,
    known: u64,
    /// Refused ones, by code.
    refused: BTreeMap<&'static str, Vec<proto::Access>>,
}

impl TokensService {
    pub(super) async fn take_report(
        &self,
        report: proto::ReportRequest,
    ) -> Result<proto::ReportResponse, Status> {
        check(&report)?;
        let Some(_slot) = self.edge.calls.enter() else {
            return Err(Status::resource_exhausted(
                "overloaded: send it again later",
            ));
        };
        let now = clock::now();
        for ended in &report.ended {
            self.end_epoch(ended, now).await?;
        }
        let id = self.epoch_id(&report.epoch);
        let mut epoch = self.tokens.epochs.turn(id.clone()).await;
        let began = Timestamp::from_millis(report.epoch_started_at);
        if epoch.started_at.is_some_and(|known| known != began) {
            let message = "epoch: it began at another time; begin a new one, with random bytes";
            return Err(Status::failed_precondition(message));
        }
        epoch.started_at = Some(began);
        let plan = self.plan(&report, &id, &epoch, now);
        self.tell_lost(&plan.lost, &id, &mut epoch, now).await?;
        let acknowledged = self.record_all(&report, plan.taken, &mut epoch).await;
        let refused = self
            .tell_refused(plan.refused, &id, &mut epoch, now)
            .await?;
        self.count("known", plan.known);
        let refused = refused.into_iter().filter(|it| it.sequence <= acknowledged);
        Ok(proto::ReportResponse {
            protocol: super::PROTOCOL,
            epoch: report.epoch,
            acknowledged,
            refused: refused.collect(),
        })
    }

    fn epoch_id(&self, epoch: &[u8]) -> EpochId {
        let digits = epoch.iter().map(|byte| format!("{byte:02x}"));
        EpochId {
            listener: self.listener.name.clone(),
            epoch: digits.collect(),
        }
    }

    /// Sorts the accesses of a report, and changes nothing.
    fn plan(
        &self,
        report: &proto::ReportRequest,
        id: &EpochId,
        epoch: &Epoch,
        now: Timestamp,
    ) -> Plan {
        let leases: Vec<_> = report
            .leases
            .iter()
            .map(|sealed| self.lease_of(sealed))
            .collect();
        let mut plan = Plan::default();
        let mut reached = epoch.clone();
        for access in &report.accesses {
            let sequence = access.sequence;
            if reached.saw(sequence) == Seen::Before {
                plan.known = plan.known.saturating_add(1);
                continue;
            }
            plan.lost.extend(reached.jumped(sequence));
            reached.record(sequence);
            let lease = usize::try_from(access.lease).ok();
            let lease = lease.and_then(|place| leases.get(place));
            match lease.unwrap_or(&Err(MALFORMED)) {
                Ok((lease, region)) if covers(region, access, now) => {
                    let event = event(lease, access, &id.epoch, now);
                    plan.taken.push((sequence, event));
                }
                Ok(_) => plan
                    .refused
                    .entry(OUTSIDE)
                    .or_default()
                    .push(access.clone()),
                Err(code) => plan.refused.entry(code).or_default().push(access.clone()),
            }
        }
        plan
    }

    /// A lease of this listener, and where it holds.
    fn lease_of(&self, sealed: &[u8]) -> Result<(Lease, Region), &'static str> {
        let lease = self.tokens.seal.opened(sealed).ok_or(LEASE_UNKNOWN)?;
        if lease.event.listener != self.listener.name {
            return Err(LEASE_FOREIGN);
        }
        let region = regions::read(&lease.scope).ok_or(LEASE_UNKNOWN)?;
        Ok((lease, region))
    }

    /// Records each of `taken`; gives the number up to which all of the report is dealt with.
    async fn record_all(
        &self,
        report: &proto::ReportRequest,
        taken: Vec<(u64, Event)>,
        epoch: &mut Epoch,
    ) -> u64 {
        let (sequences, events): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
        let recording = events.into_iter().map(|it| self.edge.journal.record(it));
        let mut first_failed = None;
        let mut recorded = 0;
        for (sequence, outcome) in sequences.into_iter().zip(join_all(recording).await) {
            if outcome.is_ok() {
                // What failed before it is a gap now, and is taken when it comes again.
                epoch.record(sequence);
                recorded += 1;
            } else if first_failed.is_none() {
                first_failed = Some(sequence);
            }
        }
        self.count("recorded", recorded);
        let sequences = report.accesses.iter().map(|access| access.sequence);
        let dealt_with = sequences.filter(|it| first_failed.is_none_or(|failed| *it < failed));
        dealt_with.max().unwrap_or_default()
    }

    async fn tell_lost(
        &self,
        lost: &[Gap],
        id: &EpochId,
        epoch: &mut Epoch,
        now: Timestamp,
    ) -> Result<(), Status> {
        for gap in lost {
            let event = self.event_of_gap(*gap, id, now);
            let count = event.count;
            self.record_or_fail(event).await?;
            epoch.lose(*gap);
            self.count("lost", count);
        }
        Ok(())
    }

    /// One event for each reason, and the answer to the reporter.
    async fn tell_refused(
        &self,
        refused: BTreeMap<&'static str, Vec<proto::Access>>,
        id: &EpochId,
        epoch: &mut Epoch,
        now: Timestamp,
    ) -> Result<Vec<proto::RefusedAccess>, Status> {
        let mut told = Vec::new();
        for (code, accesses) in refused {
            let Some(event) = self.event_of_refused(code, &accesses, id, now) else {
                continue;
            };
            let count = event.count;
            self.record_or_fail(event).await?;
            self.count("refused", count);
            for access in accesses {
                epoch.record(access.sequence);
                told.push(proto::RefusedAccess {
                    sequence: access.sequence,
                    code: code.to_owned(),
                });
            }
        }
        told.sort_by_key(|refused| refused.sequence);
        Ok(told)
    }

    async fn end_epoch(&self, ended: &proto::EndedEpoch, now: Timestamp) -> Result<(), Status> {
        let id = self.epoch_id(&ended.epoch);
        let mut epoch = self.tokens.epochs.turn(id.clone()).await;
        let missing = epoch.jumped(ended.last_sequence.saturating_add(1));
        self.tell_lost(missing.as_slice(), &id, &mut epoch, now)
            .await
    }

    async fn record_or_fail(&self, event: Event) -> Result<(), Status> {
        let recorded = self.edge.journal.record(event).await;
        recorded
            .map(drop)
            .map_err(|_unrecorded| Status::unavailable("audit-unavailable: send it again later"))
    }

    fn event_of_gap(&self, gap: Gap, id: &EpochId, now: Timestamp) -> Event {
        let reported = reported(&id.epoch, gap.first, Some(gap.last), now);
        Event {
            code: Some(LOST.into()),
            record: Record::Lost,
            count: gap.last.saturating_sub(gap.first).saturating_add(1),
            ..self.blank(reported, now)
        }
    }

    fn event_of_refused(
        &self,
        code: &str,
        accesses: &[proto::Access],
        id: &EpochId,
        now: Timestamp,
    ) -> Option<Event> {
        let (first, last) = (accesses.first()?, accesses.last()?);
        let text = |text: &str| printable(text.as_bytes(), MAX_TEXT_BYTES);
        let reported = reported(&id.epoch, first.sequence, Some(last.sequence), now);
        Some(Event {
            code: Some(code.into()),
            record: Record::Unbelieved,
            request_method: text(&first.method),
            request_path: text(&first.path),
            count: u64::try_from(accesses.len()).unwrap_or(u64::MAX),
            ..self.blank(reported, now)
        })
    }

    /// An event about reports, not about one access.
    fn blank(&self, reported: Reported, now: Timestamp) -> Event {
        Event {
            policy_revision: self.edge.live.compiled().revision().into(),
            edge: self.edge.name.as_str().into(),
            listener: self.listener.name.as_str().into(),
            reported: Some(reported),
            ..Event::blank(clock::event_id(now), now, Outcome::Error)
        }
    }

    fn count(&self, result: &'static str, count: u64) {
        let metrics = &self.edge.metrics;
        metrics.reported(&self.listener.name, result, count);
    }
}

/// Bounds, and what makes no sense whatever is known.
fn check(report: &proto::ReportRequest) -> Result<(), Status> {
    check_protocol(report.protocol)?;
    let most = |what: &str, found: usize, most: usize| {
        if found > most {
            let message = format!("{what}: {found} of them; send at most {most}");
            return Err(Status::invalid_argument(message));
        }
        Ok(())
    };
    most("accesses", report.accesses.len(), MAX_BATCH)?;
    most("leases", report.leases.len(), MAX_BATCH)?;
    most("ended", report.ended.len(), MAX_ENDED)?;
    let ended = report.ended.iter().map(|ended| &ended.epoch);
    if [&report.epoch]
        .into_iter()
        .chain(ended)
        .any(|epoch| epoch.len() != EPOCH_BYTES)
    {
        let message = format!("epoch: send {EPOCH_BYTES} random bytes");
        return Err(Status::invalid_argument(message));
    }
    let ended = report.ended.iter();
    if ended
        .map(|ended| ended.last_sequence)
        .any(|last| last > MAX_SEQUENCE)
    {
        let message = "ended: last_sequence is at most 2^63 - 1";
        return Err(Status::invalid_argument(message));
    }
    let mut last = 0;
    for access in &report.accesses {
        if access.sequence <= last || access.sequence > MAX_SEQUENCE {
            let message = "accesses: sequence begins at 1, rises, and is at most 2^63 - 1";
            return Err(Status::invalid_argument(message));
        }
        last = access.sequence;
    }
    Ok(())
}

/// Whether an access that is reported at `now` lies in the region of its lease.
fn covers(region: &Region, access: &proto::Access, now: Timestamp) -> bool {
    let at = Timestamp::from_millis(access.at);
    let holds = region.holds;
    let in_time = at.plus(CLOCK_SKEW) >= holds.issued_at
        && at <= holds.expires_at.plus(CLOCK_SKEW)
        && at <= now.plus(CLOCK_SKEW)
        && now.since(at) <= MAX_DELAY;
    in_time && regions::contains(region, &access.method, &access.path)
}

/// The event of an access that is believed.
fn event(lease: &Lease, access: &proto::Access, epoch: &str, now: Timestamp) -> Event {
    let at = Timestamp::from_millis(access.at);
    let earliest = now.as_millis().saturating_sub(millis(MAX_EVENT_AGE));
    let timestamp = Timestamp::from_millis(at.as_millis().clamp(earliest, now.as_millis()));
    let text = |text: &str| printable(text.as_bytes(), MAX_TEXT_BYTES);
    let source = Some(&access.source_address).filter(|address| !address.is_empty());
    let took = Duration::from_micros(access.latency_us).min(MAX_DELAY);
    Event {
        event_id: clock::event_id(timestamp),
        timestamp,
        request_method: text(&access.method),
        request_path: text(&access.path),
        latency_ms: (took.as_secs_f64() * 1_000_000.0).round() / 1000.0,
        source_address: source.map(|address| text(address)),
        count: 1,
        record: Record::Cached,
        lease: Some(lease.event.event_id.clone()),
        reported: Some(Reported {
            status: u16::try_from(access.status).ok().filter(|it| *it > 0),
            ..reported(epoch, access.sequence, None, at)
        }),
        ..lease.event.clone()
    }
}

fn reported(epoch: &str, sequence: u64, last_sequence: Option<u64>, at: Timestamp) -> Reported {
    Reported {
        epoch: epoch.into(),
        sequence,
        last_sequence,
        asked_at: at,
        status: None,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
