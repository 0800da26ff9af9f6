//! The database file: when to read it again, and its bytes.

use std::{io::Read as _, path::Path};

use attache_trust::regular_file;
use aws_lc_rs::digest::SHA256;

use super::{MAX_BYTES, RefusedDatabase};
use crate::watch::Folders;

/// A file's bytes, by hash.
pub(super) type Digest = [u8; 32];

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
