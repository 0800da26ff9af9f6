//! Whether a file is as it was, by what the file system says of it.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use attache_core::time::Timestamp;

/// How old a change must be for the file system's times to tell it from the next one, in milliseconds.
const TIME_GRAIN: i64 = 2_000;

/// Which file stands under a name, and when it changed. The change time cannot be set back by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file at `path`; `None` if it cannot be looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path)
            .ok()
            .map(|metadata| Self::from(&metadata))
    }

    /// Whether a change after `now` would have another stamp.
    pub(crate) fn is_certain(self, now: Timestamp) -> bool {
        let changed = Timestamp::from_seconds(self.changed.0).as_millis();
        now.as_millis().saturating_sub(changed) > TIME_GRAIN
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
