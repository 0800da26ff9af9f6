//! `make bench`: what Attaché costs, each figure beside a floor that was measured in the same run.
//!
//! Variants take turns within a round (`turns`), so that whatever else the machine does meets all of them alike.
//! Every answer is checked: a call that was not answered as it must be ends the run.

use std::{num::NonZeroUsize, path::PathBuf, str::FromStr, time::Duration};

use anyhow::Result;

mod asker;
mod at_once;
pub mod chart;
pub mod check;
pub mod envoy;
pub mod floor;
pub mod inside;
pub mod load;
pub mod memory;
pub mod progress;
mod proxy;
pub mod results;
pub mod sets;
mod turns;
pub mod usage;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `Check` calls.
    Check,
    /// Requests through Envoy.
    Envoy,
    /// The parts of Attaché, each alone.
    Inside,
    /// What runs take of memory, of disk and of time to start.
    Memory,
}

impl Group {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 4] = [Self::Check, Self::Envoy, Self::Inside, Self::Memory];
}

impl FromStr for Group {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "check" => Ok(Self::Check),
            "envoy" => Ok(Self::Envoy),
            "inside" => Ok(Self::Inside),
            "memory" => Ok(Self::Memory),
            other => {
                anyhow::bail!("{other}: no such group; there are check, envoy, inside and memory")
            }
        }
    }
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of what.
    pub groups: Vec<Group>,
    /// Of the group, `check` or `envoy`, these variants alone, beside those that they are compared with; all, if none
    /// is named.
    pub variants: Vec<String>,
    /// Another build of Attaché, measured in turn with this one in the group `check`.
    pub beside: Option<PathBuf>,
    /// How often each variant is measured.
    pub rounds: NonZeroUsize,
    /// How long each measurement takes.
    pub span: Duration,
    /// Numbers of policies.
    pub sizes: Vec<usize>,
    /// How many workloads call in turn.
    pub workloads: usize,
    /// How many requests memory must outlast.
    pub requests: u64,
    /// Other servers to measure beside ours: name and unix socket or `HOST:PORT`.
    pub external: Vec<(String, String)>,
    /// Where results go.
    pub output: PathBuf,
}

impl Plan {
    /// All of it.
    pub fn whole(output: PathBuf) -> Self {
        Self {
            groups: Group::ALL.to_vec(),
            variants: Vec::new(),
            beside: None,
            rounds: const { NonZeroUsize::new(7).unwrap() },
            span: Duration::from_secs(3),
            sizes: vec![10, 1_000, 100_000],
            workloads: 1_000,
            requests: 1_000_000,
            external: Vec::new(),
            output,
        }
    }

    /// Enough to see that everything answers as it must; its figures say little.
    pub fn quick(output: PathBuf) -> Self {
        Self {
            groups: Group::ALL.to_vec(),
            variants: Vec::new(),
            beside: None,
            rounds: const { NonZeroUsize::new(2).unwrap() },
            span: Duration::from_millis(300),
            sizes: vec![10, 1_000],
            workloads: 50,
            requests: 2_000,
            external: Vec::new(),
            output,
        }
    }

    /// What the release build is profiled by: every kind of call, and no figures.
    pub fn training(output: PathBuf) -> Self {
        Self {
            groups: vec![Group::Check],
            workloads: 200,
            ..Self::quick(output)
        }
    }
}
