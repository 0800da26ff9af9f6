//! Access conditions as they are decided by: what each asks of a call, and until when its answer holds.

mod countries;
mod expression;
mod schedule;
mod source;

#[cfg(test)]
mod tests;

pub(crate) use countries::Countries;
pub(crate) use expression::{Expression, RefusedExpression};
pub(crate) use schedule::{Schedule, Window, day_number};
pub(crate) use source::Ranges;

use attache_core::{
    attestation::Attestation, event::ConditionOutcome, request::Request, scope::MAX_VALIDITY,
    time::Timestamp,
};

use crate::context::Context;

/// A condition with the qualified name of its document.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) name: Box<str>,
    pub(crate) test: Test,
}

/// What is asked.
#[derive(Debug)]
pub(crate) enum Test {
    /// When.
    Time(Schedule),
    /// From which addresses.
    Source(Ranges),
    /// From which countries.
    Geography(Countries),
    /// Anything.
    Expression(Box<Expression>),
}

/// All that a condition may read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) attestation: &'a Attestation,
    pub(crate) request: Request<'a>,
    pub(crate) context: Context<'a>,
    pub(crate) seen: Seen,
}

/// What of a call is a real call's. The rest stands for every call, and no expression may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// All of it.
    Whole,
    /// Its host and its port.
    Target,
    /// Its port.
    Port,
}

/// The answer of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) outcome: ConditionOutcome,
    pub(crate) horizon: Horizon,
}

/// How far an answer reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Horizon {
    /// The first moment at which it may be another.
    pub(crate) until: Timestamp,
    /// Whether it is about this call alone.
    pub(crate) once: bool,
}

impl<'a> Facts<'a> {
    /// The same of a caller of whom less counts, if `narrowed` says so.
    pub(crate) fn narrowed<'n>(&self, narrowed: Option<&'n Attestation>) -> Facts<'n>
    where
        'a: 'n,
    {
        Facts {
            attestation: narrowed.unwrap_or(self.attestation),
            ..*self
        }
    }
}

impl Condition {
    /// INVARIANT: what is read of a call beside host, port, method, path and time makes it `once`.
    pub(crate) fn read(&self, facts: &Facts<'_>) -> Reading {
        let once = Horizon {
            once: true,
            ..Horizon::longest(facts.context.now)
        };
        let (outcome, horizon) = match &self.test {
            Test::Time(schedule) => schedule.read(facts.context.now),
            Test::Source(ranges) => (ranges.read(facts.context.source), once),
            Test::Geography(countries) => countries.read(&facts.context, once),
            Test::Expression(expression) => (expression.read(facts), once),
        };
        Reading { outcome, horizon }
    }
}

impl Condition {
    /// How it stands to a caller of whom nothing is proven. An expression, which may ask what was, cannot be
    /// told.
    pub(crate) fn read_unproven(&self, context: &Context<'_>) -> ConditionOutcome {
        let once = Horizon {
            once: true,
            ..Horizon::longest(context.now)
        };
        match &self.test {
            Test::Time(schedule) => schedule.read(context.now).0,
            Test::Source(ranges) => ranges.read(context.source),
            Test::Geography(countries) => countries.read(context, once).0,
            Test::Expression(_) => ConditionOutcome::Unavailable,
        }
    }
}

impl Horizon {
    pub(crate) fn longest(now: Timestamp) -> Self {
        Self {
            until: now.plus(MAX_VALIDITY),
            once: false,
        }
    }

    /// Where both answers hold.
    pub(crate) fn narrowed(self, other: Self) -> Self {
        Self {
            until: self.until.min(other.until),
            once: self.once || other.once,
        }
    }
}

/// Whether a condition was decided to hold.
const fn met(holds: bool) -> ConditionOutcome {
    if holds {
        ConditionOutcome::Met
    } else {
        ConditionOutcome::NotMet
    }
}
