//! The policy set in force: one immutable value, replaced whole after it compiled. A refused set
//! leaves the last good one in force.

use std::{
    collections::BTreeSet,
    fs, io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use attache_policy::{Compiled, Problems, Settings, Source};
use attache_trust::read_below;
use thiserror::Error;
use tokio::sync::watch;

/// Largest policy file read, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The policy set in force.
pub struct Live {
    compiled: ArcSwap<Compiled>,
    /// Counts the steps of changes: odd while one is being made.
    steps: AtomicU64,
    /// Held while a change is made.
    changing: Mutex<()>,
    /// Tells of each change after it was made.
    changed: watch::Sender<u64>,
}

/// A change while it is made; however it ends, it ends.
struct Step<'l>(&'l AtomicU64);

impl<'l> Step<'l> {
    fn begin(steps: &'l AtomicU64) -> Self {
        steps.fetch_add(1, Ordering::SeqCst);
        Self(steps)
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A set as it was in force at one moment, together with the trust providers that belong to it.
pub(crate) struct InForce {
    compiled: Arc<Compiled>,
    step: u64,
}

impl InForce {
    /// Counts the changes before it was taken.
    pub(crate) const fn step(&self) -> u64 {
        self.step
    }
}

impl Deref for InForce {
    type Target = Compiled;

    fn deref(&self) -> &Compiled {
        &self.compiled
    }
}

/// Why a policy directory was not accepted.
#[derive(Debug, Error)]
pub enum RefusedPolicies {
    /// The directory or a file in it cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// Why it was not.
        error: io::Error,
    },
    /// The directory holds no document.
    #[error("{} holds no .yaml, .yml or .json file; `attache init DIR` writes a starting set", .0.display())]
    Empty(PathBuf),
    /// Documents have problems; all of them are listed.
    #[error("{0}")]
    Problems(Problems),
}

impl Live {
    /// Puts the first set in force.
    pub fn new(compiled: Compiled) -> Self {
        Self {
            compiled: ArcSwap::from_pointee(compiled),
            steps: AtomicU64::new(0),
            changing: Mutex::new(()),
            changed: watch::Sender::new(0),
        }
    }

    /// Learns of each change of the policies or the trust providers: the step that is reached.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The set in force.
    pub fn compiled(&self) -> Arc<Compiled> {
        self.compiled.load_full()
    }

    /// The set in force, for a decision that must not mix it with the trust providers of another.
    pub(crate) fn in_force(&self) -> InForce {
        loop {
            let step = self.steps.load(Ordering::SeqCst);
            if !step.is_multiple_of(2) {
                // A change replaces a few pointers; nothing in it waits for a file or a socket.
                drop(self.turn());
                continue;
            }
            let compiled = self.compiled();
            if self.steps.load(Ordering::SeqCst) == step {
                return InForce { compiled, step };
            }
        }
    }

    /// Whether nothing was changed since `taken` was.
    pub(crate) fn is_current(&self, taken: &InForce) -> bool {
        self.steps.load(Ordering::SeqCst) == taken.step
    }

    /// Makes a change of trust providers and, if `change` gives one, of the set. INVARIANT: a decision that
    /// saw only a part of it is not current, and is made again.
    pub(crate) fn change<E>(
        &self,
        change: impl FnOnce() -> Result<Option<Compiled>, E>,
    ) -> Result<(), E> {
        let _turn = self.turn();
        let step = Step::begin(&self.steps);
        let changed = change().map(|compiled| {
            if let Some(compiled) = compiled {
                self.compiled.store(Arc::new(compiled));
            }
        });
        drop(step);
        // However it ended: part of it may be in force.
        self.changed.send_replace(self.steps.load(Ordering::SeqCst));
        changed
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads and compiles every document of `directory`: taken whole or refused whole.
pub fn load(directory: &Path, settings: &Settings) -> Result<Compiled, RefusedPolicies> {
    compile(&sources(directory)?, settings)
}

/// Compiles what was read.
pub(crate) fn compile(
    sources: &[Source],
    settings: &Settings,
) -> Result<Compiled, RefusedPolicies> {
    attache_policy::compile(sources, settings).map_err(RefusedPolicies::Problems)
}

/// Every folder in which something can change what [`sources`] yields: the directory's own, those in it, and
/// those that links in it lead to. What cannot be read is left out; [`sources`] tells of it.
pub(crate) fn folders(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![directory.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if is_hidden(&path) {
                continue;
            }
            if path.is_symlink() {
                let target = path.canonicalize().ok();
                found.extend(target.as_deref().and_then(Path::parent).map(Path::to_owned));
            } else if path.is_dir() {
                folders.push(path);
            }
        }
        found.extend(folder.canonicalize().ok());
    }
    found
}

/// The documents of `directory` and its folders, by name. Hidden entries are left out: a ConfigMap
/// mount keeps its versions in `..data`.
///
/// SECURITY: links to files are followed as far as they stay in the directory, as those of a ConfigMap mount do.
/// Whoever may write here could otherwise have any file of the edge's read, and its lines shown as problems.
pub fn sources(directory: &Path) -> Result<Vec<Source>, RefusedPolicies> {
    let Found { root, files } = find(directory)?;
    if files.is_empty() {
        return Err(RefusedPolicies::Empty(directory.to_path_buf()));
    }
    let read = |file: &File| {
        let text = read_below(&root, &file.real, MAX_FILE_BYTES);
        Ok(Source {
            name: file.shown.display().to_string(),
            text: text.map_err(|error| unreadable(&file.shown, error))?,
        })
    };
    let mut found = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The files of a directory that hold documents.
pub(crate) struct Found {
    /// Where they lie, wherever a link to the directory leads by the end.
    root: PathBuf,
    pub(crate) files: Vec<File>,
}

/// A file that holds documents.
pub(crate) struct File {
    /// Where it lies, or a link to it.
    pub(crate) real: PathBuf,
    pub(crate) shown: PathBuf,
}

/// What [`sources`] reads.
pub(crate) fn find(directory: &Path) -> Result<Found, RefusedPolicies> {
    let root = directory.canonicalize();
    let root = root.map_err(|error| unreadable(directory, error))?;
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let shown = |path: &Path| directory.join(path);
        let entries = fs::read_dir(root.join(&folder));
        for entry in entries.map_err(|error| unreadable(&shown(&folder), error))? {
            let entry = entry.map_err(|error| unreadable(&shown(&folder), error))?;
            let path = folder.join(entry.file_name());
            if is_hidden(&path) {
                continue;
            }
            let (real, shown) = (root.join(&path), shown(&path));
            let linked = real.is_symlink();
            // Follows links to files, as a ConfigMap mount needs; links to folders could run in a circle.
            let metadata = fs::metadata(&real).map_err(|error| unreadable(&shown, error))?;
            if metadata.is_dir() && linked {
                let error =
                    io::Error::other("a link to a folder is not followed; put the folder here");
                return Err(unreadable(&shown, error));
            } else if metadata.is_dir() {
                folders.push(path);
            } else if is_document(&path) {
                files.push(File { real, shown });
            }
        }
    }
    Ok(Found { root, files })
}

fn unreadable(path: &Path, error: io::Error) -> RefusedPolicies {
    RefusedPolicies::Unreadable {
        path: path.into(),
        error,
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// SECURITY: in any case, for a deny in `DENY.YAML` must not be left out.
fn is_document(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let known = ["yaml", "yml", "json"];
    extension.is_some_and(|extension| known.iter().any(|it| it.eq_ignore_ascii_case(extension)))
}

#[cfg(test)]
mod tests;
