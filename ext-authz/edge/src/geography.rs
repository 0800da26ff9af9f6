//! In which country an address is: a database file in MaxMind's format, read into memory whole and read again
//! when it is replaced. A file that is refused leaves the last good one in force.

use std::{
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use attache_core::time::Timestamp;
use attache_policy::{Country, Geography, Location};
use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use self::file::{Digest, digest};
use crate::{clock, stamp::Stamp, watch::Watch};

mod file;

/// Largest database read, in bytes: it is held in memory.
pub const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Where the country stands in a record.
const COUNTRY: [PathElement<'static>; 2] =
    [PathElement::Key("country"), PathElement::Key("iso_code")];

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeographySettings {
    /// The database file.
    pub database: PathBuf,
    /// How long after it was built its word counts.
    pub max_age: Duration,
}

/// A database that follows its file.
pub struct GeographyDatabase {
    settings: GeographySettings,
    database: ArcSwapOption<Database>,
    standing: Mutex<Standing>,
}

/// How the database in force stands to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeographyState {
    /// The file.
    pub path: PathBuf,
    /// When the database in force was built; `None` if there is none.
    pub built_at: Option<Timestamp>,
    /// Since when it is too old to be relied on.
    pub good_until: Option<Timestamp>,
    /// Why what the file holds is refused.
    pub refused: Option<String>,
}

/// Why a database is refused.
#[derive(Debug, Error)]
pub enum RefusedDatabase {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is larger than [`MAX_BYTES`].
    #[error("{} is larger than {MAX_BYTES} bytes; use a database of countries, not of cities", .0.display())]
    TooLarge(PathBuf),
    /// It is not a database, or a damaged one.
    #[error("{} is no whole MaxMind database: {error}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        error: MaxMindDbError,
    },
    /// It is a database of something else.
    #[error("{} is a database of type {kind:?} without country.iso_code; use one of countries", path.display())]
    NoCountries {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        kind: String,
    },
}

struct Database {
    reader: Reader<Vec<u8>>,
    built_at: Timestamp,
    good_until: Timestamp,
}

#[derive(Default)]
struct Standing {
    read: Option<Stamp>,
    digest: Option<Digest>,
    refused: Option<String>,
}

impl GeographyDatabase {
    /// Reads the file. If it is refused, no address is anywhere until it can be read: conditions that ask for
    /// a country deny.
    pub fn open(settings: GeographySettings) -> Self {
        let database = Self {
            settings,
            database: ArcSwapOption::empty(),
            standing: Mutex::default(),
        };
        database.look();
        database
    }

    /// How the database in force stands to the file.
    pub fn state(&self) -> GeographyState {
        let database = self.database.load();
        GeographyState {
            path: self.settings.database.clone(),
            built_at: database.as_ref().map(|database| database.built_at),
            good_until: database.as_ref().map(|database| database.good_until),
            refused: self.standing().refused.clone(),
        }
    }

    /// Follows the file for as long as it is polled.
    pub async fn follow(self: Arc<Self>) {
        let mut watch = Watch::new();
        loop {
            let database = Arc::clone(&self);
            let looked = spawn_blocking(move || {
                watch.follow(file::folders(&database.settings.database));
                database.look();
                watch
            });
            watch = match looked.await {
                Ok(watch) => watch,
                Err(error) => {
                    warn!(%error, "the geography database could not be judged");
                    Watch::new()
                }
            };
            watch.settled().await;
        }
    }

    /// Reads the file if it changed, and puts it in force if it is good.
    fn look(&self) {
        let path = &self.settings.database;
        // The stamp is older than what is read, so that a change in between is seen the next time.
        let stamp = Stamp::of(path);
        if stamp.is_some() && stamp == self.standing().read {
            return;
        }
        let known = self.standing().digest;
        let read = file::read(path).and_then(|bytes| {
            let digest = digest(&bytes);
            let is_new = known.is_none_or(|known| known != digest);
            let database = is_new.then(|| self.database(bytes)).transpose()?;
            Ok((digest, database))
        });
        self.conclude(stamp, read);
    }

    fn database(&self, bytes: Vec<u8>) -> Result<Database, RefusedDatabase> {
        let path = || self.settings.database.clone();
        let malformed = |error| RefusedDatabase::Malformed {
            path: path(),
            error,
        };
        let reader = Reader::from_source(bytes).map_err(malformed)?;
        // Every network is looked at once, so that none is found broken while a call waits.
        let networks = reader.networks(WithinOptions::default());
        let mut knows_countries = false;
        for network in networks.map_err(malformed)? {
            let code = network
                .and_then(|network| code(&network))
                .map_err(malformed)?;
            knows_countries |= code.and_then(Country::parse).is_some();
        }
        if !knows_countries {
            return Err(RefusedDatabase::NoCountries {
                path: path(),
                kind: reader.metadata().database_type.clone(),
            });
        }
        let built = i64::try_from(reader.metadata().build_epoch).unwrap_or(i64::MAX);
        let built_at = Timestamp::from_seconds(built);
        Ok(Database {
            reader,
            built_at,
            good_until: built_at.plus(self.settings.max_age),
        })
    }

    fn conclude(
        &self,
        stamp: Option<Stamp>,
        read: Result<(Digest, Option<Database>), RefusedDatabase>,
    ) {
        let now = clock::now();
        let path = self.settings.database.display();
        let mut standing = self.standing();
        standing.read = stamp.filter(|stamp| stamp.is_certain(now));
        match read {
            Ok((digest, database)) => {
                if let Some(database) = database {
                    let (built_at, good_until) = (database.built_at, database.good_until);
                    info!(%path, %built_at, %good_until, "geography database in force");
                    if good_until <= now {
                        warn!(%path, %good_until, "the geography database is too old to be relied on; conditions on a country deny");
                    }
                    self.database.store(Some(Arc::new(database)));
                    standing.digest = Some(digest);
                }
                standing.refused = None;
            }
            Err(refused) => {
                let problem = refused.to_string();
                if standing.refused.as_ref() != Some(&problem) {
                    warn!(%refused, "geography database refused; the last good one stays in force");
                }
                standing.refused = Some(problem);
            }
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Geography for GeographyDatabase {
    fn locate(&self, address: IpAddr) -> Option<Location> {
        let database = self.database.load();
        let database = database.as_ref()?;
        // A database of IPv4 alone knows no other address: that is no error.
        let found = database.reader.lookup(address).ok()?;
        Some(Location {
            country: code(&found).ok()?.and_then(Country::parse)?,
            good_until: database.good_until,
        })
    }
}

fn code<'a>(found: &LookupResult<'a, Vec<u8>>) -> Result<Option<&'a str>, MaxMindDbError> {
    found.decode_path(&COUNTRY)
}

#[cfg(test)]
mod tests;
