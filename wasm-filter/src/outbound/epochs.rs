//! The lives of the VMs that report accesses. Each writes into shared data how many it answered, so that when one
//! ends with a trap another can tell the edge what is missing.

use core::time::Duration;

use attache_core::time::Timestamp;
use attache_proto::token::v1::EndedEpoch;
use prost::Message as _;

use crate::host::{Failure, Host};

/// Most lives at once: of the workers, and of some that ended.
const SLOTS: u64 = 64;
/// How often a life shows that it goes on, and after how long it counts as ended.
const PULSE: Duration = Duration::from_secs(2);
const DEAD: Duration = Duration::from_secs(15);
/// How many accesses are counted in shared data at once, before the first of them is answered: each writing costs a
/// call of Envoy, and whoever is told of a life that ended must not be told too few.
const AHEAD: u64 = 16;
/// Most lives that one report ends: an edge takes 16, and one of them may be this life's own gap.
const MOST_ENDED: usize = 15;

#[derive(Clone, PartialEq, prost::Message)]
struct Life {
    #[prost(bytes = "vec", tag = "1")]
    epoch: Vec<u8>,
    #[prost(uint64, tag = "2")]
    answered: u64,
    #[prost(int64, tag = "3")]
    seen_at: i64,
}

/// The life of this VM, and what it knows of others.
pub(super) struct Epochs {
    /// Where lives stand; `None` where nothing is shared.
    name: Option<String>,
    epoch: Vec<u8>,
    started_at: i64,
    answered: u64,
    /// How many shared data says: never fewer.
    written: u64,
    slot: Option<(u64, String)>,
    next_pulse_at: Option<Timestamp>,
    /// Lives that ended, with their slots and versions, until the edge knows.
    ended: Vec<(u64, u32, EndedEpoch)>,
}

impl Epochs {
    pub(super) fn begin<H: Host>(host: &H, name: Option<String>) -> Self {
        let slots = (0..SLOTS).filter_map(|slot| slot_name(name.as_deref(), slot));
        // Slots are taken by their version, and what is not there has none.
        for slot in slots {
            if host.shared(&slot) == Err(Failure::NOT_FOUND) {
                let _ = host.share(&slot, b"", None);
            }
        }
        Self {
            name,
            epoch: random(host),
            started_at: host.now().as_millis(),
            answered: 0,
            written: 0,
            slot: None,
            next_pulse_at: None,
            ended: Vec::new(),
        }
    }

    /// Another life, of a name that nobody knows, in which `answered` requests are counted already.
    pub(super) fn renew<H: Host>(&mut self, host: &H, answered: u64) {
        let now = host.now().as_millis();
        self.epoch = random(host);
        self.started_at = now;
        self.answered = answered;
        self.pulse(host, answered, now);
    }

    pub(super) fn id(&self) -> Vec<u8> {
        self.epoch.clone()
    }

    pub(super) const fn started_at(&self) -> i64 {
        self.started_at
    }

    /// One more request is answered from memory.
    pub(super) fn count<H: Host>(&mut self, host: &H, now: i64) {
        self.answered = self.answered.saturating_add(1);
        if self.answered > self.written {
            let ahead = self.answered.saturating_add(AHEAD.saturating_sub(1));
            self.pulse(host, ahead, now);
        }
    }

    /// Writes that this life goes on, and how many it answered at most.
    fn pulse<H: Host>(&mut self, host: &H, answered: u64, seen_at: i64) {
        self.written = answered;
        if self.name.is_none() {
            return;
        }
        if self.slot.is_none() {
            let slot = self.free_slot(host);
            self.slot = slot.and_then(|slot| Some((slot, self.slot_name(slot)?)));
        }
        let life = Life {
            epoch: self.epoch.clone(),
            answered,
            seen_at,
        };
        if let Some((_, name)) = &self.slot {
            let _ = host.share(name, &life.encode_to_vec(), None);
        }
    }

    fn free_slot<H: Host>(&self, host: &H) -> Option<u64> {
        (0..SLOTS).find(|slot| {
            let name = self.slot_name(*slot);
            let free = name.and_then(|name| Some((host.shared(&name).ok()?, name)));
            free.is_some_and(|((bytes, version), name)| {
                bytes.is_empty() && host.share(&name, &self.epoch, Some(version)).is_ok()
            })
        })
    }

    /// Looks after this life, and for others that ended.
    pub(super) fn tick<H: Host>(&mut self, host: &H, now: Timestamp) {
        let rests = self
            .next_pulse_at
            .is_some_and(|at| now < at && at.since(now) <= PULSE);
        if rests {
            if self.written != self.answered {
                self.pulse(host, self.answered, now.as_millis());
            }
            return;
        }
        self.next_pulse_at = Some(now.plus(PULSE));
        if self.answered == 0 || self.name.is_none() {
            return;
        }
        self.pulse(host, self.answered, now.as_millis());
        if !self.ended.is_empty() {
            return;
        }
        let ours = self.slot.as_ref().map(|(slot, _)| *slot);
        for slot in (0..SLOTS).filter(|slot| Some(*slot) != ours) {
            let Some((bytes, version)) = self
                .slot_name(slot)
                .and_then(|name| host.shared(&name).ok())
            else {
                continue;
            };
            let life = Life::decode(bytes.as_slice()).unwrap_or_default();
            let silent = now.since(Timestamp::from_millis(life.seen_at));
            if life.epoch.len() == 16 && silent >= DEAD && self.ended.len() < MOST_ENDED {
                let ended = EndedEpoch {
                    epoch: life.epoch,
                    last_sequence: life.answered,
                };
                self.ended.push((slot, version, ended));
            }
        }
    }

    /// Lives that ended, for the next report.
    pub(super) fn ended(&self) -> Vec<EndedEpoch> {
        self.ended
            .iter()
            .map(|(_, _, ended)| ended.clone())
            .collect()
    }

    /// The edge knows of them.
    pub(super) fn told<H: Host>(&mut self, host: &H) {
        for (slot, version, _) in core::mem::take(&mut self.ended) {
            if let Some(name) = self.slot_name(slot) {
                // If it changed in between, it had not ended.
                let _ = host.share(&name, b"", Some(version));
            }
        }
    }

    fn slot_name(&self, slot: u64) -> Option<String> {
        slot_name(self.name.as_deref(), slot)
    }
}

fn random<H: Host>(host: &H) -> Vec<u8> {
    [host.random().to_le_bytes(), host.random().to_le_bytes()].concat()
}

fn slot_name(name: Option<&str>, slot: u64) -> Option<String> {
    Some(format!("{}/lives/{slot}", name?))
}
