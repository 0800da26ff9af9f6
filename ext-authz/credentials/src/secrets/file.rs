//! Files of secrets: read into memory that is wiped, and only where they really lie in a folder that is allowed.
//! What a path is spelled like says nothing, for a link in such a folder can lead anywhere.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use attache_core::secret::Secret;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::MAX_SECRET_BYTES;

/// What tells one state of a file from another, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// What a file holds, unless it is as it was `before`; an error of its content says nothing of the content.
type Content = Option<(Stamp, Result<Secret, String>)>;

/// Reads a regular file below one of `folders`, links followed.
pub(super) fn read(path: &Path, folders: &[PathBuf], before: Option<Stamp>) -> io::Result<Content> {
    let found = fs::metadata(path)?;
    if before == Some(Stamp::of(&found)) {
        return Ok(None);
    }
    // SECURITY: a device or a pipe is not even opened: opening alone can do something, or wait for ever.
    is_regular(&found)?;
    let no_wait = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(no_wait).open(path)?;
    let found = file.metadata()?;
    is_regular(&found)?;
    // SECURITY: of the file that is open, whatever its name leads to by now.
    is_allowed(&file, folders)?;
    let stamp = Stamp::of(&found);
    Ok(Some((stamp, content(file)?)))
}

/// At most [`MAX_SECRET_BYTES`]. Room for all of it from the start, so that no copy is left behind.
fn content(file: File) -> io::Result<Result<Secret, String>> {
    let room = MAX_SECRET_BYTES.saturating_add(1);
    let mut bytes = Zeroizing::new(vec![0; room]);
    let mut length = 0;
    let mut file = file;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => length = length.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if length > MAX_SECRET_BYTES {
        return Ok(Err(format!("it has more than {MAX_SECRET_BYTES} bytes")));
    }
    let bytes = bytes.get(..length).unwrap_or_default();
    Ok(match str::from_utf8(bytes) {
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_not_text) => Err("it is not UTF-8".to_owned()),
    })
}

fn is_regular(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    Err(io::Error::other("it is no regular file"))
}

fn is_allowed(file: &File, folders: &[PathBuf]) -> io::Result<()> {
    // Where an open file lies, by the kernel's word (proc(5)).
    let real = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    // A folder may itself be reached by links.
    let mut folders = folders
        .iter()
        .filter_map(|folder| folder.canonicalize().ok());
    if folders.any(|folder| real.starts_with(folder)) {
        return Ok(());
    }
    Err(io::Error::other(
        "it is a link out of the folders for secrets",
    ))
}
