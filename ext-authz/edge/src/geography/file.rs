//! The database file: when to read it again, and its bytes.

use std::{fs, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use attache_core::time::Timestamp;
use attache_trust::regular_file;
use aws_lc_rs::digest::SHA256;

use super::{MAX_BYTES, RefusedDatabase};
use crate::watch::Folders;

/// How old a change must be for the file system's times to tell it from the next one, in milliseconds.
const TIME_GRAIN: i64 = 2_000;

/// A file's bytes, by hash.
pub(super) type Digest = [u8; 32];

/// Which file stands under a name, and when it changed. The change time cannot be set back by its owner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether a later change would have another stamp.
    pub(super) fn is_certain(self, now: Timestamp) -> bool {
        let changed = Timestamp::from_seconds(self.changed.0).as_millis();
        now.as_millis().saturating_sub(changed) > TIME_GRAIN
    }
}

/// Where the file, or a link on the way to it, can change.
pub(super) fn folders(path: &Path) -> Folders {
    let mut folders = Folders::default();
    folders.add_file(path);
    folders
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, RefusedDatabase> {
    let unreadable = |error| RefusedDatabase::Unreadable {
        path: path.to_owned(),
        error,
    };
    let file = regular_file::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // One byte over the limit, so that a file that is too large is told as such and not as damaged.
    file.take(MAX_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(RefusedDatabase::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    let hashed = aws_lc_rs::digest::digest(&SHA256, bytes);
    digest.copy_from_slice(hashed.as_ref());
    digest
}
