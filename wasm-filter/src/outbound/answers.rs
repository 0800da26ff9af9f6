//! Kept answers: those of this VM, and behind them those that the VMs share.

use std::rc::Rc;

use attache_core::time::Timestamp;
use attache_proto::token::v1::{FetchResponse, Scope};
use prost::Message as _;

use super::{
    flights::Question,
    kept::Kept,
    seen::{Plan, Seen},
    shared::{self, Shared},
};
use crate::{host::Host, memory::Memory};

/// Most answers of one caller to one target.
const MOST: usize = 16;

/// All kept answers.
pub(super) struct Answers {
    kept: Memory<Vec<u8>, Vec<Rc<Kept>>>,
    pub(super) shared: Shared,
}

impl Answers {
    pub(super) fn new(memory: usize, shared: Shared) -> Self {
        Self {
            kept: Memory::of_bytes(memory),
            shared,
        }
    }

    /// The answer to a request, if one is kept.
    pub(super) fn find<H: Host>(
        &mut self,
        host: &H,
        plan: &Plan,
        seen: &Seen<'_>,
        revision: Option<&str>,
        now: Timestamp,
    ) -> Option<Rc<Kept>> {
        let request = seen.request()?;
        let key = seen.key();
        let kept = self.kept.look(&*key, |kept| {
            let found = kept.iter().find(|kept| kept.answers(&request, now));
            found.map(Rc::clone)
        });
        if let Some(found) = kept.flatten() {
            return Some(found);
        }
        let others = self.shared.answers(host, &key);
        let mut found = None;
        for answer in others {
            let kept = from_others(&answer, &key, plan).filter(|kept| {
                // What another VM kept under another state than ours is not confirmed for us.
                kept.holds_at(now) && revision.is_none_or(|ours| ours == kept.revision)
            });
            let Some(kept) = kept.map(Rc::new) else {
                continue;
            };
            if kept.answers(&request, now) {
                found = Some(Rc::clone(&kept));
            }
            self.put(kept);
        }
        found
    }

    /// Keeps an answer, here and for the other VMs.
    #[inline(never)]
    pub(super) fn keep<H: Host>(&mut self, host: &H, kept: &Rc<Kept>) {
        let question = &kept.question;
        let answer = shared::Answer {
            response: kept.response.encode_to_vec(),
            call: Some(question.call.clone()),
            evidence: question.evidence.clone(),
        };
        let ours = kept.response.scope.as_ref();
        self.shared.keep(host, &question.key, &answer, |other| {
            let other = FetchResponse::decode(other.response.as_slice()).ok();
            let other = other.and_then(|response| response.scope);
            alike(ours, other.as_ref())
        });
        self.put(Rc::clone(kept));
    }

    #[inline(never)]
    fn put(&mut self, kept: Rc<Kept>) {
        let key = kept.question.key.clone();
        let mut list = self.kept.take(key.as_slice()).unwrap_or_default();
        list.retain(|other| !kept.replaces(other));
        list.insert(0, kept);
        list.truncate(MOST);
        self.set(key, list);
    }

    /// Forgets an answer.
    pub(super) fn forget(&mut self, kept: &Rc<Kept>) {
        let key = &kept.question.key;
        if let Some(mut list) = self.kept.take(key.as_slice()) {
            list.retain(|other| !Rc::ptr_eq(other, kept));
            self.set(key.clone(), list);
        }
    }

    fn set(&mut self, key: Vec<u8>, list: Vec<Rc<Kept>>) {
        if list.is_empty() {
            return;
        }
        let sizes = list.iter().map(|kept| kept.size());
        let size = sizes.fold(key.len(), usize::saturating_add);
        self.kept.insert(key, list, size);
    }

    /// All answers of this VM.
    pub(super) fn all(&self) -> impl Iterator<Item = &Rc<Kept>> {
        self.kept.values().flatten()
    }

    /// The successor of an answer, if another VM fetched it.
    pub(super) fn successor<H: Host>(
        &mut self,
        host: &H,
        plan: &Plan,
        kept: &Kept,
        revision: Option<&str>,
        now: Timestamp,
    ) -> bool {
        let key = &kept.question.key;
        let others = self.shared.answers(host, key);
        let newer = others.iter().find_map(|answer| {
            let other = from_others(answer, key, plan)?;
            let fits = other.replaces(kept) && !other.is_due(now);
            let current = revision.is_none_or(|ours| ours == other.revision);
            (fits && current && other.holds_at(now)).then_some(other)
        });
        let found = newer.is_some();
        if let Some(newer) = newer {
            newer.mark_used();
            self.put(Rc::new(newer));
        }
        found
    }
}

fn from_others(answer: &shared::Answer, key: &[u8], plan: &Plan) -> Option<Kept> {
    let response = FetchResponse::decode(answer.response.as_slice()).ok()?;
    let question = Question {
        key: key.to_vec(),
        evidence: answer.evidence.clone(),
        call: answer.call.clone()?,
    };
    Kept::of(&Rc::new(response), &Rc::new(question), plan)
}

/// Whether two scopes are of the same requests, whenever they hold.
fn alike(one: Option<&Scope>, other: Option<&Scope>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return false;
    };
    let timeless = |scope: &Scope| Scope {
        from: 0,
        until: 0,
        ..scope.clone()
    };
    timeless(one) == timeless(other)
}
