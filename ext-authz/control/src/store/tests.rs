use std::{env, fs, os::unix::fs::PermissionsExt as _, process::Stdio, time::Duration};

use attache_core::time::Timestamp;
use attache_issuer::{
    KeyStore as _, StoredKey, StoredRing,
    store::{Change, Changed},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
};

use super::*;

/// Names the store for the child processes of these tests.
const CHILD: &str = "ATTACHE_TEST_STORE";

fn key(key_id: &str, algorithm: &str) -> StoredKey {
    StoredKey {
        key_id: key_id.to_owned(),
        algorithm: algorithm.to_owned(),
        public_jwk: r#"{"kty":"RSA"}"#.to_owned(),
        sealed_private: vec![0, 1, 2, 255],
        created_at: Timestamp::from_millis(1_781_000_000_123),
        published_at: Some(Timestamp::from_millis(1_781_000_000_124)),
        active_at: None,
        due_at: Some(Timestamp::from_millis(1_781_000_000_125)),
        retired_at: None,
        removed_at: Some(Timestamp::from_millis(1_781_000_000_126)),
        revoked_at: None,
        longest_ttl: Duration::from_secs(900),
    }
}

fn set(name: &str) -> Vec<StoredKey> {
    vec![
        key(&format!("{name}-rs"), "RS256"),
        key(&format!("{name}-es"), "ES256"),
    ]
}

/// So early that the sequence counts the changes.
const EARLY: Timestamp = Timestamp::from_seconds(0);

fn adding(keys: Vec<StoredKey>) -> Change {
    Change {
        at: EARLY,
        keys,
        revokes: false,
    }
}

/// Adds `keys` to a store that nobody has changed yet, or gives what somebody else made of it.
async fn add(store: &Store, keys: Vec<StoredKey>) -> StoredRing {
    match store.change(0, &adding(keys)).await.unwrap() {
        Changed::Done(ring) | Changed::Overtaken(ring) => ring,
    }
}

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attache.db");
    (directory, path)
}

async fn open(path: &Path) -> Store {
    Store::open(path)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn refusal(path: &Path) -> UnusableStore {
    Store::open(path)
        .await
        .expect_err("the store must not open")
}

async fn run(path: &Path, statements: &'static str) {
    let store = open(path).await;
    sqlx::raw_sql(statements)
        .execute(&store.pool)
        .await
        .unwrap();
    store.close().await;
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn keys_come_back_as_they_were_stored_also_after_a_restart() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    assert_eq!(store.load().await.unwrap(), StoredRing::default());
    let stored = add(&store, set("first")).await;
    assert_eq!((stored.sequence, &stored.keys), (1, &set("first")));
    store.close().await;
    assert_eq!(open(&path).await.load().await.unwrap(), stored);
}

#[tokio::test]
async fn a_change_replaces_keys_by_name_and_counts() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    add(&store, set("first")).await;
    let revoked = StoredKey {
        revoked_at: Some(Timestamp::from_millis(1_781_000_000_999)),
        sealed_private: Vec::new(),
        ..key("first-rs", "RS256")
    };
    let change = Change {
        at: EARLY,
        keys: vec![revoked.clone(), key("second-rs", "RS256")],
        revokes: true,
    };
    let Changed::Done(ring) = store.change(1, &change).await.unwrap() else {
        panic!("nobody else is here");
    };
    assert_eq!((ring.sequence, ring.revocations), (2, 1));
    let expected = [revoked, key("first-es", "ES256"), key("second-rs", "RS256")];
    assert_eq!(ring.keys, expected);
}

#[tokio::test]
async fn a_change_of_what_somebody_else_changed_is_not_made() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    let first = add(&store, set("first")).await;
    let late = store.change(0, &adding(set("late"))).await.unwrap();
    assert_eq!(late, Changed::Overtaken(first.clone()));
    assert_eq!(store.load().await.unwrap(), first);
}

#[tokio::test]
async fn a_change_of_which_one_key_is_refused_leaves_nothing_behind() {
    let (_directory, path) = directory();
    run(
        &path,
        "CREATE TRIGGER refuse BEFORE INSERT ON signing_key WHEN NEW.key_id = 'x-es'
                BEGIN SELECT RAISE(ABORT, 'refused'); END",
    )
    .await;
    let store = open(&path).await;
    let refused = store
        .change(0, &adding(set("x")))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("refused"), "{refused}");
    assert_eq!(store.load().await.unwrap(), StoredRing::default());
}

