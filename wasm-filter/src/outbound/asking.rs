//! Asking the edge: one call for all that wait for the same answer, and what becomes of them when it comes or
//! does not.

use std::rc::Rc;

use attache_core::{decision::Fault, time::Timestamp};
use attache_proto::token::v1::{Decision, FetchRequest, FetchResponse};
use prost::Message as _;

use super::{
    Outbound,
    flights::{Elsewhere, Flight, Kind, Question, Waiter},
    kept::{Does, Kept},
    seen::Seen,
    shared::Turn,
};
use crate::{
    bundles::{PROTOCOL, TOKENS},
    host::{Attribute, Buffer, ContextId, Host, Level, Method},
    inbound::{Verdict, broken},
    refusal::Refusal,
};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024;
/// After how many answers that were none for it a request is asked about by itself.
const MOST_ROUNDS: u8 = 2;

impl Outbound {
    /// Has the request that runs wait for an answer that may be for others, too.
    pub(super) fn ask<H: Host>(
        &mut self,
        host: &H,
        waiter: Waiter,
        now: Timestamp,
    ) -> Result<Verdict, Refusal> {
        if self.flights.full() {
            return Err(Refusal::fault(Fault::Overloaded));
        }
        let plan = Rc::clone(&self.plan);
        let seen = Seen::read(&plan, &waiter).ok_or_else(broken)?;
        if seen.request().is_none() {
            drop(seen);
            return self.ask_alone(host, waiter);
        }
        let key = seen.key().into_owned();
        if let Some(waiting) = self.flights.shared(&key) {
            drop(seen);
            waiting.push(waiter);
            return Ok(Verdict::Wait);
        }
        let question = Rc::new(seen.question(key));
        drop(seen);
        match self.answers.shared.turn(host, &question.key, now) {
            Turn::Theirs => {
                self.flights.elsewhere.push(Elsewhere {
                    question,
                    waiting: vec![waiter],
                    since: now,
                });
                self.as_plugin(host, || host.tick_every(Self::QUICK_TICK));
            }
            Turn::Ours(lease) => {
                self.start(host, Kind::Shared, &question, vec![waiter], lease)?;
            }
        }
        Ok(Verdict::Wait)
    }

    /// Asks about one request, with all that a policy may read of it.
    pub(super) fn ask_alone<H: Host>(
        &mut self,
        host: &H,
        waiter: Waiter,
    ) -> Result<Verdict, Refusal> {
        if self.flights.full() {
            return Err(Refusal::fault(Fault::Overloaded));
        }
        let plan = Rc::clone(&self.plan);
        let seen = Seen::read(&plan, &waiter).ok_or_else(broken)?;
        let mut question = seen.question(seen.key().into_owned());
        question.call.details = Some(seen.details(source(host)));
        drop(seen);
        self.start(host, Kind::Single, &Rc::new(question), vec![waiter], None)?;
        Ok(Verdict::Wait)
    }

    pub(super) fn start<H: Host>(
        &mut self,
        host: &H,
        kind: Kind,
        question: &Rc<Question>,
        waiting: Vec<Waiter>,
        lease: Option<usize>,
    ) -> Result<(), Refusal> {
        let request = FetchRequest {
            protocol: PROTOCOL,
            purpose: self.plan.asked_for().into(),
            evidence: question.evidence.clone(),
            call: Some(question.call.clone()),
        };
        let method = Method {
            cluster: &self.plan.settings.edge,
            service: TOKENS,
            method: "Fetch",
        };
        let patience = self.plan.settings.patience;
        let called = self.as_plugin(host, || {
            host.call(method, &request.encode_to_vec(), patience)
        });
        match called {
            Ok(call) => {
                let asker = waiting.first().map(|waiter| waiter.stream);
                self.flights.add(Flight {
                    call,
                    kind,
                    question: Rc::clone(question),
                    asker,
                    waiting,
                    lease,
                });
                Ok(())
            }
            Err(_failure) => {
                self.answers.shared.give_back(host, lease);
                Err(edge_unavailable())
            }
        }
    }

    /// Makes what `work` does be done for the plugin, not for the request that runs.
    pub(super) fn as_plugin<H: Host, T>(&self, host: &H, work: impl FnOnce() -> T) -> T {
        // Without it the call would end with the request that happens to be first.
        let acting = host.act_as(self.plugin);
        let done = work();
        if acting.is_ok() {
            let _ = host.act_as(self.running.get());
        }
        done
    }

    /// An answer came; `false` if the token is of no question.
    #[inline(never)]
    pub(super) fn on_answer<H: Host>(&mut self, host: &H, token: u32, now: Timestamp) -> bool {
        let Some(flight) = self.flights.take(token) else {
            return false;
        };
        let bytes = host.bytes(Buffer::GrpcMessage, MAX_ANSWER);
        match FetchResponse::decode(bytes.as_slice()) {
            Ok(response) if response.decision() != Decision::Unspecified => {
                self.settle(host, flight, &Rc::new(response), now);
            }
            Ok(_) | Err(_) => {
                host.log(
                    Level::Warn,
                    "attache: the edge's answer to Fetch cannot be read",
                );
                self.give_up(host, flight);
            }
        }
        true
    }

    /// A question failed; `false` if the token is of none.
    pub(super) fn on_no_answer<H: Host>(&mut self, host: &H, token: u32) -> bool {
        let Some(flight) = self.flights.take(token) else {
            return false;
        };
        self.give_up(host, flight);
        true
    }

    fn give_up<H: Host>(&mut self, host: &H, flight: Flight) {
        self.answers.shared.give_back(host, flight.lease);
        self.end_all(host, flight.waiting);
    }

    fn end_all<H: Host>(&mut self, host: &H, waiting: Vec<Waiter>) {
        for waiter in waiting {
            self.end(host, waiter.stream, Err(edge_unavailable()));
        }
    }

