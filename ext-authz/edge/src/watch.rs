//! When to look at files again: soon after the kernel tells of a change, and every few seconds in any case,
//! for not every file system tells. It only says that something may have changed; who asks compares contents.

use std::{path::PathBuf, time::Duration};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::warn;

use self::{activity::Activity, folders::Shared};

pub(crate) use self::folders::Folders;

mod activity;
mod folders;

/// How long nothing must happen before a change counts as whole: many files are often changed at once.
const QUIET: Duration = Duration::from_millis(100);

/// The longest wait for quiet, so that a folder that is never quiet is still read.
const LATEST: Duration = Duration::from_millis(500);

/// How long a file that someone writes holds a change back: half of a file can be well-formed and mean
/// something else.
const WRITING: Duration = Duration::from_secs(5);

/// How often files are looked at although nothing was told.
const POLL: Duration = Duration::from_secs(10);

/// The same, where the kernel does not tell of everything.
const POLL_ALONE: Duration = Duration::from_secs(1);

/// Follows folders.
pub(crate) struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: Shared,
    activity: watch::Receiver<Activity>,
    poll: Duration,
}

impl Watch {
    /// Follows nothing yet.
    pub(crate) fn new() -> Self {
        let (tell, activity) = watch::channel(Activity::default());
        let folders = Shared::default();
        let concerned = folders.clone();
        let watcher = notify::recommended_watcher(move |told: notify::Result<Event>| {
            tell.send_if_modified(|activity| match &told {
                Ok(event) => {
                    concerned.concern(&event.paths) && activity.note(event, Instant::now())
                }
                // Something was lost.
                Err(_) => true,
            });
        });
        let watcher = watcher
            .inspect_err(
                |error| warn!(%error, "the kernel tells of no changes; looking every second"),
            )
            .ok();
        Self {
            poll: if watcher.is_some() { POLL } else { POLL_ALONE },
            watcher,
            folders,
            activity,
        }
    }

    /// Follows `folders` from now on and nothing else. Read after this call: an earlier change is not told.
    pub(crate) fn follow(&mut self, folders: Folders) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        // The watcher's thread looks at the folders too, so they are not locked while it is asked.
        let wanted: Vec<PathBuf> = folders.paths().map(PathBuf::from).collect();
        // All anew: a folder of the same name may be another one than before.
        for old in self.folders.replace(folders).paths() {
            // It may be gone already.
            let _ = watcher.unwatch(old);
        }
        let mut failed = None;
        for folder in &wanted {
            let watched = watcher.watch(folder, RecursiveMode::NonRecursive);
            failed = failed.or(watched.err());
        }
        let alone = failed.is_some();
        if let Some(error) = failed.filter(|_| self.poll == POLL) {
            warn!(%error, "the kernel does not tell of every change; looking every second");
        }
        self.poll = if alone { POLL_ALONE } else { POLL };
    }

    /// Waits until something may have changed and the change looks whole.
    pub(crate) async fn settled(&mut self) {
        match timeout(self.poll, self.activity.changed()).await {
            Ok(Ok(())) => {}
            // The watcher is gone, so only time passes.
            Ok(Err(_gone)) => return sleep(self.poll).await,
            // Nothing was told; its files are looked at all the same.
            Err(_elapsed) => {}
        }
        let given_up = Instant::now() + WRITING;
        let mut latest = Instant::now() + LATEST;
        loop {
            let now = Instant::now();
            let held = self.activity.borrow_and_update().held_until();
            let patience = match held.filter(|held| *held > now && given_up > now) {
                Some(held) => {
                    latest = now + LATEST;
                    held.min(given_up)
                }
                None => latest.min(now + QUIET),
            };
            tokio::select! {
                changed = self.activity.changed() => if changed.is_err() { return },
                () = sleep_until(patience) => return,
            }
        }
    }

    /// Whether something happened since [`Self::settled`]: what was read meanwhile may be half of a change.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.activity.has_changed().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests;
