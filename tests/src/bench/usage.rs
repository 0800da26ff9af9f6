//! What a process used, by the kernel's count.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// The processor time that all threads of a process took so far. A thread that ends takes its share away, so
/// this is for processes whose threads stay.
pub fn processor(process: u32) -> Result<Duration> {
    let mut all = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let path = task?.path().join("schedstat");
        // A thread that ended meanwhile.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let ran = text.split(' ').next().context("an empty schedstat")?;
        all += Duration::from_nanos(ran.parse()?);
    }
    Ok(all)
}

/// The processor time that a process took so far, by threads that ended as well: in steps of 10 ms.
pub fn processor_with_ended(process: u32) -> Result<Duration> {
    /// What Linux tells all programs, whatever its own clock does.
    const STEP: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may hold anything: the state is the third field, user and system time the 14th and 15th.
    let (_name, fields) = stat.rsplit_once(") ").context("a strange stat")?;
    let times = fields.split(' ').skip(11).take(2).map(str::parse::<u32>);
    let steps = times.sum::<Result<u32, _>>()?;
    Ok(STEP * steps)
}

/// The memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// All that is resident, pages of the program's own file included, which the kernel shares and takes back.
    pub resident: f64,
    /// Of that what is the process's alone: what it allocated, and its stacks.
    pub own: f64,
}

impl Memory {
    /// Of `process` as it is now.
    pub fn of(process: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        Ok(Self {
            resident: mebibytes(&status, "VmRSS:")?,
            own: mebibytes(&status, "RssAnon:")?,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "kilobytes of memory are far below 2^52"
)]
fn mebibytes(status: &str, field: &str) -> Result<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = value.and_then(|value| value.split_whitespace().next());
    let kilobytes = kilobytes.with_context(|| format!("a process without {field}"))?;
    Ok(kilobytes.parse::<u64>()? as f64 / 1024.0)
}
