//! Load: callers that ask as fast as they are answered (closed loop), or at a fixed rate (open loop).
//!
//! In the open loop a call's latency counts from the moment at which it was due, not from when it was sent: a
//! server that stalls is charged for every call that it kept waiting (no coordinated omission).
#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is real time, by a clock finer than the runtime's"
)]

use std::{
    collections::VecDeque,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, future::try_join_all, stream::FuturesUnordered};
use hdrhistogram::Histogram;
use tokio::sync::mpsc;

/// Latencies beyond this are all the same.
const LONGEST: Duration = Duration::from_secs(60);

/// Makes calls, one after another, on a connection that stands. An answer that is not the right one is an error.
pub trait Caller: Send {
    /// Makes the call `number`; callers of one load share the numbers.
    fn call(&mut self, number: u64) -> impl Future<Output = Result<()>> + Send;
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// Answered calls.
    pub calls: u64,
    /// The first number that no call had: callers that are answered sooner are ahead of others.
    pub next: u64,
    /// From the first call to the last answer; pauses between turns left out.
    pub took: Duration,
    latencies: Histogram<u64>,
}

impl Measured {
    /// Nothing yet.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            calls: 0,
            next: 0,
            took: Duration::ZERO,
            latencies: Histogram::new_with_bounds(1, nanoseconds(LONGEST), 3)?,
        })
    }

    fn answered(&mut self, number: u64, latency: Duration) {
        self.calls += 1;
        self.next = self.next.max(number + 1);
        self.latencies
            .saturating_record(nanoseconds(latency).max(1));
    }

    fn join(&mut self, other: &Self) -> Result<()> {
        self.calls += other.calls;
        self.next = self.next.max(other.next);
        self.latencies.add(&other.latencies)?;
        Ok(())
    }

    /// Adds what was measured after it.
    pub(super) fn follow(&mut self, next: &Self) -> Result<()> {
        self.took += next.took;
        self.join(next)
    }

    /// Calls per second.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of calls is far below 2^52"
    )]
    pub fn throughput(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }

    /// The latency that `percent` of the calls did not exceed, in milliseconds.
    pub fn percentile(&self, percent: f64) -> f64 {
        Duration::from_nanos(self.latencies.value_at_percentile(percent)).as_secs_f64() * 1e3
    }
}

/// A count of calls, to divide by.
#[expect(
    clippy::cast_precision_loss,
    reason = "a count of calls is far below 2^52"
)]
pub fn per(calls: u64) -> f64 {
    calls.max(1) as f64
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Each caller asks again as soon as it was answered, for `span`.
pub async fn closed<C: Caller>(callers: &mut [C], span: Duration) -> Result<Measured> {
    ensure!(!callers.is_empty(), "nobody calls");
    let (began, step) = (Instant::now(), callers.len() as u64);
    let calling = callers
        .iter_mut()
        .zip(0_u64..)
        .map(async |(caller, first)| {
            let mut measured = Measured::new()?;
            let mut number = first;
            while began.elapsed() < span {
                let asked = Instant::now();
                caller.call(number).await?;
                measured.answered(number, asked.elapsed());
                number += step;
            }
            anyhow::Ok(measured)
        });
    let mut all = Measured::new()?;
    for measured in try_join_all(calling).await? {
        all.join(&measured)?;
    }
    all.took = began.elapsed();
    Ok(all)
}

/// Each of `count` calls once, as many at a time as there are callers.
pub async fn each_once<C: Caller>(callers: &mut [C], count: u64) -> Result<Measured> {
    ensure!(!callers.is_empty(), "nobody calls");
    let (began, step) = (Instant::now(), callers.len());
    let calling = callers
        .iter_mut()
        .zip(0_u64..)
        .map(async |(caller, first)| {
            let mut measured = Measured::new()?;
            for number in (first..count).step_by(step) {
                let asked = Instant::now();
                caller.call(number).await?;
                measured.answered(number, asked.elapsed());
            }
            anyhow::Ok(measured)
        });
    let mut all = Measured::new()?;
    for measured in try_join_all(calling).await? {
        all.join(&measured)?;
    }
    all.took = began.elapsed();
    Ok(all)
}

/// `rate` calls a second for `span`, whether or not earlier ones were answered. Calls that are due while every
/// caller waits are made as soon as one is free, and are charged for it.
pub async fn open<C: Caller>(callers: &mut [C], rate: f64, span: Duration) -> Result<Measured> {
    ensure!(!callers.is_empty(), "nobody calls");
    ensure!(rate > 0.0, "a rate of {rate} calls a second is none");
    let (due, mut dues) = mpsc::unbounded_channel();
    let began = Instant::now();
    let pacer = thread::spawn(move || pace(&due, began, rate, span));
    let mut idle: VecDeque<&mut C> = callers.iter_mut().collect();
    let (mut calling, mut waiting) = (FuturesUnordered::new(), VecDeque::new());
    let (mut measured, mut number, mut more) = (Measured::new()?, 0_u64, true);
    while more || !calling.is_empty() {
        tokio::select! {
            due = dues.recv(), if more => match due {
                Some(due) => waiting.push_back(due),
                None => more = false,
            },
            Some(answered) = calling.next(), if !calling.is_empty() => {
                let (caller, number, latency): (&mut C, u64, Result<Duration>) = answered;
                measured.answered(number, latency?);
                idle.push_back(caller);
            }
        }
        while !waiting.is_empty() {
            let Some(caller) = idle.pop_front() else {
                break;
            };
            let due: Instant = waiting.pop_front().context("a call is due")?;
            calling.push(async move {
                let outcome = caller.call(number).await;
                (caller, number, outcome.map(|()| due.elapsed()))
            });
            number += 1;
        }
    }
    measured.took = began.elapsed();
    let paced = pacer.join();
    ensure!(paced.is_ok(), "the pace was lost");
    Ok(measured)
}

/// Tells when calls are due. A thread of its own: the runtime's timers have a grain of a millisecond.
#[expect(
    clippy::cast_precision_loss,
    reason = "a count of calls is far below 2^52"
)]
fn pace(due: &mpsc::UnboundedSender<Instant>, began: Instant, rate: f64, span: Duration) {
    for number in 0_u64.. {
        let offset = Duration::from_secs_f64(number as f64 / rate);
        if offset >= span {
            return;
        }
        let moment = began + offset;
        thread::sleep(moment.saturating_duration_since(Instant::now()));
        if due.send(moment).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
