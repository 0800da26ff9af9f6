//! `make bench`: what Attaché costs, each figure beside a floor that was measured in the same run.
//!
//! Variants take turns within a round, so that whatever else the machine does meets all of them alike. Every
//! answer is checked: a call that was not answered as it must be ends the run.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

pub mod chart;
pub mod check;

pub mod floor;
pub mod load;
pub mod progress;
pub mod results;
pub mod sets;
pub mod usage;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often each variant is measured.
    pub rounds: NonZeroUsize,
    /// How long each measurement takes.
    pub span: Duration,
    /// Numbers of policies.
    pub sizes: Vec<usize>,
    /// How many workloads call in turn.
    pub workloads: usize,
    /// Other servers to measure beside ours: name and unix socket or `HOST:PORT`.
    pub external: Vec<(String, String)>,
    /// Where results go.
    pub output: PathBuf,
}

impl Plan {
    /// All of it.
    pub fn whole(output: PathBuf) -> Self {
        Self {
            rounds: const { NonZeroUsize::new(7).unwrap() },
            span: Duration::from_secs(3),
            sizes: vec![10, 1_000, 100_000],
            workloads: 1_000,
            external: Vec::new(),
            output,
        }
    }

    /// Enough to see that everything answers as it must; its figures say little.
    pub fn quick(output: PathBuf) -> Self {
        Self {
            rounds: const { NonZeroUsize::new(2).unwrap() },
            span: Duration::from_millis(300),
            sizes: vec![10, 1_000],
            workloads: 50,
            external: Vec::new(),
            output,
        }
    }
}
