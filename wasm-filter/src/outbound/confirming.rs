//! After the edge's revision changed: answers of the older one serve for a second more, unless the edge confirms
//! them, many in one call.

use std::rc::Rc;

use attache_core::time::Timestamp;
use attache_proto::token::v1::{KeptAnswer, RevalidateRequest, RevalidateResponse};
use prost::Message as _;

use super::{GRACE, Outbound, kept::Kept};
use crate::{
    bundles::{PROTOCOL, TOKENS},
    host::{Buffer, Host, Method},
};

/// Most answers of one call.
const BATCH: usize = 64;
const MAX_ANSWER: usize = 1024 * 1024;

/// Answers that the edge is asked to confirm.
pub(super) struct Confirming {
    call: u32,
    kept: Vec<Rc<Kept>>,
}

impl Outbound {
    /// Marks what another revision answered, and asks whether it still holds.
    pub(super) fn on_revision<H: Host>(&mut self, host: &H, now: Timestamp) {
        let revision = self.watch.revision();
        for kept in self.answers.all() {
            if revision.is_some_and(|revision| revision != kept.revision) {
                kept.mark_stale(now);
            }
        }
        self.confirm(host, now);
    }

    /// Asks about everything that is stale and may be confirmed.
    #[inline(never)]
    pub(super) fn confirm<H: Host>(&mut self, host: &H, now: Timestamp) {
        self.unconfirmed = false;
        let asked = |kept: &Rc<Kept>| {
            let mut asked = self
                .confirming
                .iter()
                .flat_map(|confirming| &confirming.kept);
            asked.any(|other| Rc::ptr_eq(other, kept))
        };
        let stale: Vec<Rc<Kept>> = self
            .answers
            .all()
            .filter(|kept| kept.is_stale() && kept.holds_at(now) && !asked(kept))
            .cloned()
            .collect();
        for kept in stale.chunks(BATCH) {
            let request = RevalidateRequest {
                protocol: PROTOCOL,
                kept: kept.iter().map(|kept| told(kept)).collect(),
            };
            let method = Method {
                cluster: &self.plan.settings.edge,
                service: TOKENS,
                method: "Revalidate",
            };
            // What is not confirmed within the second is dropped; an answer after it is of no use.
            if let Ok(call) = host.call(method, &request.encode_to_vec(), GRACE) {
                let kept = kept.to_vec();
                self.confirming.push(Confirming { call, kept });
            }
        }
    }

    /// Takes what the edge confirmed; `false` if the token is none of ours.
    #[inline(never)]
    pub(super) fn on_confirmed<H: Host>(&mut self, host: &H, token: u32, now: Timestamp) -> bool {
        let Some(Confirming { kept, .. }) = self.take_confirming(token) else {
            return false;
        };
        let bytes = host.bytes(Buffer::GrpcMessage, MAX_ANSWER);
        let answer = RevalidateResponse::decode(bytes.as_slice()).ok();
        let whole = answer.filter(|answer| answer.answers.len() == kept.len());
        let Some(answer) = whole else {
            return true;
        };
        for (kept, found) in kept.iter().zip(&answer.answers) {
            let confirmed = found
                .confirmed
                .then(|| kept.confirmed(found, &answer.revision, &self.plan));
            self.answers.forget(kept);
            if let Some(confirmed) = confirmed.flatten() {
                self.take_in(host, &Rc::new(confirmed), now);
            }
        }
        true
    }

    /// The edge did not say; `false` if the token is none of ours.
    pub(super) fn on_unconfirmed(&mut self, token: u32) -> bool {
        // They end by themselves when their second is over.
        self.take_confirming(token).is_some()
    }

    fn take_confirming(&mut self, token: u32) -> Option<Confirming> {
        let mut all = self.confirming.iter();
        let index = all.position(|confirming| confirming.call == token)?;
        Some(self.confirming.swap_remove(index))
    }

    /// Forgets what no longer holds.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let over: Vec<Rc<Kept>> = self
            .answers
            .all()
            .filter(|kept| !kept.holds_at(now))
            .cloned()
            .collect();
        for kept in over {
            self.answers.forget(&kept);
        }
    }
}

fn told(kept: &Kept) -> KeptAnswer {
    KeptAnswer {
        lease: kept.lease.to_vec(),
        evidence: kept.question.evidence.clone(),
    }
}
