//! Accesses that were answered from memory, until the edge acknowledged that it recorded them. A request gets a
//! kept answer only if there is room for its access, so that none can be lost for want of it.

use core::time::Duration;
use std::{collections::VecDeque, rc::Rc};

use attache_core::time::Timestamp;
use attache_proto::token::v1::{Access, EndedEpoch, ReportRequest, ReportResponse};
use prost::Message as _;

use super::{epochs::Epochs, flights::Waiter};
use crate::{
    bundles::{PROTOCOL, TOKENS},
    config::{Accesses, Audit, WhenFull},
    host::{Attribute, Buffer, ContextId, Host, Method},
    ids::ByContext,
};

/// Most accesses of one report.
const BATCH: usize = 256;
/// Most bytes of one report, about: an edge takes a mebibyte.
const BATCH_BYTES: usize = 768 * 1024;
/// How long a report may take, and the pause after one that failed.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);
/// What an access takes beside its texts, in bytes.
const OVERHEAD: usize = 160;
const MAX_ANSWER: usize = 64 * 1024;
/// How many new epochs are tried in a row before what waits is given up.
const MOST_RENEWALS: u32 = 3;

/// How many accesses in a row are refused each by itself before the edge counts as one that takes none.
const MOST_REFUSED: u32 = 16;

/// What the edge says of a report that it will never take (`google.rpc.Code`).
const INVALID_ARGUMENT: u32 = 3;
const FAILED_PRECONDITION: u32 = 9;
const OUT_OF_RANGE: u32 = 11;

/// The accesses of one plugin in one VM.
pub(super) struct Ring {
    settings: Audit,
    epochs: Epochs,
    /// Requests that run and whose access is not complete.
    running: ByContext<Noted>,
    done: VecDeque<Noted>,
    bytes: usize,
    last_sequence: u64,
    report: Option<Sent>,
    next_try_at: Option<Timestamp>,
    /// How many accesses the next report has at most: fewer after one that was refused as a whole.
    most: usize,
    /// Up to which number accesses were given up, until the edge knows.
    given_up: Option<u64>,
    /// Lives that ended are told apart from accesses, for one of both was refused.
    apart: bool,
    /// New epochs in a row.
    renewals: u32,
    /// Accesses in a row that were refused each by itself.
    refused: u32,
}

/// A report on its way.
struct Sent {
    call: u32,
    accesses: usize,
    ended: bool,
}

/// One access.
struct Noted {
    lease: Rc<[u8]>,
    /// The method, then the path: one piece of memory.
    texts: Box<str>,
    method: usize,
    /// In microseconds.
    began_at: i64,
    status: u32,
    latency_us: u64,
    source_address: String,
    /// Its number, once it is complete.
    sequence: u64,
}

impl Noted {
    /// What it takes in memory, about, in bytes.
    fn size(&self) -> usize {
        self.texts.len().saturating_add(OVERHEAD)
    }

    /// The same for the edge; `lease` is its lease's place in the report.
    fn told(&self, lease: u32) -> Access {
        let (method, path) = self.texts.split_at_checked(self.method).unwrap_or_default();
        Access {
            lease,
            sequence: self.sequence,
            at: self.began_at / 1000,
            method: method.to_owned(),
            path: path.to_owned(),
            status: self.status,
            latency_us: self.latency_us,
            source_address: self.source_address.clone(),
        }
    }
}

impl Ring {
    pub(super) fn new(settings: Audit, epochs: Epochs) -> Self {
        Self {
            settings,
            epochs,
            running: ByContext::default(),
            done: VecDeque::new(),
            bytes: 0,
            last_sequence: 0,
            report: None,
            next_try_at: None,
            most: BATCH,
            given_up: None,
            apart: false,
            renewals: 0,
            refused: 0,
        }
    }

    /// Takes an access in; `false` if there is no room and the request must not go on.
    pub(super) fn begin<H: Host>(
        &mut self,
        host: &H,
        waiter: &Waiter,
        lease: &Rc<[u8]>,
        (method, path): (&str, &str),
    ) -> bool {
        if self.settings.accesses == Accesses::LeasesAlone {
            return true;
        }
        let texts = method.len().saturating_add(path.len());
        let bytes = self.bytes.saturating_add(texts).saturating_add(OVERHEAD);
        if bytes > self.settings.memory {
            return self.settings.when_full == WhenFull::Count;
        }
        self.bytes = bytes;
        let began_at = waiter.began_at;
        self.epochs.count(host, began_at.div_euclid(1000));
        let mut texts = String::with_capacity(texts);
        texts.push_str(method);
        texts.push_str(path);
        let running = Noted {
            lease: Rc::clone(lease),
            texts: texts.into_boxed_str(),
            method: method.len(),
            began_at,
            status: 0,
            latency_us: 0,
            source_address: String::new(),
            sequence: 0,
        };
        // A request that is answered twice (an internal redirect makes a new context) would be another stream.
        if let Some(before) = self.running.insert(waiter.stream, running) {
            self.finish(before);
        }
        true
    }

