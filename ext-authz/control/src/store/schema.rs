//! The schema by versions. `PRAGMA user_version` says how many of the migrations a file has, and
//! changes in one transaction with them.

use sqlx::{AssertSqlSafe, Executor as _, Row as _, Sqlite, Transaction};

use super::{Store, UnusableStore};

/// Marks the file as ours (`PRAGMA application_id`): `ATCH`.
const APPLICATION_ID: i64 = 0x4154_4348;

/// Applied in order, each once. Never change one that was released; add another.
const MIGRATIONS: [&str; 2] = [
    include_str!("../../migrations/0001_signing_keys.sql"),
    include_str!("../../migrations/0002_rotation.sql"),
];

/// The tables that `check` reads through at every start: they are small, and a damaged one must not
/// be found by the first caller.
const CHECKED: [&str; 2] = ["signing_key", "key_ring"];

/// Brings the file to the newest version.
pub(super) async fn migrate(store: &Store) -> Result<(), UnusableStore> {
    // The lock is taken before anything is read, so that of two processes one waits for the other.
    let begun = store.pool.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(|error| store.unusable(error))?;
    let sqlite = |error| store.unusable(error);
    let found = pragma(&mut transaction, "PRAGMA user_version")
        .await
        .map_err(sqlite)?;
    let owner = pragma(&mut transaction, "PRAGMA application_id")
        .await
        .map_err(sqlite)?;
    let tables = pragma(&mut transaction, "SELECT count(*) FROM sqlite_schema")
        .await
        .map_err(sqlite)?;
    let is_new = (found, owner, tables) == (0, 0, 0);
    if owner != APPLICATION_ID && !is_new {
        return Err(UnusableStore::Foreign {
            path: store.path.clone(),
        });
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(UnusableStore::Newer {
            path: store.path.clone(),
            found,
            known,
        });
    }
    if found == known {
        return Ok(());
    }
    let done = usize::try_from(found).unwrap_or(0);
    for migration in MIGRATIONS.into_iter().skip(done) {
        transaction
            .execute(sqlx::raw_sql(migration))
            .await
            .map_err(sqlite)?;
    }
    let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {known}");
    transaction
        .execute(sqlx::raw_sql(AssertSqlSafe(marks)))
        .await
        .map_err(sqlite)?;
    transaction.commit().await.map_err(sqlite)
}

/// Reads the small tables through, so that damage is found now.
pub(super) async fn check(store: &Store) -> Result<(), UnusableStore> {
    for table in CHECKED {
        let statement = AssertSqlSafe(format!("PRAGMA quick_check('{table}')"));
        let rows = sqlx::query(statement).fetch_all(&store.pool).await;
        for row in rows.map_err(|error| store.unusable(error))? {
            let detail: String = row.try_get(0).map_err(|error| store.unusable(error))?;
            if detail != "ok" {
                return Err(UnusableStore::Damaged {
                    path: store.path.clone(),
                    detail,
                });
            }
        }
    }
    Ok(())
}

async fn pragma(
    transaction: &mut Transaction<'_, Sqlite>,
    statement: &'static str,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(statement)
        .fetch_one(&mut **transaction)
        .await
}
