//! Whether a directory is as it was when it was read, without reading it: a large set takes long to read.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use attache_core::time::Timestamp;
use attache_trust::regular_file;

use crate::{live, stamp::Stamp};

#[cfg(test)]
mod tests;

/// For how long files are taken for what they were: memory that is mapped can be changed without a new time.
const TRUSTED: Duration = Duration::from_mins(1);

/// The files of a directory as they stood before they were read.
pub(super) struct Stamps {
    files: Vec<(PathBuf, Stamp)>,
    at: Timestamp,
}

impl Stamps {
    /// Of `directory` at `now`; `None` if it cannot be looked at, which reading it tells.
    pub(super) fn of(directory: &Path, now: Timestamp) -> Option<Self> {
        let found = live::find(directory).ok()?;
        let stamped = found.files.into_iter().map(|file| {
            // Opened, for a network file system may tell of a file that is not open what it was told before.
            let open = regular_file::open(&file.real).ok()?;
            Some((file.shown, Stamp::from(&open.metadata().ok()?)))
        });
        let mut files = stamped.collect::<Option<Vec<_>>>()?;
        files.sort_by(|(one, _), (other, _)| one.cmp(other));
        Some(Self { files, at: now })
    }

    /// Whether what was read after these is what would be read after `newer` ones.
    ///
    /// SECURITY: a change must not be missed. A file that was changed shortly before it was read could be changed
    /// again without another stamp.
    pub(super) fn still_hold(&self, newer: &Self) -> bool {
        let certain = |(_, stamp): &(PathBuf, Stamp)| stamp.is_certain(self.at);
        (self.at..self.at.plus(TRUSTED)).contains(&newer.at)
            && self.is_like(newer)
            && self.files.iter().all(certain)
    }

    /// Whether the same files stood there.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.files == other.files
    }
}