    /// The request is over. A pod's own address says nothing; a gateway's callers have theirs.
    pub(super) fn end<H: Host>(&mut self, host: &H, stream: ContextId, with_source: bool) {
        if self.running.is_empty() {
            return;
        }
        let Some(mut running) = self.running.remove(&stream) else {
            return;
        };
        let status = host.property(Attribute::STATUS).and_then(|bytes| {
            let status = bytes.first_chunk().copied().map(i64::from_le_bytes);
            host.give_back(bytes);
            status.and_then(|status| u32::try_from(status).ok())
        });
        running.status = status.unwrap_or(0);
        let latency = host.micros().saturating_sub(running.began_at);
        running.latency_us = u64::try_from(latency).unwrap_or(0);
        if with_source {
            let source = host.property(Attribute::SOURCE).unwrap_or_default();
            running.source_address = String::from_utf8(source).unwrap_or_default();
        }
        self.finish(running);
    }

    fn finish(&mut self, running: Noted) {
        self.last_sequence = self.last_sequence.saturating_add(1);
        self.done.push_back(Noted {
            sequence: self.last_sequence,
            ..running
        });
    }

    /// Sends the next report, if there is something to tell and none is on its way.
    pub(super) fn tick<H: Host>(&mut self, host: &H, cluster: &str, now: Timestamp) {
        self.epochs.tick(host, now);
        self.send(host, cluster, now);
    }

    /// The same at once, whoever is looked after besides.
    pub(super) fn send<H: Host>(&mut self, host: &H, cluster: &str, now: Timestamp) {
        let waits = self
            .next_try_at
            .is_some_and(|at| now < at && at.since(now) <= PAUSE);
        let ended = self.ended();
        if self.report.is_some() || waits || (self.done.is_empty() && ended.is_empty()) {
            return;
        }
        let (leases, accesses) = if self.apart && !ended.is_empty() {
            (Vec::new(), Vec::new())
        } else {
            self.batch()
        };
        let mut sent = Sent {
            call: 0,
            accesses: accesses.len(),
            ended: !ended.is_empty(),
        };
        let request = ReportRequest {
            protocol: PROTOCOL,
            epoch: self.epochs.id(),
            epoch_started_at: self.epochs.started_at(),
            leases,
            accesses,
            ended,
        };
        let method = Method {
            cluster,
            service: TOKENS,
            method: "Report",
        };
        match host.call(method, &request.encode_to_vec(), PATIENCE) {
            Ok(token) => {
                sent.call = token;
                self.report = Some(sent);
            }
            Err(_failure) => self.next_try_at = Some(now.plus(PAUSE)),
        }
    }

    /// Lives that ended, and what was given up of this one: both are told as lost.
    fn ended(&self) -> Vec<EndedEpoch> {
        let mut ended = self.epochs.ended();
        ended.extend(self.given_up.map(|last_sequence| EndedEpoch {
            epoch: self.epochs.id(),
            last_sequence,
        }));
        ended
    }

    fn batch(&self) -> (Vec<Vec<u8>>, Vec<Access>) {
        let mut leases: Vec<Rc<[u8]>> = Vec::new();
        let mut accesses = Vec::new();
        let mut bytes = 0_usize;
        for done in self.done.iter().take(self.most) {
            let known = leases
                .iter()
                .position(|lease| Rc::ptr_eq(lease, &done.lease));
            let lease = if known.is_some() { 0 } else { done.lease.len() };
            bytes = bytes.saturating_add(done.size()).saturating_add(lease);
            if bytes > BATCH_BYTES && !accesses.is_empty() {
                break;
            }
            let index = known.unwrap_or_else(|| {
                leases.push(Rc::clone(&done.lease));
                leases.len().saturating_sub(1)
            });
            accesses.push(done.told(u32::try_from(index).unwrap_or(u32::MAX)));
        }
        (
            leases.iter().map(|lease| lease.to_vec()).collect(),
            accesses,
        )
    }

