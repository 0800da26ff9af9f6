//! The process itself, under the names that every Prometheus client gives it. What cannot be read is left out.

use std::fs;

use attache_core::time::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue},
    metrics::MetricType,
};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::state::NO_EXEMPLAR;

/// What the system counts for us.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) started_at: Timestamp,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        if let Some(seconds) = cpu_seconds() {
            let name = "process_cpu_seconds";
            let help = "Processor time of the process, of user and system together";
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter(&seconds, NO_EXEMPLAR)?;
        }
        let mut gauge = |name, help, value: Option<u64>| match value {
            Some(value) => tell(&mut encoder, name, help, &value),
            None => Ok(()),
        };
        gauge(
            "process_resident_memory_bytes",
            "Memory that the process holds",
            resident_bytes(),
        )?;
        gauge(
            "process_open_fds",
            "Files and sockets that are open",
            open_files(),
        )?;
        gauge(
            "process_max_fds",
            "How many files and sockets may be open",
            getrlimit(Resource::Nofile).current,
        )?;
        let started = self.started_at.as_seconds();
        tell(
            &mut encoder,
            "process_start_time_seconds",
            "When the process began, in seconds since 1970",
            &started,
        )
    }
}

fn tell(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: &impl EncodeGaugeValue,
) -> std::fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Gauge)?
        .encode_gauge(value)
}

/// proc(5), `statm`: the second number, in pages.
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(page_size()).ok()?)
}

/// The folder that is being read is one of them.
fn open_files() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(listed.saturating_sub(1)).ok()
}

/// proc(5), `stat`: the 14th and the 15th value, in ticks. The second is a name in brackets that may hold
/// anything.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest.split_ascii_whitespace().skip(11).take(2);
    let user: u32 = ticks.next()?.parse().ok()?;
    let system: u32 = ticks.next()?.parse().ok()?;
    let per_second = u32::try_from(clock_ticks_per_second()).ok()?;
    Some((f64::from(user) + f64::from(system)) / f64::from(per_second))
}

#[cfg(test)]
mod tests;
