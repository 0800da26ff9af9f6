//! The store's file before SQLite sees it: its existence and its mode.

use std::{
    fs::{self, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Only the owner reads and writes. SQLite gives its -wal and -shm files the mode of the main file.
const MODE: u32 = 0o600;

/// Makes the file with mode 0600, or takes everyone else's permissions off one that is there.
pub(super) fn prepare(path: &Path) -> io::Result<()> {
    // SQLite's locks belong to the process: closing any descriptor of a file that is in use would
    // give them up. So a file that is there is never opened here.
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)
    {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    // Volumes of Kubernetes with an `fsGroup` come back group-writable after every mount.
    fs::set_permissions(path, Permissions::from_mode(mode & 0o700))
}
