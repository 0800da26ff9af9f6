use std::{fs, os::unix::net::UnixListener, path::Path};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::read;

#[test]
fn a_file_is_read_up_to_its_limit_and_through_links() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "12345").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(read(&link, 5).unwrap(), b"12345");
    let refused = read(&file, 4).unwrap_err().to_string();
    assert!(refused.contains("larger than 4 bytes"), "{refused}");
}

#[test]
fn what_is_no_regular_file_is_refused_by_its_kind_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    for (path, kind) in [
        (pipe.as_path(), "a named pipe"),
        (&socket, "a socket"),
        (Path::new("/dev/zero"), "a device"),
        (folder.path(), "a folder"),
    ] {
        let refused = read(path, 10).unwrap_err().to_string();
        assert!(refused.contains(kind), "{refused}");
    }
}
