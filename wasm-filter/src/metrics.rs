//! What the filter counts: `wasmcustom.attache_…` among Envoy's statistics.

use core::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::host::{Host, MetricKind};

/// Most codes that are counted apart: the edge's are its word.
const MOST_CODES: usize = 256;

/// What is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// A request was answered from memory.
    Hit,
    /// A request waited for the edge.
    Miss,
    /// An answer's successor was asked for ahead of its end.
    Refresh,
    /// A request went to a cluster that is no target.
    Elsewhere,
    /// An access had no room in the ring.
    Lost,
    /// A token request went on with a client assertion.
    Assertion,
}

/// Their names behind `attache_outbound_` or `attache_inbound_`, in the order of [`Count`].
const COUNTS: [&str; 6] = [
    "hits",
    "misses",
    "refreshes",
    "elsewhere",
    "accesses_lost",
    "assertions",
];

/// The metrics of one plugin.
#[derive(Default)]
pub(crate) struct Metrics {
    counts: Vec<(u32, Cell<i64>)>,
    ring: Option<u32>,
    refused: RefCell<HashMap<String, u32>>,
}

impl Metrics {
    /// Defines those that are known beforehand.
    pub(crate) fn define<H: Host>(host: &H, way: &str) -> Self {
        let counts = COUNTS.iter().map(|name| {
            let name = format!("attache_{way}_{name}");
            let metric = host.define(MetricKind::Counter, &name);
            (metric.unwrap_or(u32::MAX), Cell::new(0))
        });
        Self {
            counts: counts.collect(),
            ring: host
                .define(MetricKind::Gauge, &format!("attache_{way}_ring_bytes"))
                .ok(),
            refused: RefCell::default(),
        }
    }

    /// Counts; Envoy is told by [`Self::flush`], for each telling costs a call.
    pub(crate) fn count(&self, count: Count) {
        if let Some((_, so_far)) = self.counts.get(count as usize) {
            so_far.set(so_far.get().saturating_add(1));
        }
    }

    /// Tells Envoy what was counted since the last time.
    pub(crate) fn flush<H: Host>(&self, host: &H) {
        for (metric, so_far) in &self.counts {
            match so_far.take() {
                0 => {}
                some => host.increment(*metric, some),
            }
        }
    }

    /// How full the ring is, in bytes.
    pub(crate) fn ring<H: Host>(&self, host: &H, bytes: usize) {
        if let Some(metric) = self.ring {
            host.record(metric, u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }

    /// A request ended here, for the reason of this code.
    pub(crate) fn refused<H: Host>(&self, host: &H, code: &str) {
        let mut refused = self.refused.borrow_mut();
        let known = refused.get(code).copied();
        let metric = known.or_else(|| {
            let plain = |byte: char| byte.is_ascii_alphanumeric() || byte == '-';
            if refused.len() >= MOST_CODES || code.len() > 64 || !code.chars().all(plain) {
                return None;
            }
            let name = format!("attache_refused_{}", code.replace('-', "_"));
            let metric = host.define(MetricKind::Counter, &name).ok()?;
            refused.insert(code.to_owned(), metric);
            Some(metric)
        });
        if let Some(metric) = metric {
            host.increment(metric, 1);
        }
    }
}
