//! A measurement in turns: each variant asks for a moment, then the next one, many times over, and the sums count.
//!
//! What else a machine does changes within seconds. What is measured in one piece meets another machine than its floor
//! did; in turns both meet the same.

use std::{mem, time::Duration};

use anyhow::Result;

use super::{
    load::{self, Caller, Measured, per},
    usage::Since,
};

/// How many turns a measurement is made of.
pub(super) const TURNS: u32 = 10;

/// All of `variants`, each turn with another one first: what came before, and how long ago, is not the same for all.
pub(super) fn in_turn<T>(variants: &mut [T], turn: u32) -> impl Iterator<Item = &mut T> {
    let first = turn as usize % variants.len().max(1);
    let (last, begin) = variants.split_at_mut(first);
    begin.iter_mut().chain(last)
}

/// What the turns of one variant come to so far.
pub(super) struct Turns {
    measured: Measured,
    used: Option<Duration>,
}

impl Turns {
    /// None yet.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            measured: Measured::new()?,
            used: None,
        })
    }

    /// A turn, of `span` in all turns; the first number that no call had. Callers ask at `rate` calls a second or, if
    /// none is given, as fast as they are answered. What `process` takes for them counts.
    pub(super) async fn ask<C: Caller>(
        &mut self,
        callers: &mut [C],
        process: Option<u32>,
        rate: Option<f64>,
        span: Duration,
    ) -> Result<u64> {
        let span = span / TURNS;
        let since = process.map(Since::now).transpose()?;
        let measured = match rate {
            None => load::closed(callers, span).await?,
            Some(rate) => load::open(callers, rate, span).await?,
        };
        if let Some(since) = since {
            *self.used.get_or_insert_default() += since.used()?;
        }
        self.measured.follow(&measured)?;
        Ok(measured.next)
    }

    /// What they come to, and none from now on.
    pub(super) fn take(&mut self) -> Result<Self> {
        Ok(mem::replace(self, Self::new()?))
    }

    /// All of them.
    pub(super) const fn measured(&self) -> &Measured {
        &self.measured
    }

    /// Processor time a call, in microseconds, where it was counted.
    pub(super) fn cpu(&self) -> Option<f64> {
        let used = self.used?;
        Some(used.as_secs_f64() * 1e6 / per(self.measured.calls))
    }
}

#[cfg(test)]
mod tests;
