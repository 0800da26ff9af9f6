//! What the kernel told: whether it is a change, and which files are being written.

use std::{collections::HashMap, path::PathBuf};

use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::time::Instant;

use super::WRITING;

/// What happened in the folders.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Files that were written to and not closed since, with the time of the first write.
    writing: HashMap<PathBuf, Instant>,
}

impl Activity {
    /// Whether `event` tells of a change.
    pub(super) fn note(&mut self, event: &Event, now: Instant) -> bool {
        // A file can change without being opened, so that nobody closes it.
        self.writing
            .retain(|_, since| now.saturating_duration_since(*since) < WRITING);
        match event.kind {
            // Reading is no change, ours least of all.
            EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => {
                return false;
            }
            EventKind::Modify(ModifyKind::Data(_)) => {
                for path in &event.paths {
                    self.writing.entry(path.clone()).or_insert(now);
                }
            }
            EventKind::Access(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => {
                for path in &event.paths {
                    self.writing.remove(path);
                }
            }
            EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Other => {}
        }
        true
    }

    /// Until when a change is held back for the files that are being written.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let youngest = self.writing.values().max()?;
        youngest.checked_add(WRITING)
    }
}
