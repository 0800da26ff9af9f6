//! Questions that the edge is being asked, and the requests that wait for each.

use std::rc::Rc;

use attache_core::time::Timestamp;
use attache_proto::token::v1::{Call, Evidence};
use prost::Message as _;

use crate::host::ContextId;

/// Most requests that wait at once in one VM, and most bytes of their headers.
const MOST_WAITING: usize = 8192;
const MOST_BYTES: usize = 32 << 20;

/// What the edge is asked, but for details.
pub(super) struct Question {
    pub(super) key: Vec<u8>,
    pub(super) evidence: Option<Evidence>,
    pub(super) call: Call,
}

impl Question {
    pub(super) fn size(&self) -> usize {
        let evidence = self.evidence.as_ref().map_or(0, Evidence::encoded_len);
        let size = self.key.len().saturating_add(evidence);
        size.saturating_add(self.call.encoded_len())
    }
}

/// A request that waits.
pub(super) struct Waiter {
    pub(super) stream: ContextId,
    /// The target that its cluster is bound to.
    pub(super) target: Option<usize>,
    /// Its header as it came: on the way in, what must not go on was removed already.
    pub(super) serialised: Vec<u8>,
    pub(super) principal: String,
    /// What the caller of the service behind the proxy showed.
    pub(super) shown: Option<Shown>,
    /// When it came, in microseconds since 1970.
    pub(super) began_at: i64,
    /// How often an answer was none for it.
    pub(super) rounds: u8,
}

/// A caller's token, which was verified here, and who it proves.
pub(crate) struct Shown {
    pub(crate) token: Vec<u8>,
    pub(crate) caller: String,
}

/// For whom a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For all requests of a caller to a target, in the hope that one answer is for all.
    Shared,
    /// For all requests with one method and path.
    Alike,
    /// For one request, with its details.
    Single,
    /// For none: an answer's successor.
    Ahead,
}

/// A question on its way.
pub(super) struct Flight {
    pub(super) call: u32,
    pub(super) kind: Kind,
    pub(super) question: Rc<Question>,
    /// The request that it is the very question of.
    pub(super) asker: Option<ContextId>,
    pub(super) waiting: Vec<Waiter>,
    /// The slot of the lease that is held for it.
    pub(super) lease: Option<usize>,
}

/// A question that another VM asks.
pub(super) struct Elsewhere {
    pub(super) question: Rc<Question>,
    pub(super) waiting: Vec<Waiter>,
    pub(super) since: Timestamp,
}

/// All of them.
#[derive(Default)]
pub(super) struct Flights {
    flights: Vec<Flight>,
    pub(super) elsewhere: Vec<Elsewhere>,
}

impl Flights {
    /// Whether no more requests may wait.
    pub(super) fn full(&self) -> bool {
        let waiting = self.flights.iter().map(|flight| &flight.waiting);
        let waiting = waiting.chain(self.elsewhere.iter().map(|elsewhere| &elsewhere.waiting));
        let (count, bytes) =
            waiting
                .flatten()
                .fold((0_usize, 0_usize), |(count, bytes), waiter| {
                    (
                        count.saturating_add(1),
                        bytes.saturating_add(waiter.serialised.len()),
                    )
                });
        count >= MOST_WAITING || bytes >= MOST_BYTES
    }

    /// The flight whose answer may be for a request of this key.
    pub(super) fn shared(&mut self, key: &[u8]) -> Option<&mut Vec<Waiter>> {
        let flights = self.flights.iter_mut();
        let mut shared = flights
            .filter(|flight| flight.kind == Kind::Shared && flight.question.key == key)
            .map(|flight| &mut flight.waiting);
        let mut elsewhere = self
            .elsewhere
            .iter_mut()
            .filter(|elsewhere| elsewhere.question.key == key)
            .map(|elsewhere| &mut elsewhere.waiting);
        shared.next().or_else(|| elsewhere.next())
    }

    /// The flight that asks the very same.
    pub(super) fn alike(&mut self, key: &[u8], call: &Call) -> Option<&mut Vec<Waiter>> {
        let mut flights = self.flights.iter_mut();
        let same = flights.find(|flight| {
            flight.kind == Kind::Alike
                && flight.question.key == key
                && flight.question.call == *call
        });
        same.map(|flight| &mut flight.waiting)
    }

    /// Whether a successor of this question's answer is on its way.
    pub(super) fn ahead(&self, question: &Rc<Question>) -> bool {
        let mut flights = self.flights.iter();
        flights.any(|flight| flight.kind == Kind::Ahead && Rc::ptr_eq(&flight.question, question))
    }

    pub(super) fn add(&mut self, flight: Flight) {
        self.flights.push(flight);
    }

    pub(super) fn take(&mut self, call: u32) -> Option<Flight> {
        let index = self.flights.iter().position(|flight| flight.call == call)?;
        Some(self.flights.swap_remove(index))
    }

    /// A request is over: it waits for nothing any more.
    pub(super) fn forget(&mut self, stream: ContextId) {
        // The one who asked may be gone; the question stays, for the others.
        for flight in &mut self.flights {
            flight.waiting.retain(|waiter| waiter.stream != stream);
        }
        for elsewhere in &mut self.elsewhere {
            elsewhere.waiting.retain(|waiter| waiter.stream != stream);
        }
    }
}
