use std::{fs, os::unix::fs::symlink};

use super::*;

struct Place {
    store: Arc<SecretStore>,
    folder: tempfile::TempDir,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    for name in ["secrets", "mounted", "elsewhere"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let roots = SecretRoots {
        base: folder.path().to_owned(),
        folders: vec![folder.path().join("secrets")],
        variables: vec!["ATTACHE_SECRET_".to_owned(), "CARGO_PKG_".to_owned()],
        mounted: folder.path().join("mounted"),
        vault: VaultRoots::Below(Vec::new()),
    };
    Place {
        store: Arc::new(SecretStore::new(roots)),
        folder,
    }
}

impl Place {
    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As everything that rotates files does it.
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    async fn read(&self, reference: &SecretReference) -> Option<(String, Vec<u64>)> {
        let secrets = self.store.current(&[reference]).await.ok()?;
        let text = secrets.secret(reference).ok()?.expose().to_owned();
        Some((text, secrets.versions()))
    }

    async fn text(&self, reference: &SecretReference) -> Option<String> {
        self.read(reference).await.map(|(text, _)| text)
    }
}

fn file(path: &str) -> SecretReference {
    SecretReference::File(path.into())
}

#[tokio::test]
async fn a_secret_is_its_file_without_the_end_of_the_line() {
    let place = place();
    for (written, expected) in [
        ("s3cret", Some("s3cret")),
        ("s3cret\n", Some("s3cret")),
        ("s3cret\r\n", Some("s3cret")),
        ("two\nlines\n", Some("two\nlines")),
        (" blanks \n", Some(" blanks ")),
        ("", None),
        ("\n", None),
    ] {
        place.write("secrets/it", written);
        place.store.look().await;
        let read = place.text(&file("secrets/it")).await;
        assert_eq!(read.as_deref(), expected, "{written:?}");
    }
}

#[tokio::test]
async fn a_changed_file_is_another_version_and_an_untouched_one_the_same() {
    let place = place();
    let it = file("secrets/it");
    place.write("secrets/it", "one");
    let first = place.read(&it).await.unwrap();
    place.store.look().await;
    assert_eq!(place.read(&it).await.unwrap(), first);
    // Written again with the same content: whoever uses it need not know.
    place.write("secrets/it", "one\n");
    place.store.look().await;
    assert_eq!(place.read(&it).await.unwrap(), first);
    place.write("secrets/it", "two");
    place.store.look().await;
    let second = place.read(&it).await.unwrap();
    assert_eq!(second.0, "two");
    assert_ne!(second.1, first.1);
}

#[tokio::test]
async fn a_deleted_file_is_no_secret_until_it_is_back() {
    let place = place();
    let it = file("secrets/it");
    place.write("secrets/it", "one");
    let before = place.read(&it).await.unwrap();
    fs::remove_file(place.folder.path().join("secrets/it")).unwrap();
    place.store.look().await;
    assert_eq!(place.read(&it).await, None);
    place.write("secrets/it", "one");
    place.store.look().await;
    let after = place.read(&it).await.unwrap();
    assert_eq!(after.0, "one");
    assert_ne!(after.1, before.1);
}

#[tokio::test]
async fn a_mounted_secret_changes_as_the_kubelet_changes_it() {
    let place = place();
    let mounted = place.folder.path().join("mounted/stripe");
    place.write("mounted/stripe/..one/key", "one");
    place.write("mounted/stripe/..two/key", "two");
    symlink("..one", mounted.join("..data")).unwrap();
    symlink("..data/key", mounted.join("key")).unwrap();
    let it = SecretReference::Kubernetes {
        secret: "stripe".to_owned(),
        key: "key".to_owned(),
    };
    assert_eq!(place.text(&it).await.as_deref(), Some("one"));
    symlink("..two", mounted.join("..new")).unwrap();
    fs::rename(mounted.join("..new"), mounted.join("..data")).unwrap();
    place.store.look().await;
    assert_eq!(place.text(&it).await.as_deref(), Some("two"));
}

#[tokio::test]
async fn nothing_outside_of_the_folders_is_read_whatever_leads_there() {
    let place = place();
    place.write("elsewhere/shadow", "root");
    let elsewhere = place.folder.path().join("elsewhere/shadow");
    symlink(&elsewhere, place.folder.path().join("secrets/link")).unwrap();
    symlink("../elsewhere", place.folder.path().join("secrets/folder")).unwrap();
    let absolute = SecretReference::File(elsewhere);
    for foreign in [file("elsewhere/shadow"), file("secrets"), absolute.clone()] {
        assert!(place.store.roots().check(&foreign).is_err(), "{foreign}");
        assert_eq!(place.text(&foreign).await, None, "{foreign}");
    }
    // Their text lies inside.
    for link in [file("secrets/link"), file("secrets/folder/shadow")] {
        assert!(place.store.roots().check(&link).is_ok(), "{link}");
        assert_eq!(place.text(&link).await, None, "{link}");
    }
    place.write("secrets-too/it", "beside");
    assert_eq!(place.text(&file("secrets-too/it")).await, None);
}

#[tokio::test]
async fn what_is_no_regular_file_is_not_opened_and_a_large_one_is_refused() {
    let place = place();
    let at = |name: &str| place.folder.path().join("secrets").join(name);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    symlink("/dev/zero", at("device")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    place.write("secrets/large", &"x".repeat(MAX_SECRET_BYTES + 1));
    fs::write(at("binary"), [0xff, 0xfe]).unwrap();
    for name in ["pipe", "device", "directory", "large", "binary"] {
        let reference = file(&format!("secrets/{name}"));
        assert_eq!(place.text(&reference).await, None, "{name}");
    }
    place.write("secrets/largest", &"x".repeat(MAX_SECRET_BYTES));
    let largest = place.text(&file("secrets/largest")).await.unwrap();
    assert_eq!(largest.len(), MAX_SECRET_BYTES);
}

#[tokio::test]
async fn variables_are_read_by_their_prefixes_alone() {
    let place = place();
    let variable = |name: &str| SecretReference::Environment(name.to_owned());
    let known = variable("CARGO_PKG_NAME");
    assert_eq!(
        place.text(&known).await.as_deref(),
        Some("attache-credentials")
    );
    for foreign in ["PATH", "CARGO_PKG_", "XCARGO_PKG_NAME", "cargo_pkg_name"] {
        let foreign = variable(foreign);
        assert!(place.store.roots().check(&foreign).is_err(), "{foreign}");
        assert_eq!(place.text(&foreign).await, None, "{foreign}");
    }
    let unset = variable("ATTACHE_SECRET_NOBODY_SETS_THIS");
    assert!(place.store.roots().check(&unset).is_ok());
    assert_eq!(place.text(&unset).await, None);
}

#[tokio::test]
async fn by_default_nothing_is_allowed() {
    let store = Arc::new(SecretStore::new(SecretRoots::nothing()));
    for foreign in [
        file("etc/hostname"),
        SecretReference::Environment("PATH".to_owned()),
    ] {
        assert!(store.current(&[&foreign]).await.is_err(), "{foreign}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_nobody_asks_for_leaves_memory() {
    let place = place();
    place.write("secrets/it", "one");
    place.text(&file("secrets/it")).await.unwrap();
    place.store.look().await;
    assert_eq!(place.store.entries().len(), 1);
    tokio::time::advance(UNUSED).await;
    place.store.look().await;
    assert_eq!(place.store.entries().len(), 0);
}
