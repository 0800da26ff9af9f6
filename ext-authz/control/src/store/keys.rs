//! The issuer's signing keys in the store.

use std::time::Duration;

use attache_core::time::Timestamp;
use attache_issuer::{
    KeyStore, StoreFailed, StoredKey, StoredRing,
    store::{Change, Changed, Stored},
};
use sqlx::{FromRow, Sqlite, SqliteConnection, Transaction};

use super::{Store, UnusableStore};

/// A key as its row holds it; moments in milliseconds since the Unix epoch.
#[derive(FromRow)]
struct KeyRow {
    key_id: String,
    algorithm: String,
    public_jwk: String,
    sealed_private: Vec<u8>,
    created_at_ms: i64,
    published_at_ms: Option<i64>,
    active_at_ms: Option<i64>,
    due_at_ms: Option<i64>,
    retired_at_ms: Option<i64>,
    removed_at_ms: Option<i64>,
    revoked_at_ms: Option<i64>,
    longest_ttl_s: i64,
}

impl KeyStore for Store {
    fn load(&self) -> Stored<'_, StoredRing> {
        Box::pin(async move { self.ring().await.map_err(StoreFailed::new) })
    }

    fn change<'a>(&'a self, expected: u64, change: &'a Change) -> Stored<'a, Changed> {
        Box::pin(async move {
            self.change_ring(expected, change)
                .await
                .map_err(StoreFailed::new)
        })
    }

    fn erase(&self) -> Stored<'_, ()> {
        Box::pin(async move { self.rewrite().await.map_err(StoreFailed::new) })
    }
}

impl Store {
    async fn ring(&self) -> Result<StoredRing, UnusableStore> {
        let sqlite = |error| self.unusable(error);
        // One transaction, so that keys and sequence are of one moment.
        let mut transaction = self.pool.begin().await.map_err(sqlite)?;
        ring(&mut transaction).await.map_err(sqlite)
    }

    async fn change_ring(&self, expected: u64, change: &Change) -> Result<Changed, UnusableStore> {
        let sqlite = |error| self.unusable(error);
        // INVARIANT: looking and changing happen under one lock; whoever comes second changes nothing.
        let begun = self.pool.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(sqlite)?;
        let before = ring(&mut transaction).await.map_err(sqlite)?;
        if before.sequence != expected {
            return Ok(Changed::Overtaken(before));
        }
        let sequence = before.next_sequence(change.at);
        let written = write(&mut transaction, change, sequence).await;
        written.map_err(sqlite)?;
        let after = ring(&mut transaction).await.map_err(sqlite)?;
        transaction.commit().await.map_err(sqlite)?;
        Ok(Changed::Done(after))
    }

    /// Writes the file anew from what it holds, and empties its log. The log of a change holds the pages as
    /// they were before, and a page that was split may hold a row where it stood.
    async fn rewrite(&self) -> Result<(), UnusableStore> {
        let sqlite = |error| self.unusable(error);
        let rewritten = sqlx::raw_sql("VACUUM").execute(&self.pool).await;
        rewritten.map_err(sqlite)?;
        // It answers that another process was in the way, rather than to fail.
        let emptied = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)");
        let in_the_way: i64 = emptied.fetch_one(&self.pool).await.map_err(sqlite)?;
        if in_the_way != 0 {
            return Err(UnusableStore::Locked {
                path: self.path.clone(),
            });
        }
        Ok(())
    }
}

async fn write(
    transaction: &mut Transaction<'_, Sqlite>,
    change: &Change,
    sequence: u64,
) -> Result<(), sqlx::Error> {
    for key in &change.keys {
        put(transaction, key).await?;
    }
    sqlx::query::<Sqlite>("UPDATE key_ring SET sequence = ?1, revocations = revocations + ?2")
        .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
        .bind(i64::from(change.revokes))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn put(connection: &mut SqliteConnection, key: &StoredKey) -> Result<(), sqlx::Error> {
    let moment = |at: Option<Timestamp>| at.map(Timestamp::as_millis);
    sqlx::query::<Sqlite>(
        "INSERT INTO signing_key (key_id, algorithm, public_jwk, sealed_private, created_at_ms,
             published_at_ms, active_at_ms, due_at_ms, retired_at_ms, removed_at_ms, revoked_at_ms,
             longest_ttl_s)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (key_id) DO UPDATE SET sealed_private = ?4, published_at_ms = ?6,
             active_at_ms = ?7, due_at_ms = ?8, retired_at_ms = ?9, removed_at_ms = ?10,
             revoked_at_ms = ?11, longest_ttl_s = ?12",
    )
    .bind(&key.key_id)
    .bind(&key.algorithm)
    .bind(&key.public_jwk)
    .bind(&key.sealed_private)
    .bind(key.created_at.as_millis())
    .bind(moment(key.published_at))
    .bind(moment(key.active_at))
    .bind(moment(key.due_at))
    .bind(moment(key.retired_at))
    .bind(moment(key.removed_at))
    .bind(moment(key.revoked_at))
    .bind(i64::try_from(key.longest_ttl.as_secs()).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}

async fn ring(connection: &mut SqliteConnection) -> Result<StoredRing, sqlx::Error> {
    let (sequence, revocations): (i64, i64) =
        sqlx::query_as("SELECT sequence, revocations FROM key_ring")
            .fetch_one(&mut *connection)
            .await?;
    let rows: Vec<KeyRow> = sqlx::query_as(
        "SELECT key_id, algorithm, public_jwk, sealed_private, created_at_ms, published_at_ms,
             active_at_ms, due_at_ms, retired_at_ms, removed_at_ms, revoked_at_ms, longest_ttl_s
         FROM signing_key ORDER BY created_at_ms, rowid",
    )
    .fetch_all(connection)
    .await?;
    Ok(StoredRing {
        sequence: u64::try_from(sequence).unwrap_or(0),
        revocations: u64::try_from(revocations).unwrap_or(0),
        keys: rows.into_iter().map(stored_key).collect(),
    })
}

fn stored_key(row: KeyRow) -> StoredKey {
    let moment = |at: Option<i64>| at.map(Timestamp::from_millis);
    StoredKey {
        key_id: row.key_id,
        algorithm: row.algorithm,
        public_jwk: row.public_jwk,
        sealed_private: row.sealed_private,
        created_at: Timestamp::from_millis(row.created_at_ms),
        published_at: moment(row.published_at_ms),
        active_at: moment(row.active_at_ms),
        due_at: moment(row.due_at_ms),
        retired_at: moment(row.retired_at_ms),
        removed_at: moment(row.removed_at_ms),
        revoked_at: moment(row.revoked_at_ms),
        longest_ttl: Duration::from_secs(u64::try_from(row.longest_ttl_s).unwrap_or(0)),
    }
}
