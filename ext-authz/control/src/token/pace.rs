//! How many requests one address may make: a bucket for each that fills at the rate and holds two seconds
//! of it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

/// Addresses that are remembered. One whose bucket is full again is forgotten when room is needed.
const MAX_ADDRESSES: usize = 8192;
/// Seconds of the rate that may come at once.
const BURST_SECONDS: f64 = 2.0;

pub(super) struct Pace {
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second),
            buckets: Mutex::default(),
        }
    }

    /// Whether a request of `from` is taken at `now`.
    pub(super) fn admits(&self, from: IpAddr, now: Instant) -> bool {
        let whole = self.per_second * BURST_SECONDS;
        let filled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            since.mul_add(self.per_second, bucket.left).min(whole)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&from) {
            buckets.retain(|_, bucket| filled(bucket) < whole);
            if buckets.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let bucket = buckets.entry(from).or_insert(Bucket {
            left: whole,
            at: now,
        });
        let left = filled(bucket);
        let admitted = left >= 1.0;
        *bucket = Bucket {
            left: if admitted { left - 1.0 } else { left },
            at: now,
        };
        admitted
    }
}
