//! Reading files that others put in place: regular ones alone, so that no read waits for a writer that never
//! comes and none goes on for ever.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// The whole of a regular file of at most `most` bytes, links followed.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_open(open(path)?, most)
}

/// The whole of an open file of at most `most` bytes.
pub(crate) fn read_open(file: File, most: u64) -> io::Result<Vec<u8>> {
    let too_large = || io::Error::other(format!("larger than {most} bytes"));
    if file.metadata()?.len() > most {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Opens a regular file, links followed.
pub fn open(path: &Path) -> io::Result<File> {
    // SECURITY: a device is not even opened: opening alone can do something.
    check(&fs::metadata(path)?)?;
    // The name may lead elsewhere by now, to a pipe whose opening waits for a writer.
    let no_wait = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(no_wait).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

fn check(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_block_device() || kind.is_char_device() => "a device",
        () => "of another kind",
    };
    let message = format!("it is {kind}, and only regular files are read");
    Err(io::Error::other(message))
}

#[cfg(test)]
mod tests;
