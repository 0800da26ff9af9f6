use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{leads_outside, read, socket};

/// A folder with a root in it and a secret beside that.
struct Place {
    folder: TempDir,
    roots: [PathBuf; 1],
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        let roots = [root];
        Self { folder, roots }
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.roots[0].join(name)
    }

    fn refuses(&self, path: &Path) {
        let refused = read(path, Some(&self.roots), 100).unwrap_err().to_string();
        assert!(refused.contains("secret, outside of"), "{refused}");
        assert!(leads_outside(path, &self.roots));
    }

    fn reads(&self, path: &Path) {
        assert_eq!(read(path, Some(&self.roots), 100).unwrap(), b"keys");
        assert!(!leads_outside(path, &self.roots));
    }
}

#[test]
fn a_link_out_of_the_roots_is_refused_however_it_is_spelled() {
    let place = Place::new();
    symlink("../secret", place.inside("relative")).unwrap();
    symlink(place.folder.path().join("secret"), place.inside("absolute")).unwrap();
    symlink(place.folder.path(), place.inside("folder")).unwrap();
    for name in ["relative", "absolute", "folder/secret", "../secret"] {
        place.refuses(&place.inside(name));
    }
}

#[test]
fn a_volume_of_kubernetes_is_read_through_its_links() {
    let place = Place::new();
    fs::create_dir(place.inside("..2026_11_23")).unwrap();
    fs::write(place.inside("..2026_11_23/keys.json"), "keys").unwrap();
    symlink("..2026_11_23", place.inside("..data")).unwrap();
    symlink("..data/keys.json", place.inside("keys.json")).unwrap();
    place.reads(&place.inside("keys.json"));
}

#[test]
fn a_root_that_is_itself_a_link_holds_what_it_leads_to() {
    let mut place = Place::new();
    fs::write(place.inside("keys"), "keys").unwrap();
    let link = place.folder.path().join("link");
    symlink(&place.roots[0], &link).unwrap();
    place.roots = [link];
    place.reads(&place.inside("keys"));
    place.refuses(&place.inside("../secret"));
}

#[test]
fn a_file_that_is_too_long_is_seen_to_be_and_one_of_the_configuration_lies_anywhere() {
    let place = Place::new();
    let secret = place.folder.path().join("secret");
    assert_eq!(read(&secret, None, 3).unwrap().len(), 4);
}

#[test]
fn a_socket_is_held_where_it_really_lies_and_refused_where_that_is_outside() {
    let place = Place::new();
    let outside = place.folder.path().join("secret.sock");
    let _agent = UnixListener::bind(&outside).unwrap();
    symlink(&outside, place.inside("agent.sock")).unwrap();
    let named = place.inside("agent.sock");
    let refused = socket(&named, Some(&place.roots)).unwrap_err().to_string();
    assert!(refused.contains("secret.sock, outside of"), "{refused}");
    assert!(socket(&named, None).is_ok());
    fs::remove_file(&named).unwrap();
    let _agent = UnixListener::bind(&named).unwrap();
    assert!(socket(&named, Some(&place.roots)).is_ok());
}