    /// Takes the edge's acknowledgement; `false` if the token is none of ours.
    #[inline(never)]
    pub(super) fn on_grpc<H: Host>(&mut self, host: &H, token: u32, now: Timestamp) -> bool {
        let Some(sent) = self.take_sent(token) else {
            return false;
        };
        let bytes = host.bytes(Buffer::GrpcMessage, MAX_ANSWER);
        let answer = ReportResponse::decode(bytes.as_slice()).ok();
        let answer = answer.filter(|answer| answer.epoch == self.epochs.id());
        let Some(answer) = answer else {
            self.next_try_at = Some(now.plus(PAUSE));
            return true;
        };
        let before = self.done.len();
        while let Some(done) = self.done.front() {
            if done.sequence > answer.acknowledged {
                break;
            }
            self.bytes = self.bytes.saturating_sub(done.size());
            self.done.pop_front();
        }
        if before == self.done.len() && sent.accesses > 0 {
            self.next_try_at = Some(now.plus(PAUSE));
        } else {
            self.most = self.most.saturating_mul(2).min(BATCH);
            self.renewals = 0;
            if sent.accesses > 0 {
                self.refused = 0;
            }
            if sent.ended {
                self.told(host);
            }
        }
        true
    }

    fn take_sent(&mut self, token: u32) -> Option<Sent> {
        self.report.take_if(|sent| sent.call == token)
    }

    /// Lives that ended need not be told again.
    fn told<H: Host>(&mut self, host: &H) {
        self.epochs.told(host);
        self.given_up = None;
        self.apart = false;
    }

    /// A report failed with a status of gRPC. How many accesses are lost by it; `None` if the token is none of ours.
    ///
    /// What the edge will never take must not stay: the ring would be full one day, and no request would get a
    /// credential any more.
    pub(super) fn on_failure<H: Host>(
        &mut self,
        host: &H,
        token: u32,
        status: u32,
        now: Timestamp,
    ) -> Option<usize> {
        let sent = self.take_sent(token)?;
        self.next_try_at = Some(now.plus(PAUSE));
        match status {
            INVALID_ARGUMENT | OUT_OF_RANGE => {
                // Another report is no second try.
                self.next_try_at = None;
                Some(self.narrow(host, &sent))
            }
            FAILED_PRECONDITION if self.renewals >= MOST_RENEWALS => {
                Some(self.give_up(self.done.len()))
            }
            FAILED_PRECONDITION => {
                self.begin_anew(host);
                Some(0)
            }
            _try_again => Some(0),
        }
    }

    /// After a report that is refused for what it holds: looks for the one item, and gives that up.
    fn narrow<H: Host>(&mut self, host: &H, sent: &Sent) -> usize {
        if sent.ended && sent.accesses > 0 {
            self.apart = true;
        } else if sent.ended {
            self.told(host);
        } else if self.refused >= MOST_REFUSED {
            return self.give_up(sent.accesses);
        } else if sent.accesses > 1 {
            self.most = sent.accesses / 2;
        } else {
            self.refused = self.refused.saturating_add(1);
            self.most = if self.refused < MOST_REFUSED {
                1
            } else {
                BATCH
            };
            return self.give_up(1);
        }
        0
    }

    /// Forgets the first accesses that wait; the edge is told their numbers.
    fn give_up(&mut self, count: usize) -> usize {
        let mut lost: usize = 0;
        while lost < count
            && let Some(done) = self.done.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(done.size());
            self.given_up = Some(done.sequence);
            lost = lost.saturating_add(1);
        }
        lost
    }

    /// The edge knows another life of this name: what waits is told as that of a new one.
    fn begin_anew<H: Host>(&mut self, host: &H) {
        self.renewals = self.renewals.saturating_add(1);
        self.given_up = None;
        self.last_sequence = 0;
        for done in &mut self.done {
            self.last_sequence = self.last_sequence.saturating_add(1);
            done.sequence = self.last_sequence;
        }
        let waiting = self.done.len().saturating_add(self.running.len());
        self.epochs.renew(host, u64::try_from(waiting).unwrap_or(0));
    }

    /// Whether everything is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.done.is_empty() && self.given_up.is_none()
    }

    /// How many bytes wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sends the next report at once if a whole one waits.
    pub(super) fn go_on<H: Host>(&mut self, host: &H, cluster: &str, now: Timestamp) {
        if self.done.len() >= BATCH {
            self.send(host, cluster, now);
        }
    }
}
