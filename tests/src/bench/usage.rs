//! What a process used, by the kernel's count.

use std::{collections::HashMap, ffi::OsString, fs, time::Duration};

use anyhow::{Context as _, Result};

/// A moment from which the processor time of a process is counted.
pub struct Since {
    process: u32,
    /// What each thread had taken by then.
    threads: HashMap<OsString, Duration>,
}

impl Since {
    /// Counts from now on.
    pub fn now(process: u32) -> Result<Self> {
        let threads = threads(process)?;
        Ok(Self { process, threads })
    }

    /// What its threads took since. One that ended meanwhile takes along what it took: threads that do the work that
    /// is measured must stay.
    pub fn used(&self) -> Result<Duration> {
        let spent = threads(self.process)?.into_iter().map(|(thread, now)| {
            let before = self.threads.get(&thread).copied().unwrap_or_default();
            now.saturating_sub(before)
        });
        Ok(spent.sum())
    }
}

fn threads(process: u32) -> Result<HashMap<OsString, Duration>> {
    let mut all = HashMap::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?;
        // A thread that ended meanwhile.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
            continue;
        };
        let ran = text.split(' ').next().context("an empty schedstat")?;
        all.insert(task.file_name(), Duration::from_nanos(ran.parse()?));
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
