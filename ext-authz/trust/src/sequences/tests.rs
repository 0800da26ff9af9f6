use super::*;

const SOURCE: &str = "spiffe-jwt example.org https_web https://spire.example/bundle";

fn entries(of: &[&str]) -> Entries {
    of.iter().map(|entry| (*entry).to_owned()).collect()
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bundle-sequences.json");
    (folder, path)
}

/// A process that begins where another ended.
fn restarted(before: &Sequences, path: &Path) -> Arc<Sequences> {
    before.write(path).expect("written");
    Sequences::in_file(path).expect("read")
}

#[tokio::test]
async fn a_number_that_was_seen_holds_over_restarts() {
    let (_folder, path) = file();
    let before = Sequences::in_file(&path).expect("no file yet");
    let taken = before.admit(SOURCE, Some(u64::MAX - 1), entries(&["a", "b"]));
    assert_eq!(taken, Ok(()));
    let after = restarted(&before, &path);
    let admit = |found, of: &[&str]| after.admit(SOURCE, found, entries(of));
    let held = u64::MAX - 1;
    let found = held - 1;
    assert_eq!(
        admit(Some(found), &["a"]),
        Err(RefusedBundle::WentBack { found, held })
    );
    assert_eq!(
        admit(None, &["a"]),
        Err(RefusedBundle::SequenceMissing(held))
    );
    // The same number with something new in it.
    let kept = Err(RefusedBundle::SequenceKept(held));
    assert_eq!(admit(Some(held), &["a", "c"]), kept);
    assert_eq!(admit(Some(held), &["a"]), Ok(()));
    assert_eq!(admit(Some(held), &["a", "b"]), kept, "taken away for good");
    assert_eq!(admit(Some(u64::MAX), &["c"]), Ok(()));
}

#[tokio::test]
async fn a_bundle_is_remembered_by_where_it_comes_from() {
    let seen = Sequences::in_memory();
    assert_eq!(seen.admit(SOURCE, Some(7), entries(&["a"])), Ok(()));
    assert_eq!(seen.admit("other", Some(1), entries(&["b"])), Ok(()));
    assert!(seen.admit(SOURCE, Some(6), entries(&["a"])).is_err());
    assert_eq!(seen.admit("none", None, entries(&["a"])), Ok(()));
    assert_eq!(seen.admit("none", None, entries(&["b"])), Ok(()));
}

#[tokio::test]
async fn what_was_withdrawn_needs_a_higher_number_after_a_restart_too() {
    let (_folder, path) = file();
    let before = Sequences::in_file(&path).expect("no file yet");
    assert_eq!(before.admit(SOURCE, Some(7), entries(&["a"])), Ok(()));
    before.withdraw(SOURCE);
    before.withdraw("never seen");
    let after = restarted(&before, &path);
    let kept = Err(RefusedBundle::SequenceKept(7));
    assert_eq!(after.admit(SOURCE, Some(7), entries(&["a"])), kept);
    assert_eq!(after.admit(SOURCE, Some(8), entries(&["a"])), Ok(()));
}

#[tokio::test]
async fn a_change_is_in_the_file_soon() {
    let (_folder, path) = file();
    let seen = Sequences::in_file(&path).expect("no file yet");
    assert_eq!(seen.admit(SOURCE, Some(7), entries(&["a"])), Ok(()));
    let written = async {
        while !path.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, written).await.expect("a file");
    let after = Sequences::in_file(&path).expect("read");
    assert!(after.admit(SOURCE, Some(6), entries(&["a"])).is_err());
}

#[test]
fn a_damaged_file_is_told_and_not_taken_for_an_empty_one() {
    let (_folder, path) = file();
    for text in ["", "{", r#"{"form":2,"changes":0,"bundles":{}}"#, "[]"] {
        fs::write(&path, text).expect("a file");
        let error = Sequences::in_file(&path).err().expect(text).to_string();
        assert!(error.contains("remove it to begin anew"), "{error}");
    }
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("a folder");
    let error = Sequences::in_file(&path).err().expect("a folder");
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[tokio::test]
async fn memory_is_bounded_and_the_oldest_change_is_forgotten() {
    let seen = Sequences::in_memory();
    let admit = |source: &str, found| seen.admit(source, Some(found), entries(&["a"]));
    for number in 0..MAX_BUNDLES {
        assert_eq!(admit(&number.to_string(), 7), Ok(()));
    }
    assert_eq!(admit("0", 8), Ok(()), "changed last");
    assert_eq!(admit("new", 7), Ok(()));
    assert!(admit("0", 7).is_err());
    assert!(admit("2", 6).is_err());
    assert_eq!(admit("1", 6), Ok(()), "forgotten");
    assert_eq!(seen.seen().bundles.len(), MAX_BUNDLES);
}
