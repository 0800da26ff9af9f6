//! The group `inside`: what the parts of Attaché cost alone, in this process, by one caller that does one thing after
//! another; each beside the least that could do the same. Processor time of all threads is counted, so that work
//! that is handed on is charged as well.
#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is real time, by a clock finer than the runtime's"
)]

use std::{
    process,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{
    Plan,
    load::per,
    progress::tell,
    results::{Metric, Samples},
    usage::{self, Since},
};

mod audit;
mod policies;
mod tokens;

pub use policies::{HOLD, hold};

const GROUP: &str = "inside";

/// Something that is done again and again, and fails if it comes out wrong.
struct Work {
    name: String,
    /// The work that it is compared with.
    floor: Option<&'static str>,
    /// What is told of it.
    told: Told,
    run: Box<dyn FnMut() -> Result<()> + Send>,
}

/// What is told of a work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// How long it takes.
    Time,
    /// The same, and how often one core does it in a second.
    Rate,
    /// How long it takes, of which threads take a part that end with it.
    Threads,
}

impl Work {
    fn new(
        name: impl Into<String>,
        floor: Option<&'static str>,
        told: Told,
        run: impl FnMut() -> Result<()> + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            floor,
            told,
            run: Box::new(run),
        }
    }

    fn measure(&mut self, span: Duration, samples: &mut Samples) -> Result<()> {
        let with_ended = || usage::processor_with_ended(process::id());
        let (since, before) = (Since::now(process::id())?, with_ended()?);
        let began = Instant::now();
        let (mut times, mut batch) = (0_u64, 1_u64);
        while began.elapsed() < span {
            for _ in 0..batch {
                (self.run)().with_context(|| self.name.clone())?;
            }
            times += batch;
            // Reading the clock must not be a part of what is measured.
            batch = (times / 8).clamp(1, 1024);
        }
        let took = began.elapsed();
        let busy = match self.told {
            Told::Time | Told::Rate => since.used()?,
            Told::Threads => with_ended()?.saturating_sub(before),
        };
        let each = |whole: Duration| whole.as_secs_f64() * 1e6 / per(times);
        let tag = (GROUP, self.name.as_str(), self.floor);
        samples.note(tag, Metric::Time, each(took));
        samples.note(tag, Metric::Cpu, each(busy));
        if self.told == Told::Rate {
            samples.note(tag, Metric::Throughput, per(times) / busy.as_secs_f64());
        }
        Ok(())
    }
}

/// All works of the group, floors before those that are compared with them.
pub struct Bench {
    works: Vec<Work>,
    /// Numbers of policies.
    sizes: Vec<usize>,
    _directory: TempDir,
}

impl Bench {
    /// Prepares everything.
    pub async fn open(plan: &Plan) -> Result<Self> {
        tell("preparing policies, keys, tokens and a journal");
        let directory = tempfile::tempdir()?;
        let mut works = policies::works(plan).await?;
        works.extend(tokens::works(directory.path()).await?);
        works.extend(audit::works(directory.path())?);
        Ok(Self {
            works,
            sizes: plan.sizes.clone(),
            _directory: directory,
        })
    }

    /// Measures every work once, in turn.
    pub async fn round(mut self, plan: &Plan, mut samples: Samples) -> Result<(Self, Samples)> {
        for &size in &self.sizes {
            let name = format!("policies-{size}");
            let held = policies::held(size).await?;
            samples.note((GROUP, &name, None), Metric::Rss, held);
        }
        // Works wait for futures of their own, which they may not on a thread that runs those of others.
        let span = plan.span / 4;
        let measured = spawn_blocking(move || {
            for work in &mut self.works {
                work.measure(span, &mut samples)?;
            }
            anyhow::Ok((self, samples))
        });
        measured.await?
    }
}

/// Runs a future to its end, on a thread that may wait.
fn wait<F: Future>(runtime: &Handle, future: F) -> F::Output {
    runtime.block_on(future)
}