#[tokio::test]
async fn keys_of_the_version_before_rotation_go_on_signing() {
    let (_directory, path) = directory();
    let before = format!(
        "{} INSERT INTO signing_key VALUES ('old', 'RS256', 17, '{{}}', x'01');
         PRAGMA application_id = 0x41544348; PRAGMA user_version = 1",
        include_str!("../../migrations/0001_signing_keys.sql")
    );
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(before))
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let ring = open(&path).await.load().await.unwrap();
    let made = Timestamp::from_millis(17);
    let old = &ring.keys[0];
    assert_eq!((old.published_at, old.active_at), (Some(made), Some(made)));
    assert_eq!(old.state(), attache_issuer::KeyState::Active);
    // No configuration allowed more before.
    assert_eq!(old.longest_ttl, Duration::from_secs(7 * 86_400));
}

#[tokio::test]
async fn a_store_made_anew_or_brought_back_from_a_copy_goes_on_above_what_the_lost_one_said() {
    async fn change(store: &Store, seconds: i64) -> u64 {
        let before = store.load().await.unwrap();
        let change = Change {
            at: Timestamp::from_seconds(seconds),
            ..adding(set(&seconds.to_string()))
        };
        match store.change(before.sequence, &change).await.unwrap() {
            Changed::Done(ring) => ring.sequence,
            Changed::Overtaken(ring) => panic!("{ring:?}"),
        }
    }
    let began = 1_781_000_000;
    let ((_here, path), (_there, copied)) = (directory(), directory());
    let store = open(&path).await;
    assert_eq!(change(&store, began).await, 1_781_000_000);
    store.close().await;
    fs::copy(&path, &copied).unwrap();
    let store = open(&path).await;
    let mut last = 0;
    // Several within a second, and a clock that was set back.
    for seconds in [began, began, began + 1, began + 60, began + 30] {
        let next = change(&store, seconds).await;
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    let restored = open(&copied).await;
    assert!(change(&restored, began + 90).await > last);
    let (_elsewhere, path) = directory();
    assert!(change(&open(&path).await, began + 90).await > last);
}

#[tokio::test]
async fn nothing_that_was_replaced_is_left_in_any_file() {
    const PRIVATE: &[u8] = b"the private part of a key that was revoked";
    let (directory, path) = directory();
    let is_there = || {
        let files = fs::read_dir(directory.path()).unwrap();
        let mut files = files.map(|file| fs::read(file.unwrap().path()).unwrap());
        files.any(|bytes| bytes.windows(PRIVATE.len()).any(|part| part == PRIVATE))
    };
    let store = open(&path).await;
    // So many that pages are split.
    let mut keys: Vec<_> = (0..40)
        .flat_map(|number| set(&number.to_string()))
        .collect();
    for key in &mut keys {
        key.sealed_private = PRIVATE.repeat(30);
    }
    add(&store, keys.clone()).await;
    assert!(is_there());
    for key in &mut keys {
        key.sealed_private.clear();
    }
    let changed = store.change(1, &adding(keys)).await.unwrap();
    assert!(matches!(changed, Changed::Done(_)));
    store.erase().await.unwrap();
    assert!(!is_there());
    assert_eq!(store.load().await.unwrap().sequence, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stores_that_are_opened_and_filled_at_once_hold_one_set() {
    let (_directory, path) = directory();
    let mut openings = JoinSet::new();
    for number in 0..8 {
        let path = path.clone();
        openings.spawn(async move {
            let store = open(&path).await;
            add(&store, set(&number.to_string())).await
        });
    }
    let seen = openings.join_all().await;
    assert!(
        seen.iter()
            .all(|stored| stored.keys.len() == 2 && *stored == seen[0]),
        "{seen:?}"
    );
}

#[tokio::test]
async fn all_files_of_the_store_are_for_their_owner_alone() {
    let (directory, path) = directory();
    let store = open(&path).await;
    add(&store, set("first")).await;
    let modes: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| mode(&entry.unwrap().path()))
        .collect();
    assert_eq!(modes, [0o600; 3], "the database, its -wal and its -shm");
}

#[tokio::test]
async fn a_file_that_others_could_read_is_closed_to_them() {
    let (_directory, path) = directory();
    open(&path).await.close().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    open(&path).await.close().await;
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_damaged_and_left_as_it_was() {
    let (_directory, path) = directory();
    let text = "not a database\n".repeat(100);
    fs::write(&path, &text).unwrap();
    let refused = refusal(&path).await;
    assert!(
        matches!(refused, UnusableStore::Damaged { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("restore it from a backup"));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_table_whose_pages_were_overwritten_is_found_at_the_start() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    add(&store, set("first")).await;
    store.close().await;
    let mut bytes = fs::read(&path).unwrap();
    // All but the first page, which holds the schema.
    bytes[4096..].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let refused = refusal(&path).await;
    assert!(
        matches!(refused, UnusableStore::Damaged { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_by_its_version() {
    let (_directory, path) = directory();
    run(&path, "PRAGMA user_version = 99").await;
    let refused = refusal(&path).await;
    assert!(
        matches!(
            refused,
            UnusableStore::Newer {
                found: 99,
                known: 2,
                ..
            }
        ),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .contains("start the version that wrote it")
    );
}

#[tokio::test]
async fn a_database_of_another_program_is_not_touched() {
    let (_directory, path) = directory();
    run(
        &path,
        "PRAGMA application_id = 7; DROP TABLE signing_key; DROP TABLE key_ring; CREATE TABLE mine (x)",
    )
    .await;
    assert!(matches!(
        refusal(&path).await,
        UnusableStore::Foreign { .. }
    ));
    run_foreign(&path).await;
}

/// The other program still finds its table, and none of ours.
async fn run_foreign(path: &Path) {
    let options = SqliteConnectOptions::new().filename(path);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(tables, ["mine"]);
}

#[tokio::test]
async fn a_database_of_another_program_without_a_mark_is_not_taken_over() {
    let (_directory, path) = directory();
    run(&path, "PRAGMA application_id = 0; PRAGMA user_version = 0").await;
    assert!(matches!(
        refusal(&path).await,
        UnusableStore::Foreign { .. }
    ));
}

#[tokio::test]
async fn a_directory_and_a_missing_folder_are_told_as_what_they_are() {
    let (directory, _) = directory();
    for path in [
        directory.path().to_owned(),
        directory.path().join("missing/attache.db"),
    ] {
        let refused = refusal(&path).await;
        assert!(matches!(refused, UnusableStore::File { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_write_is_synced_to_the_disk_and_goes_through_a_log() {
    let (_directory, path) = directory();
    let store = open(&path).await;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&store.pool)
        .await
        .unwrap();
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&store.pool)
        .await
        .unwrap();
    assert_eq!((journal.as_str(), synchronous), ("wal", 2));
}

/// Starts this test binary as a process that opens the store and fills it.
fn child(path: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "store::tests::fills_the_store_as_a_child",
            "--nocapture",
        ])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "the part of the child processes that the tests below start"]
async fn fills_the_store_as_a_child() {
    let path = PathBuf::from(env::var_os(CHILD).expect("started by a test"));
    println!("started");
    let store = open(&path).await;
    let stored = add(&store, set(&std::process::id().to_string())).await;
    println!("stored {}", stored.keys[0].key_id);
}

type Output = Lines<BufReader<ChildStdout>>;

fn output(child: &mut Child) -> Output {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

/// What the child prints behind `word`; `None` if it ends before.
async fn line_of(output: &mut Output, word: &str) -> Option<String> {
    while let Ok(Some(line)) = output.next_line().await {
        if let Some((_, rest)) = line.split_once(word) {
            return Some(rest.to_owned());
        }
    }
    None
}

#[tokio::test]
async fn processes_that_start_at_once_agree_on_one_set() {
    let (_directory, path) = directory();
    let mut children: Vec<_> = (0..6).map(|_| child(&path)).collect();
    let mut seen = Vec::new();
    for child in &mut children {
        let mut output = output(child);
        seen.push(
            line_of(&mut output, "stored ")
                .await
                .expect("a child failed"),
        );
        child.wait().await.unwrap();
    }
    assert!(seen.iter().all(|line| *line == seen[0]), "{seen:?}");
    assert_eq!(open(&path).await.load().await.unwrap().keys.len(), 2);
}

#[tokio::test]
async fn a_process_that_is_killed_at_any_moment_leaves_a_whole_set_or_none() {
    for delay_us in (0..40_000).step_by(1_000) {
        let (_directory, path) = directory();
        let mut child = child(&path);
        let mut output = output(&mut child);
        line_of(&mut output, "started")
            .await
            .expect("the child did not start");
        // The moment of the kill is what this test varies; nothing waits for it.
        tokio::time::sleep(Duration::from_micros(delay_us)).await;
        child.kill().await.unwrap();
        let store = open(&path).await;
        let left = store.load().await.unwrap();
        assert!(
            left.keys.len() == 2 * usize::try_from(left.sequence).unwrap() && left.sequence < 2,
            "after {delay_us} us: {left:?}"
        );
        let stored = add(&store, set("next")).await;
        assert_eq!((stored.keys.len(), stored.sequence), (2, 1));
        assert!(
            left.keys.is_empty() || stored == left,
            "what was there must stay"
        );
    }
}
