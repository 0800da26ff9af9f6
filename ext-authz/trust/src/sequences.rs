//! The highest `spiffe_sequence` that was seen of each bundle, and what stood in it: kept in a file, so that neither
//! a restart nor taking a provider away for a while lets an older bundle in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::task::spawn_blocking;

use crate::{bundle_source::RefusedBundle, regular_file};

#[cfg(test)]
mod tests;

/// The version of the file's form.
const FORM: u32 = 1;
/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Most bundles that are remembered; the one that changed longest ago is forgotten first.
const MAX_BUNDLES: usize = 1024;

/// What stands in a bundle: a hash of each key and each authority.
pub(crate) type Entries = BTreeSet<String>;

/// What was seen of all bundles.
pub struct Sequences {
    /// `None` where it is remembered no longer than the process lives.
    file: Option<PathBuf>,
    seen: Mutex<Seen>,
    /// One writer at a time, so that an older state never follows a newer one.
    writing: Mutex<()>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    form: u32,
    /// Counts the changes.
    changes: u64,
    /// By provider kind, trust domain and source.
    bundles: BTreeMap<String, Bundle>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    sequence: u64,
    entries: Entries,
    /// The number of the change that made it so.
    changed: u64,
}

/// Why what was seen cannot be read.
#[derive(Debug, Error)]
pub enum UnreadableSequences {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what we wrote.
    #[error("{} is damaged, or of another version: {error}; remove it to begin anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
}

impl Sequences {
    /// Remembered as long as the process lives.
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Self {
            file: None,
            seen: Mutex::default(),
            writing: Mutex::default(),
        })
    }

    /// Remembered in a file, which need not be there yet.
    pub fn in_file(path: &Path) -> Result<Arc<Self>, UnreadableSequences> {
        let seen = match regular_file::read(path, MAX_BYTES) {
            Ok(bytes) => read(&bytes).map_err(|error| UnreadableSequences::Damaged {
                path: path.to_owned(),
                error,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Seen::default(),
            Err(error) => {
                return Err(UnreadableSequences::File {
                    path: path.to_owned(),
                    error,
                });
            }
        };
        Ok(Arc::new(Self {
            file: Some(path.to_owned()),
            seen: Mutex::new(seen),
            writing: Mutex::default(),
        }))
    }

    /// Takes a bundle of `source`, or refuses it (SPIFFE Trust Domain and Bundle §4.1.1: the number grows with
    /// every change). Must be called within a tokio runtime.
    ///
    /// SECURITY: an older bundle may hold a key that was withdrawn since. Whoever changes a bundle and forgets the
    /// number may take keys away, never add any.
    pub(crate) fn admit(
        self: &Arc<Self>,
        source: &str,
        found: Option<u64>,
        entries: Entries,
    ) -> Result<(), RefusedBundle> {
        let mut seen = self.seen();
        let held = seen.bundles.get(source);
        let sequence = match (found, held) {
            (None, None) => return Ok(()),
            (None, Some(held)) => return Err(RefusedBundle::SequenceMissing(held.sequence)),
            (Some(found), Some(held)) if found < held.sequence => {
                let held = held.sequence;
                return Err(RefusedBundle::WentBack { found, held });
            }
            (Some(found), Some(held))
                if found == held.sequence && !entries.is_subset(&held.entries) =>
            {
                return Err(RefusedBundle::SequenceKept(found));
            }
            (Some(found), _) => found,
        };
        if held.is_none_or(|held| held.sequence != sequence || held.entries != entries) {
            seen.put(source, sequence, entries);
            drop(seen);
            self.write_soon();
        }
        Ok(())
    }

    /// Nothing of what stood in the bundle is taken any more under the number that it has.
    pub(crate) fn withdraw(self: &Arc<Self>, source: &str) {
        let mut seen = self.seen();
        let Some(sequence) = seen.bundles.get(source).map(|held| held.sequence) else {
            return;
        };
        seen.put(source, sequence, Entries::new());
        drop(seen);
        self.write_soon();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not at once: a slow disk must not hold up whoever takes a bundle.
    fn write_soon(self: &Arc<Self>) {
        let Some(path) = self.file.clone() else {
            return;
        };
        let own = Arc::clone(self);
        // Nobody waits for it; what it could not write, the next one does.
        drop(spawn_blocking(move || {
            if let Err(error) = own.write(&path) {
                tracing::error!(
                    path = %path.display(), %error,
                    "`spiffe_sequence` cannot be kept: an older bundle could be taken after a restart"
                );
            }
        }));
    }

    /// A reader, and a start after a power cut, finds this state or the one before, whole.
    fn write(&self, path: &Path) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = Seen {
            form: FORM,
            ..self.seen().clone()
        };
        let bytes = serde_json::to_vec(&seen)?;
        // One process holds the folder of state, so the draft's name needs to be no one's but ours.
        let draft = path.with_extension("json.new");
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Seen {
    fn put(&mut self, source: &str, sequence: u64, entries: Entries) {
        let room = self.bundles.len() < MAX_BUNDLES || self.bundles.contains_key(source);
        let oldest = self.bundles.iter().min_by_key(|(_, seen)| seen.changed);
        if let Some(oldest) = oldest.map(|(name, _)| name.clone()).filter(|_| !room) {
            self.bundles.remove(&oldest);
        }
        self.changes = self.changes.saturating_add(1);
        let bundle = Bundle {
            sequence,
            entries,
            changed: self.changes,
        };
        self.bundles.insert(source.to_owned(), bundle);
    }
}

fn read(bytes: &[u8]) -> Result<Seen, serde_json::Error> {
    let seen: Seen = serde_json::from_slice(bytes)?;
    if seen.form != FORM {
        let form = format!("form {}, not {FORM}", seen.form);
        return Err(serde::de::Error::custom(form));
    }
    Ok(seen)
}