    #[inline(never)]
    fn settle<H: Host>(
        &mut self,
        host: &H,
        flight: Flight,
        response: &Rc<FetchResponse>,
        now: Timestamp,
    ) {
        let kept = Kept::of(response, &flight.question, &self.plan).map(Rc::new);
        if let Some(kept) = &kept {
            self.take_in(host, kept, now);
        }
        self.answers.shared.give_back(host, flight.lease);
        let details_needed = response.decision() == Decision::DetailsNeeded;
        let assertion_needed = response.decision() == Decision::AssertionNeeded;
        if details_needed && flight.kind == Kind::Single {
            // It had them.
            return self.end_all(host, flight.waiting);
        }
        let broken = response.decision() == Decision::Unavailable;
        for waiter in flight.waiting {
            let asked = flight.asker == Some(waiter.stream);
            if host.act_as(waiter.stream).is_err() {
                continue;
            }
            self.running.set(waiter.stream);
            if asked && (details_needed || assertion_needed) {
                let stream = waiter.stream;
                let goes_on = if details_needed {
                    self.ask_alone(host, waiter)
                } else {
                    self.expect_form(host, waiter)
                };
                if let Err(refusal) = goes_on {
                    self.end(host, stream, Err(refusal));
                }
            } else if asked {
                let outcome = self.give_own(host, &waiter, response, kept.as_ref());
                self.end(host, waiter.stream, outcome);
            } else if broken {
                let refusal = Refusal::of_edge(503, response);
                self.end(host, waiter.stream, Err(refusal));
            } else {
                self.try_again(host, waiter, now);
            }
        }
    }

    /// Keeps an answer; one of another state than the one that was heard last must be confirmed.
    pub(super) fn take_in<H: Host>(&mut self, host: &H, kept: &Rc<Kept>, now: Timestamp) {
        if self
            .watch
            .revision()
            .is_some_and(|revision| revision != kept.revision)
        {
            kept.mark_stale(now);
            self.unconfirmed = true;
        }
        self.answers.keep(host, kept);
    }

    /// Gives the one who asked its answer, kept or not.
    fn give_own<H: Host>(
        &mut self,
        host: &H,
        waiter: &Waiter,
        response: &FetchResponse,
        kept: Option<&Rc<Kept>>,
    ) -> Result<(), Refusal> {
        let plan = Rc::clone(&self.plan);
        let seen = Seen::read(&plan, waiter).ok_or_else(broken)?;
        if let Some(kept) = kept {
            return self.give(host, waiter, &seen, kept);
        }
        match Does::of(response, &plan) {
            Does::Pass(passing) => self.let_pass(host, waiter, &seen, &passing),
            Does::Refuse(refusal) => Err(refusal),
            Does::NeedsDetails | Does::NeedsAssertion => Err(edge_unavailable()),
        }
    }

    /// Looks for an answer to a request that waited, or asks more narrowly.
    fn try_again<H: Host>(&mut self, host: &H, mut waiter: Waiter, now: Timestamp) {
        waiter.rounds = waiter.rounds.saturating_add(1);
        let stream = waiter.stream;
        match self.once_more(host, waiter, now) {
            Ok(Verdict::Pass) => self.end(host, stream, Ok(())),
            Ok(Verdict::Wait) => {}
            Ok(Verdict::Refuse(refusal)) | Err(refusal) => self.end(host, stream, Err(refusal)),
        }
    }

    #[inline(never)]
    fn once_more<H: Host>(
        &mut self,
        host: &H,
        waiter: Waiter,
        now: Timestamp,
    ) -> Result<Verdict, Refusal> {
        let plan = Rc::clone(&self.plan);
        let seen = Seen::read(&plan, &waiter).ok_or_else(broken)?;
        let revision = self.watch.revision();
        if let Some(kept) = self.answers.find(host, &plan, &seen, revision, now) {
            if matches!(kept.does, Does::NeedsDetails) {
                drop(seen);
                return self.ask_alone(host, waiter);
            }
            if matches!(kept.does, Does::NeedsAssertion) {
                drop(seen);
                return self.expect_form(host, waiter);
            }
            self.give(host, &waiter, &seen, &kept)?;
            return Ok(Verdict::Pass);
        }
        if waiter.rounds >= MOST_ROUNDS {
            drop(seen);
            return self.ask_alone(host, waiter);
        }
        let question = seen.question(seen.key().into_owned());
        drop(seen);
        if let Some(waiting) = self.flights.alike(&question.key, &question.call) {
            waiting.push(waiter);
            return Ok(Verdict::Wait);
        }
        self.start(host, Kind::Alike, &Rc::new(question), vec![waiter], None)?;
        Ok(Verdict::Wait)
    }

    /// Lets a request that waited go on, or answers it.
    pub(super) fn end<H: Host>(
        &mut self,
        host: &H,
        stream: ContextId,
        outcome: Result<(), Refusal>,
    ) {
        self.forms.forget(stream);
        // It may be gone.
        if host.act_as(stream).is_err() {
            return;
        }
        let told = match outcome {
            Ok(()) => host.resume(),
            Err(refusal) => self.refused(host, refusal).answer(host),
        };
        if told.is_err() {
            host.log(
                Level::Error,
                "attache: Envoy did not go on with a request that waited",
            );
        }
    }
}

/// Where the request that runs comes from.
pub(super) fn source<H: Host>(host: &H) -> String {
    let source = host.property(Attribute::SOURCE).unwrap_or_default();
    String::from_utf8(source).unwrap_or_default()
}

pub(super) fn edge_unavailable() -> Refusal {
    Refusal::unavailable(
        "edge-unavailable",
        "the edge that decides cannot be reached; try again",
    )
}
