//! Which folders are watched, and what counts in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Folders, and what counts in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folders(BTreeMap<PathBuf, Entries>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entries {
    All,
    Named(BTreeSet<OsString>),
}

impl Folders {
    /// Everything in `folder` counts. It is watched under its real path: the kernel watches folders, not
    /// names, and tells of one that is reached by two names once.
    pub(crate) fn add(&mut self, folder: PathBuf) {
        self.0.insert(folder, Entries::All);
    }

    /// The entry that `path` names counts, whether it is there or not.
    pub(crate) fn add_entry(&mut self, path: &Path) {
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        let (Some(folder), Some(name)) = (folder, path.file_name()) else {
            return;
        };
        let entries = self
            .0
            .entry(folder)
            .or_insert(Entries::Named(BTreeSet::new()));
        if let Entries::Named(names) = entries {
            names.insert(name.to_owned());
        }
    }

    /// The file that `path` leads to counts, and each link on the way to it.
    pub(crate) fn add_file(&mut self, path: &Path) {
        self.add_entry(path);
        if path.is_symlink() {
            // A volume of Kubernetes swaps this link, not the file's.
            self.add_entry(&path.with_file_name("..data"));
            if let Ok(target) = path.canonicalize() {
                self.add_entry(&target);
            }
        }
    }

    /// Where they are.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    fn concern(&self, path: &Path) -> bool {
        let Some((folder, name)) = path.parent().zip(path.file_name()) else {
            return true;
        };
        self.0.contains_key(path)
            || match self.0.get(folder) {
                Some(Entries::All) => true,
                Some(Entries::Named(names)) => names.contains(name),
                None => false,
            }
    }
}

/// The folders, for the thread that hears of changes and the task that asks.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Folders>>);

impl Shared {
    /// Puts `folders` in the place of the ones that are returned.
    pub(super) fn replace(&self, folders: Folders) -> Folders {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut held, folders)
    }

    /// Whether what happened at `paths` counts. Without a path the kernel says that it lost something.
    pub(super) fn concern(&self, paths: &[PathBuf]) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paths.is_empty() || paths.iter().any(|path| held.concern(path))
    }
}
