//! Files that documents name: read only where they really lie in a folder that the configuration lists. What
//! a path is spelled like says nothing, for a link in such a folder can lead anywhere.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::regular_file;

/// The folders that files may lie in; `None` for files that the configuration itself names.
pub(crate) type Roots<'r> = Option<&'r [PathBuf]>;

/// At most one byte more than `limit` of a regular file, so that one that is too long is seen to be.
pub(crate) fn read(path: &Path, roots: Roots<'_>, limit: usize) -> io::Result<Vec<u8>> {
    let file = regular_file::open(path)?;
    if let Some(roots) = roots {
        // SECURITY: of the file that is open, whatever its name leads to by now.
        check(&real_path(&file)?, roots)?;
    }
    let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The whole of a regular file of at most `most` bytes that lies below `root`, a folder without links in its path:
/// what lies elsewhere is not read, whatever links lead there.
pub fn read_below(root: &Path, path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = regular_file::open(path)?;
    let real = real_path(&file)?;
    if !real.starts_with(root) {
        let message = format!(
            "it is a link to {}, outside of this directory; put the file itself here",
            real.display()
        );
        return Err(io::Error::other(message));
    }
    regular_file::read_open(file, most)
}

/// A socket, links followed: not connected to, but held, so that what was checked is what is dialled.
pub(crate) fn socket(path: &Path, roots: Roots<'_>) -> io::Result<File> {
    // open(2): `O_PATH` says where something lies, and does nothing to it.
    let only_place = i32::try_from(OFlags::PATH.bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    let place = options.read(true).custom_flags(only_place).open(path)?;
    if let Some(roots) = roots {
        check(&real_path(&place)?, roots)?;
    }
    Ok(place)
}

/// Whether `path`, links followed, leads out of `roots` as things are now; it may not be there yet.
pub fn leads_outside(path: &Path, roots: &[PathBuf]) -> bool {
    path.canonicalize()
        .is_ok_and(|real| check(&real, roots).is_err())
}

fn check(real: &Path, roots: &[PathBuf]) -> io::Result<()> {
    // A root may itself be reached by links, as `/var/run` is.
    let mut roots = roots.iter().filter_map(|root| root.canonicalize().ok());
    if roots.any(|root| real.starts_with(root)) {
        return Ok(());
    }
    let message = format!(
        "it is a link to {}, outside of `file_roots`",
        real.display()
    );
    Err(io::Error::other(message))
}

/// Where an open file lies, by the kernel's word (proc(5)).
fn real_path(file: &File) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests;
