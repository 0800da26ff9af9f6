//! The issuer's signing keys in the store.

use attache_core::time::Timestamp;
use attache_issuer::{KeyStore, StoreFailed, StoredKey, store::Stored};
use sqlx::{Sqlite, sqlite::SqliteExecutor};

use super::{Store, UnusableStore};

type KeyRow = (String, String, i64, String, Vec<u8>);

impl KeyStore for Store {
    fn load(&self) -> Stored<'_, Vec<StoredKey>> {
        Box::pin(async move {
            all(&self.pool)
                .await
                .map_err(|error| StoreFailed::new(self.unusable(error)))
        })
    }

    fn insert_missing<'a>(&'a self, keys: &'a [StoredKey]) -> Stored<'a, Vec<StoredKey>> {
        Box::pin(async move {
            self.insert_missing_keys(keys)
                .await
                .map_err(StoreFailed::new)
        })
    }
}

impl Store {
    async fn insert_missing_keys(
        &self,
        keys: &[StoredKey],
    ) -> Result<Vec<StoredKey>, UnusableStore> {
        let sqlite = |error| self.unusable(error);
        // INVARIANT: looking and adding happen under one lock; whoever comes second adds nothing.
        let begun = self.pool.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(sqlite)?;
        for key in keys {
            insert_if_missing(&mut *transaction, key)
                .await
                .map_err(sqlite)?;
        }
        let stored = all(&mut *transaction).await.map_err(sqlite)?;
        transaction.commit().await.map_err(sqlite)?;
        Ok(stored)
    }
}

async fn insert_if_missing(
    connection: impl SqliteExecutor<'_>,
    key: &StoredKey,
) -> Result<(), sqlx::Error> {
    sqlx::query::<Sqlite>(
        "INSERT INTO signing_key (key_id, algorithm, created_at_ms, public_jwk, sealed_private)
         SELECT ?1, ?2, ?3, ?4, ?5
         WHERE NOT EXISTS (SELECT 1 FROM signing_key WHERE algorithm = ?2)",
    )
    .bind(&key.key_id)
    .bind(&key.algorithm)
    .bind(key.created_at.as_millis())
    .bind(&key.public_jwk)
    .bind(&key.sealed_private)
    .execute(connection)
    .await?;
    Ok(())
}

async fn all(connection: impl SqliteExecutor<'_>) -> Result<Vec<StoredKey>, sqlx::Error> {
    let rows: Vec<KeyRow> = sqlx::query_as(
        "SELECT key_id, algorithm, created_at_ms, public_jwk, sealed_private
         FROM signing_key ORDER BY created_at_ms, rowid",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(stored_key).collect())
}

fn stored_key(row: KeyRow) -> StoredKey {
    let (key_id, algorithm, created_at_ms, public_jwk, sealed_private) = row;
    let created_at = Timestamp::from_millis(created_at_ms);
    StoredKey {
        key_id,
        algorithm,
        created_at,
        public_jwk,
        sealed_private,
    }
}
