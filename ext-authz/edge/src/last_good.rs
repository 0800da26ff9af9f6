//! The policy set that was accepted last, kept in a file of our own, so that a restart with a broken
//! directory goes on with it. It is no less checked than the directory: it compiles again, and to the same
//! revision, or it counts for nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use attache_core::time::Timestamp;
use attache_policy::Source;
use attache_trust::regular_file;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::reload::Refused;

/// The version of the file's form.
const FORM: u32 = 1;

/// Largest file written and read, in bytes.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The file that keeps the last good set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastGoodFile(PathBuf);

/// A set that was in force.
#[derive(Clone, Debug)]
pub(crate) struct LastGood {
    /// The directory that it came from.
    pub(crate) directory: PathBuf,
    /// Its revision.
    pub(crate) revision: String,
    /// When it was accepted.
    pub(crate) accepted_at: Timestamp,
    /// Its documents.
    pub(crate) sources: Vec<Source>,
}

/// Why a kept set is of no use.
#[derive(Debug, Error)]
pub enum UnusableLastGood {
    /// Nothing was kept yet.
    #[error("no set was ever accepted here")]
    None,
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what we wrote.
    #[error("{} is damaged: {error}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// It was written by another version, or for another directory.
    #[error("{} keeps a set of {found}, not of {wanted}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it keeps.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// It is refused now.
    #[error("it is refused now: {0}")]
    Refused(Box<Refused>),
    /// What was accepted then is not what it compiles to now.
    #[error("{} keeps revision {kept}, which compiles to {found} now: the configuration changed, or the file is damaged", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The revision that was accepted.
        kept: String,
        /// The revision that it compiles to.
        found: String,
    },
}

/// The file's form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    form: u32,
    directory: PathBuf,
    revision: String,
    accepted_at: Timestamp,
    sources: Vec<WrittenSource>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSource {
    name: String,
    text: String,
}

impl LastGoodFile {
    /// The file in the folder of state.
    pub(crate) fn in_folder(data_dir: &Path) -> Self {
        Self(data_dir.join("last-good-policies.json"))
    }

    /// What was kept as `kept` compiles to another revision.
    pub(crate) fn changed(&self, kept: String, found: &str) -> UnusableLastGood {
        UnusableLastGood::Changed {
            path: self.0.clone(),
            kept,
            found: found.to_owned(),
        }
    }

    /// Keeps `set`: a reader, and a start after a power cut, finds this set or the one before, whole.
    pub(crate) fn keep(&self, set: &LastGood) -> io::Result<()> {
        let sources = set.sources.iter().map(|source| {
            let text = String::from_utf8(source.text.clone()).map_err(io::Error::other)?;
            let name = source.name.clone();
            Ok(WrittenSource { name, text })
        });
        let written = Written {
            form: FORM,
            directory: set.directory.clone(),
            revision: set.revision.clone(),
            accepted_at: set.accepted_at,
            sources: sources.collect::<io::Result<_>>()?,
        };
        let bytes = serde_json::to_vec(&written)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
            let limit = format!("the set is larger than {MAX_BYTES} bytes");
            return Err(io::Error::other(limit));
        }
        // One process holds the folder of state, so the draft's name needs to be no one's but ours.
        let draft = self.0.with_extension("json.new");
        write(&draft, &bytes)?;
        fs::rename(&draft, &self.0)?;
        let folder = self.0.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    /// What was kept of `directory`. It is not compiled yet.
    pub(crate) fn load(&self, directory: &Path) -> Result<LastGood, UnusableLastGood> {
        let path = || self.0.clone();
        let bytes = match regular_file::read(&self.0, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(UnusableLastGood::None);
            }
            Err(error) => {
                return Err(UnusableLastGood::Unreadable {
                    path: path(),
                    error,
                });
            }
        };
        let written: Written =
            serde_json::from_slice(&bytes).map_err(|error| UnusableLastGood::Damaged {
                path: path(),
                error,
            })?;
        let foreign = |found: String, wanted: String| UnusableLastGood::Foreign {
            path: path(),
            found,
            wanted,
        };
        if written.form != FORM {
            let form = |form| format!("form {form}");
            return Err(foreign(form(written.form), form(FORM)));
        }
        if written.directory != directory {
            let place = |directory: &Path| directory.display().to_string();
            return Err(foreign(place(&written.directory), place(directory)));
        }
        let sources = written.sources.into_iter().map(|source| Source {
            name: source.name,
            text: source.text.into_bytes(),
        });
        Ok(LastGood {
            directory: written.directory,
            revision: written.revision,
            accepted_at: written.accepted_at,
            sources: sources.collect(),
        })
    }
}

fn write(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    // A draft that a killed process left may be longer, or not ours alone.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
