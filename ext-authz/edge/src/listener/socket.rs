//! Unix sockets that nobody but those who are meant can open.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown},
    path::Path,
};

use tokio::net::UnixListener;

use crate::settings::UnixBind;

pub(super) fn bind_unix(unix: &UnixBind) -> io::Result<UnixListener> {
    let listener = bind_private(&unix.path)?;
    if let Some(group) = unix.group {
        chown(&unix.path, None, Some(group))?;
    }
    fs::set_permissions(&unix.path, fs::Permissions::from_mode(unix.mode))?;
    Ok(listener)
}

/// Binds a unix socket that only this user may reach, from its first moment on.
pub(crate) fn bind_private(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    // SECURITY: between bind and chmod the umask alone keeps strangers out.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

/// Removes a socket file on which nobody listens; anything else stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is no socket",
        )),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens there",
            )),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) => Err(error),
        },
    }
}
