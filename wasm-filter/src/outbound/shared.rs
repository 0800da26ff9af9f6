//! What the VMs of one Envoy share: kept answers, and leases by which one of them asks the edge for all. Both
//! stand in a fixed number of slots that hold whole keys, for nothing can be deleted from there.
//!
//! SECURITY: all VMs of one `vm_id` read each other's data. With the empty one, which plugins of others have
//! too, nothing is shared.

use core::time::Duration;

use attache_core::time::Timestamp;
use attache_proto::token::v1::{Call, Evidence};
use prost::Message as _;

use crate::host::{Attribute, Failure, Host};

/// Slots of answers, and of leases.
const ANSWERS: u64 = 256;
const LEASES: u64 = 64;
/// Most answers in one slot, and most bytes of it.
const MOST_ANSWERS: usize = 8;
const MOST_BYTES: usize = 64 * 1024;
/// How long a lease holds at most: another VM takes over then.
pub(super) const LEASE: Duration = Duration::from_millis(900);

/// What stands in a slot of answers.
#[derive(Clone, PartialEq, prost::Message)]
struct Answers {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    answers: Vec<Answer>,
}

/// One kept answer.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Answer {
    /// A `FetchResponse`.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) response: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) call: Option<Call>,
    #[prost(message, optional, tag = "3")]
    pub(super) evidence: Option<Evidence>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Lease {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(uint64, tag = "2")]
    holder: u64,
    #[prost(int64, tag = "3")]
    until: i64,
}

/// Who may ask.
pub(super) enum Turn {
    /// This VM, with the slot of its lease if there are leases.
    Ours(Option<usize>),
    /// Another VM asks.
    Theirs,
}

/// The shared data of one plugin.
pub(super) struct Shared {
    /// `None` under the empty `vm_id`.
    name: Option<String>,
    /// This VM.
    holder: u64,
}

impl Shared {
    /// `fingerprint` tells plugins apart whose settings differ.
    pub(super) fn open<H: Host>(host: &H, fingerprint: &[u8]) -> Self {
        let vm_id = host.property(Attribute::VM_ID).unwrap_or_default();
        let name = (!vm_id.is_empty()).then(|| format!("attache/{:016x}", hash(fingerprint)));
        let shared = Self {
            name,
            holder: host.random(),
        };
        // Values are changed by their version, and what is not there has none.
        for slot in 0..LEASES {
            if let Some(name) = shared.lease_name(slot)
                && host.shared(&name).is_err()
            {
                let _ = host.share(&name, b"", None);
            }
        }
        shared
    }

    /// Where this plugin's data stands; `None` where nothing is shared.
    pub(super) fn name(&self) -> Option<String> {
        self.name.clone()
    }

    /// The answers that any VM keeps under `key`.
    #[inline(never)]
    pub(super) fn answers<H: Host>(&self, host: &H, key: &[u8]) -> Vec<Answer> {
        let name = self.answers_name(key);
        let read = name.and_then(|name| read_answers(host, &name, key));
        read.map(|(answers, _version)| answers.answers)
            .unwrap_or_default()
    }

    /// Keeps an answer for the other VMs. `replaced` tells which of those that stand there it takes the place of.
    #[inline(never)]
    pub(super) fn keep<H: Host>(
        &self,
        host: &H,
        key: &[u8],
        answer: &Answer,
        replaced: impl Fn(&Answer) -> bool,
    ) {
        let Some(name) = self.answers_name(key) else {
            return;
        };
        for _ in 0..3 {
            let (mut answers, version) = match read_answers(host, &name, key) {
                Some((answers, version)) => (answers, Some(version)),
                None => (Answers::default(), None),
            };
            answers.key = key.to_vec();
            answers.answers.retain(|other| !replaced(other));
            answers.answers.insert(0, answer.clone());
            answers.answers.truncate(MOST_ANSWERS);
            while answers.encoded_len() > MOST_BYTES && answers.answers.pop().is_some() {}
            match host.share(&name, &answers.encode_to_vec(), version) {
                Err(Failure::CAS_MISMATCH) => {}
                Ok(()) | Err(_) => return,
            }
        }
    }

    /// Whether this VM may ask about `key` now.
    pub(super) fn turn<H: Host>(&self, host: &H, key: &[u8], now: Timestamp) -> Turn {
        let slot = hash(key) % LEASES;
        let Some(name) = self.lease_name(slot) else {
            return Turn::Ours(None);
        };
        let Ok((bytes, version)) = host.shared(&name) else {
            return Turn::Ours(None);
        };
        let lease = Lease::decode(bytes.as_slice()).unwrap_or_default();
        let until = Timestamp::from_millis(lease.until);
        // A clock that was set back must not make a lease of it for ever.
        let held = now < until && until.since(now) <= LEASE && lease.holder != self.holder;
        if held && lease.key == key {
            return Turn::Theirs;
        }
        if held {
            // Another question's lease: without one, two VMs may ask the same, which harms nobody.
            return Turn::Ours(None);
        }
        let ours = Lease {
            key: key.to_vec(),
            holder: self.holder,
            until: now.plus(LEASE).as_millis(),
        };
        match host.share(&name, &ours.encode_to_vec(), Some(version)) {
            Ok(()) => Turn::Ours(usize::try_from(slot).ok()),
            Err(Failure::CAS_MISMATCH) => Turn::Theirs,
            Err(_) => Turn::Ours(None),
        }
    }

    /// Gives a lease back, so that who waits for its answer need not wait for its end.
    pub(super) fn give_back<H: Host>(&self, host: &H, slot: Option<usize>) {
        let slot = slot.and_then(|slot| u64::try_from(slot).ok());
        let Some(name) = slot.and_then(|slot| self.lease_name(slot)) else {
            return;
        };
        let Ok((bytes, version)) = host.shared(&name) else {
            return;
        };
        let lease = Lease::decode(bytes.as_slice()).unwrap_or_default();
        if lease.holder == self.holder {
            let _ = host.share(&name, b"", Some(version));
        }
    }

    fn answers_name(&self, key: &[u8]) -> Option<String> {
        let name = self.name.as_deref()?;
        Some(format!("{name}/answers/{}", hash(key) % ANSWERS))
    }

    fn lease_name(&self, slot: u64) -> Option<String> {
        let name = self.name.as_deref()?;
        Some(format!("{name}/leases/{slot}"))
    }
}

fn read_answers<H: Host>(host: &H, name: &str, key: &[u8]) -> Option<(Answers, u32)> {
    let (bytes, version) = host.shared(name).ok()?;
    let answers = Answers::decode(bytes.as_slice()).ok();
    // SECURITY: the slot is found by a hash that anybody can collide with; the key is compared whole.
    let ours = answers.filter(|answers| answers.key == key);
    Some((ours.unwrap_or_default(), version))
}

/// FNV-1a: the same in every VM.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
