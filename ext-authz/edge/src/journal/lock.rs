//! One writer for each directory: a lock file that the kernel releases when its holder dies.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};
use thiserror::Error;

use super::segment::identity;

/// The lock of one directory, held until it is dropped.
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

/// Why the lock is not ours.
#[derive(Debug, Error)]
pub(super) enum NotLocked {
    /// Somebody else writes here; the process id that the lock file names.
    #[error("held by process {0}")]
    Held(String),
    /// The lock file cannot be used.
    #[error(transparent)]
    Unusable(#[from] io::Error),
}

impl Lock {
    /// Takes the lock or says who holds it; never waits.
    pub(super) fn take(dir: &Path) -> Result<Self, NotLocked> {
        let path = dir.join("journal.lock");
        let mut options = OpenOptions::new();
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut file = options.custom_flags(no_follow).open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(NotLocked::Held(holder(&mut file))),
            Err(error) => return Err(NotLocked::Unusable(error.into())),
        }
        // The process id is for people; on a full disk the lock holds without it.
        let _ = file
            .set_len(0)
            .and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { file, path })
    }

    /// Whether the lock file is still the one in the directory: both may have been replaced.
    pub(super) fn is_in_place(&self) -> bool {
        match (fs::symlink_metadata(&self.path), self.file.metadata()) {
            (Ok(found), Ok(ours)) => identity(&found) == identity(&ours),
            _ => false,
        }
    }
}

/// The process id in the lock file.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let known = file.take(20).read_to_string(&mut text).is_ok();
    let known = known && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if known {
        text
    } else {
        "of unknown id".to_owned()
    }
}
