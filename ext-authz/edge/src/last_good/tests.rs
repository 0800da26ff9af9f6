use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use attache_core::time::Timestamp;
use attache_policy::Source;

use super::{LastGood, LastGoodFile, UnusableLastGood};

const DIRECTORY: &str = "/etc/attache/policies";

fn set(revision: &str) -> LastGood {
    LastGood {
        directory: DIRECTORY.into(),
        revision: revision.to_owned(),
        accepted_at: Timestamp::from_seconds(1_800_000_000),
        sources: vec![Source {
            name: format!("{DIRECTORY}/a.yaml"),
            text: "kind: \u{fc}\n".into(),
        }],
    }
}

fn kept(folder: &Path) -> std::path::PathBuf {
    folder.join("last-good-policies.json")
}

#[test]
fn what_is_kept_is_loaded_and_is_this_users_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = LastGoodFile::in_folder(folder.path());
    file.keep(&set("1")).unwrap();
    file.keep(&set("2")).unwrap();
    let loaded = file.load(Path::new(DIRECTORY)).unwrap();
    let (wanted, names) = (set("2"), |set: &LastGood| set.sources[0].name.clone());
    assert_eq!(loaded.revision, wanted.revision);
    assert_eq!(loaded.accepted_at, wanted.accepted_at);
    assert_eq!(names(&loaded), names(&wanted));
    assert_eq!(loaded.sources[0].text, wanted.sources[0].text);
    let mode = fs::metadata(kept(folder.path()))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
}

#[test]
fn a_draft_that_a_killed_process_left_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let draft = folder.path().join("last-good-policies.json.new");
    fs::write(&draft, "half of a much longer set".repeat(1000)).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o644)).unwrap();
    let file = LastGoodFile::in_folder(folder.path());
    file.keep(&set("1")).unwrap();
    assert_eq!(file.load(Path::new(DIRECTORY)).unwrap().revision, "1");
    let mode = fs::metadata(kept(folder.path()))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn nothing_kept_and_a_damaged_file_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = LastGoodFile::in_folder(folder.path());
    let load = || file.load(Path::new(DIRECTORY)).unwrap_err();
    assert!(matches!(load(), UnusableLastGood::None));
    file.keep(&set("1")).unwrap();
    let whole = fs::read(kept(folder.path())).unwrap();
    fs::write(kept(folder.path()), &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(load(), UnusableLastGood::Damaged { .. }));
    let more = String::from_utf8(whole.clone())
        .unwrap()
        .replacen('{', "{\"more\":1,", 1);
    fs::write(kept(folder.path()), more).unwrap();
    assert!(matches!(load(), UnusableLastGood::Damaged { .. }));
    let newer = String::from_utf8(whole)
        .unwrap()
        .replace("\"form\":1", "\"form\":2");
    fs::write(kept(folder.path()), newer).unwrap();
    assert!(matches!(load(), UnusableLastGood::Foreign { .. }));
}

#[test]
fn a_set_of_another_directory_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let file = LastGoodFile::in_folder(folder.path());
    file.keep(&set("1")).unwrap();
    let error = file.load(Path::new("/etc/other")).unwrap_err().to_string();
    assert!(
        error.contains(DIRECTORY) && error.contains("/etc/other"),
        "{error}"
    );
}
