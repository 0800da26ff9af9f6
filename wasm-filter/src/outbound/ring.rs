//! Accesses that were answered from memory, until the edge acknowledged that it recorded them. A request gets a
//! kept answer only if there is room for its access, so that none can be lost for want of it.

use core::time::Duration;
use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use attache_core::time::Timestamp;
use attache_proto::token::v1::{Access, ReportRequest, ReportResponse};
use prost::Message as _;

use super::{epochs::Epochs, flights::Waiter};
use crate::{
    bundles::{PROTOCOL, TOKENS},
    config::{Audit, WhenFull},
    host::{Buffer, ContextId, Host, Method},
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

/// The accesses of one plugin in one VM.
pub(super) struct Ring {
    settings: Audit,
    epochs: Epochs,
    /// Requests that run and whose access is not complete.
    running: HashMap<ContextId, Running>,
    done: VecDeque<Done>,
    bytes: usize,
    last_sequence: u64,
    report: Option<u32>,
    next_try_at: Option<Timestamp>,
}

struct Running {
    lease: Rc<[u8]>,
    access: Access,
    began_at: i64,
    size: usize,
}

struct Done {
    lease: Rc<[u8]>,
    access: Access,
    size: usize,
}

impl Ring {
    pub(super) fn new(settings: Audit, epochs: Epochs) -> Self {
        Self {
            settings,
            epochs,
            running: HashMap::new(),
            done: VecDeque::new(),
            bytes: 0,
            last_sequence: 0,
            report: None,
            next_try_at: None,
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
        let size = method
            .len()
            .saturating_add(path.len())
            .saturating_add(OVERHEAD);
        let bytes = self.bytes.saturating_add(size);
        if bytes > self.settings.memory {
            return self.settings.when_full == WhenFull::Count;
        }
        self.bytes = bytes;
        let began_at = waiter.began_at;
        self.epochs.count(host, began_at.div_euclid(1000));
        let access = Access {
            method: method.to_owned(),
            path: path.to_owned(),
            at: began_at / 1000,
            ..Access::default()
        };
        let running = Running {
            lease: Rc::clone(lease),
            access,
            began_at,
            size,
        };
        // A request that is answered twice (an internal redirect makes a new context) would be another stream.
        if let Some(before) = self.running.insert(waiter.stream, running) {
            self.finish(before);
        }
        true
    }

    /// The request is over. A pod's own address says nothing; a gateway's callers have theirs.
    pub(super) fn end<H: Host>(&mut self, host: &H, stream: ContextId, with_source: bool) {
        let Some(mut running) = self.running.remove(&stream) else {
            return;
        };
        let status = host.property(&["response", "code"]);
        let status = status
            .and_then(|bytes| bytes.try_into().ok())
            .map(i64::from_le_bytes);
        running.access.status = status
            .and_then(|status| u32::try_from(status).ok())
            .unwrap_or(0);
        let latency = host.micros().saturating_sub(running.began_at);
        running.access.latency_us = u64::try_from(latency).unwrap_or(0);
        if with_source {
            let source = host.property(&["source", "address"]).unwrap_or_default();
            running.access.source_address = String::from_utf8(source).unwrap_or_default();
        }
        self.finish(running);
    }

    fn finish(&mut self, running: Running) {
        self.last_sequence = self.last_sequence.saturating_add(1);
        let Running {
            lease,
            mut access,
            size,
            ..
        } = running;
        access.sequence = self.last_sequence;
        self.done.push_back(Done {
            lease,
            access,
            size,
        });
    }

    /// Sends the next report, if there is something to tell and none is on its way.
    pub(super) fn tick<H: Host>(&mut self, host: &H, cluster: &str, now: Timestamp) {
        self.epochs.tick(host, now);
        self.send(host, cluster, now);
    }

    fn send<H: Host>(&mut self, host: &H, cluster: &str, now: Timestamp) {
        let waits = self
            .next_try_at
            .is_some_and(|at| now < at && at.since(now) <= PAUSE);
        let ended = self.epochs.ended();
        if self.report.is_some() || waits || (self.done.is_empty() && ended.is_empty()) {
            return;
        }
        let (leases, accesses) = self.batch();
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
            Ok(token) => self.report = Some(token),
            Err(_failure) => self.next_try_at = Some(now.plus(PAUSE)),
        }
    }

    fn batch(&self) -> (Vec<Vec<u8>>, Vec<Access>) {
        let mut leases: Vec<Rc<[u8]>> = Vec::new();
        let mut accesses = Vec::new();
        let mut bytes = 0_usize;
        for done in self.done.iter().take(BATCH) {
            let known = leases
                .iter()
                .position(|lease| Rc::ptr_eq(lease, &done.lease));
            let lease = if known.is_some() { 0 } else { done.lease.len() };
            bytes = bytes.saturating_add(done.size).saturating_add(lease);
            if bytes > BATCH_BYTES && !accesses.is_empty() {
                break;
            }
            let index = known.unwrap_or_else(|| {
                leases.push(Rc::clone(&done.lease));
                leases.len().saturating_sub(1)
            });
            accesses.push(Access {
                lease: u32::try_from(index).unwrap_or(u32::MAX),
                ..done.access.clone()
            });
        }
        (
            leases.iter().map(|lease| lease.to_vec()).collect(),
            accesses,
        )
    }

    /// Takes the edge's acknowledgement; `false` if the token is none of ours.
    pub(super) fn on_grpc<H: Host>(&mut self, host: &H, token: u32, now: Timestamp) -> bool {
        if self.report != Some(token) {
            return false;
        }
        self.report = None;
        let bytes = host.bytes(Buffer::GrpcMessage, MAX_ANSWER);
        let answer = ReportResponse::decode(bytes.as_slice()).ok();
        let answer = answer.filter(|answer| answer.epoch == self.epochs.id());
        let Some(answer) = answer else {
            self.next_try_at = Some(now.plus(PAUSE));
            return true;
        };
        let before = self.done.len();
        while let Some(done) = self.done.front() {
            if done.access.sequence > answer.acknowledged {
                break;
            }
            self.bytes = self.bytes.saturating_sub(done.size);
            self.done.pop_front();
        }
        if before == self.done.len() && before > 0 {
            self.next_try_at = Some(now.plus(PAUSE));
        } else {
            self.epochs.told(host);
        }
        true
    }

    /// A report failed; `false` if the token is none of ours.
    pub(super) fn on_failure(&mut self, token: u32, now: Timestamp) -> bool {
        let ours = self.report == Some(token);
        if ours {
            self.report = None;
            self.next_try_at = Some(now.plus(PAUSE));
        }
        ours
    }

    /// Whether everything is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.done.is_empty()
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
