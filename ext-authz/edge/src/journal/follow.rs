//! Waiting for the journal to grow: woken by the kernel where it tells of changes, by time where it
//! does not (network filesystems, a directory that was replaced).

use std::{os::fd::OwnedFd, path::Path, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::{Errno, read},
};

/// A watch on one directory.
pub(super) struct Watch(Option<OwnedFd>);

impl Watch {
    /// Begins to watch `dir`. Never fails: without the kernel's help, time wakes.
    pub(super) fn begin(dir: &Path) -> Self {
        let begin = || {
            let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            inotify::add_watch(&watch, dir, WatchFlags::CREATE | WatchFlags::MODIFY)?;
            Ok::<_, Errno>(watch)
        };
        Self(begin().ok())
    }

    /// Waits for a change, `patience` at most.
    pub(super) fn wait(&mut self, patience: Duration) {
        let timeout = Timespec::try_from(patience).ok();
        let mut watched: Vec<_> = self
            .0
            .iter()
            .map(|watch| PollFd::new(watch, PollFlags::IN))
            .collect();
        // Interrupted or not, the journal is looked at next.
        let _ = poll(&mut watched, timeout.as_ref());
        if let Some(watch) = &self.0 {
            let mut notices = [0; 4096];
            while read(watch, &mut notices).is_ok_and(|bytes| bytes > 0) {}
        }
    }
}
