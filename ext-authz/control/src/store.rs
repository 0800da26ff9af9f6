//! The embedded store: one SQLite file. What a call wrote is on the disk when it returns, and two
//! processes may open the file at once.

mod file;
mod keys;
mod schema;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use thiserror::Error;
use tokio::time::sleep;

/// How long a call waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once, each with a thread and a cache of its own: the store is asked at start and by the administration,
/// not for requests.
const MAX_CONNECTIONS: u32 = 2;
/// How often, and with what pause, opening is tried again while another process switches the journal.
const OPEN_ATTEMPTS: u32 = 50;
const OPEN_PAUSE: Duration = Duration::from_millis(100);

/// Primary result codes of SQLite.
const BUSY: u32 = 5;
const FULL: u32 = 13;
const CORRUPT: u32 = 11;
const NOT_A_DATABASE: u32 = 26;

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    path: PathBuf,
}

/// Why the store cannot be used. The file is left as it was found.
#[derive(Debug, Error)]
pub enum UnusableStore {
    /// The file cannot be opened or made.
    #[error("the store {path} cannot be opened: {error}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The file is damaged.
    #[error("the store {path} is damaged ({detail}); restore it from a backup, or move it and its -wal and -shm files away to begin with new keys", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// The file is a database of another program.
    #[error("{path} is a database of another program; name another file for the store", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote the file.
    #[error("the store {path} has schema version {found} and this program knows up to {known}; start the version that wrote it, or a newer one", path = .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// Another process holds the file.
    #[error("the store {path} is locked by another process; look for one that hangs", path = .path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// There is no room.
    #[error("there is no room on the disk for the store {path}", path = .path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Something else, in SQLite's words.
    #[error("the store {path}: {error}", path = .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        error: sqlx::Error,
    },
}

impl Store {
    /// Opens the store, and makes the file (mode 0600) if there is none. Brings an older file to the
    /// schema of this version.
    pub async fn open(path: &Path) -> Result<Self, UnusableStore> {
        file::prepare(path).map_err(|error| UnusableStore::File {
            path: path.to_owned(),
            error,
        })?;
        let store = Self {
            pool: connect(path).await?,
            path: path.to_owned(),
        };
        schema::migrate(&store).await?;
        schema::check(&store).await?;
        Ok(store)
    }

    /// Closes the file after what is being written.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Tells what kind of trouble `error` is.
    fn unusable(&self, error: sqlx::Error) -> UnusableStore {
        unusable(&self.path, error)
    }
}

async fn connect(path: &Path) -> Result<SqlitePool, UnusableStore> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // SECURITY: a key that signed a token must not be gone after a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        // SECURITY: what is deleted is overwritten, and no copy of it is made in a temporary file.
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
        // A file that someone prepared must not run functions through its schema.
        .pragma("trusted_schema", "OFF");
    let mut attempt = 0;
    loop {
        let pool = SqlitePoolOptions::new().max_connections(MAX_CONNECTIONS);
        match pool.connect_with(options.clone()).await {
            Ok(pool) => return Ok(pool),
            // SQLite does not wait for the lock that changing the journal takes.
            Err(error) if primary_code(&error) == Some(BUSY) && attempt < OPEN_ATTEMPTS => {
                attempt += 1;
                sleep(OPEN_PAUSE).await;
            }
            Err(error) => return Err(unusable(path, error)),
        }
    }
}

fn unusable(path: &Path, error: sqlx::Error) -> UnusableStore {
    let path = path.to_owned();
    match (primary_code(&error), &error) {
        (Some(CORRUPT | NOT_A_DATABASE), _) | (_, sqlx::Error::ColumnDecode { .. }) => {
            UnusableStore::Damaged {
                path,
                detail: error.to_string(),
            }
        }
        (Some(BUSY), _) => UnusableStore::Locked { path },
        (Some(FULL), _) => UnusableStore::DiskFull { path },
        _ => UnusableStore::Sqlite { path, error },
    }
}

/// The low byte of SQLite's extended code.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

#[cfg(test)]
mod tests;
