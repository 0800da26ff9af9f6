//! The secrets that documents refer to: resolved only where the edge's configuration lets documents point to,
//! kept in memory, and looked at again while they are in use.
//!
//! A secret has a version, which is a part of the key that credentials are kept under: what was made of an older
//! version is not used again. A secret that cannot be read any more has no version, and nothing is made of it.

mod file;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use attache_core::{decision::Fault, secret::Secret};
use attache_policy::document::SecretReference;
use thiserror::Error;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use file::Stamp;

/// Longest secret that is read, in bytes.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

/// How often files are looked at while their secrets are in use.
const PACE: Duration = Duration::from_millis(500);

/// For how long a secret that nobody asks for is kept in memory.
const UNUSED: Duration = Duration::from_mins(10);

/// Where documents may point to: the edge's own configuration says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRoots {
    /// Where relative paths start.
    pub base: PathBuf,
    /// Folders that `file:` may lead into, absolute.
    pub folders: Vec<PathBuf>,
    /// What the names of variables begin with that `env:` may name.
    pub variables: Vec<String>,
    /// The folder in which Secrets are mounted under their names, for `kubernetes:`.
    pub mounted: PathBuf,
}

/// Why a document must not refer to a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ForeignSecret {
    /// Outside of the folders.
    #[error("{} lies outside {}", .path.display(), told(.folders))]
    Folder {
        /// The file.
        path: PathBuf,
        /// The folders.
        folders: Vec<PathBuf>,
    },
    /// Another variable than those.
    #[error("the variable {name} does not begin with {}", .prefixes.join(" or "))]
    Variable {
        /// The variable.
        name: String,
        /// What such names begin with.
        prefixes: Vec<String>,
    },
    /// There is no Vault for references.
    #[error("`vault:` is not resolved by this version")]
    Vault,
}

impl ForeignSecret {
    /// What to do.
    pub const fn way_out(&self) -> &'static str {
        match self {
            Self::Folder { .. } => {
                "put it there, or list its folder in `secrets.file_roots` of the configuration"
            }
            Self::Variable { .. } => {
                "rename it, or list its beginning in `secrets.env_prefixes` of the configuration"
            }
            Self::Vault => "use env:, file: or kubernetes:",
        }
    }
}

fn told(folders: &[PathBuf]) -> String {
    let folders: Vec<_> = folders.iter().map(|it| it.display().to_string()).collect();
    folders.join(", ")
}

/// Where a secret is, once that is allowed.
enum Place {
    Variable(String),
    /// A file, and the folders that it may really lie in.
    File(PathBuf, Vec<PathBuf>),
}

impl SecretRoots {
    /// Everything is allowed: for those who judge documents without an edge, and read no secret.
    pub fn everything() -> Self {
        Self {
            folders: vec![PathBuf::from("/")],
            variables: vec![String::new()],
            ..Self::nothing()
        }
    }

    /// Nothing is allowed.
    pub fn nothing() -> Self {
        Self {
            base: PathBuf::from("/"),
            folders: Vec::new(),
            variables: Vec::new(),
            mounted: PathBuf::from("/nonexistent"),
        }
    }

    /// Whether a document may refer to `reference`, as far as its text says.
    pub fn check(&self, reference: &SecretReference) -> Result<(), ForeignSecret> {
        self.place(reference).map(|_| ())
    }

    fn place(&self, reference: &SecretReference) -> Result<Place, ForeignSecret> {
        match reference {
            SecretReference::Environment(name) => {
                // SECURITY: a prefix that is the whole name names nothing.
                let is_ours = |prefix: &String| {
                    name.len() > prefix.len() && name.starts_with(prefix.as_str())
                };
                if self.variables.iter().any(is_ours) {
                    return Ok(Place::Variable(name.clone()));
                }
                Err(ForeignSecret::Variable {
                    name: name.clone(),
                    prefixes: self.variables.clone(),
                })
            }
            SecretReference::File(path) => {
                let path = self.base.join(path);
                if self.folders.iter().any(|folder| is_below(&path, folder)) {
                    return Ok(Place::File(path, self.folders.clone()));
                }
                let folders = self.folders.clone();
                Err(ForeignSecret::Folder { path, folders })
            }
            SecretReference::Kubernetes { secret, key } => {
                let path = self.mounted.join(secret).join(key);
                Ok(Place::File(path, vec![self.mounted.clone()]))
            }
            SecretReference::Vault { .. } => Err(ForeignSecret::Vault),
        }
    }
}

/// The reference has no `..`, so that the text says it, but for links.
fn is_below(path: &Path, folder: &Path) -> bool {
    path != folder && path.starts_with(folder)
}

/// Some secrets as they were at one moment, by reference.
#[derive(Clone, Default)]
pub struct Secrets(Vec<(SecretReference, Held)>);

impl Secrets {
    /// One of them.
    pub fn secret(&self, reference: &SecretReference) -> Result<&Secret, Fault> {
        let found = self.0.iter().find(|(known, _)| known == reference);
        let found = found.map(|(_, held)| &*held.secret);
        found.ok_or(Fault::SecretUnavailable)
    }

    /// What changes when one of them does.
    pub(crate) fn versions(&self) -> Vec<u64> {
        self.0.iter().map(|(_, held)| held.version).collect()
    }
}

/// A secret in memory.
#[derive(Clone)]
struct Held {
    secret: Arc<Secret>,
    version: u64,
}

struct Entry {
    /// `None` while it cannot be read.
    held: Option<Held>,
    /// Of the file when it was read.
    stamp: Option<Stamp>,
    asked_at: Instant,
    /// Whether the log has told that it cannot be read.
    is_told: bool,
}

/// Reads secrets and keeps them.
pub struct SecretStore {
    roots: SecretRoots,
    entries: Mutex<HashMap<SecretReference, Entry>>,
}

/// What reading came to.
struct Read {
    stamp: Option<Stamp>,
    secret: Result<Secret, String>,
}

impl SecretStore {
    /// A store that reads below `roots`.
    pub fn new(roots: SecretRoots) -> Self {
        Self {
            roots,
            entries: Mutex::default(),
        }
    }

    /// Where documents may point to.
    pub const fn roots(&self) -> &SecretRoots {
        &self.roots
    }

    /// The secrets of `references` as they are now. What is in memory is not read again here.
    pub async fn current(
        self: &Arc<Self>,
        references: &[&SecretReference],
    ) -> Result<Secrets, Fault> {
        let mut secrets = Vec::with_capacity(references.len());
        for reference in references {
            let held = match self.known(reference) {
                Some(held) => held,
                None => self.look_at(reference).await,
            };
            let held = held.ok_or(Fault::SecretUnavailable)?;
            secrets.push(((*reference).clone(), held));
        }
        Ok(Secrets(secrets))
    }

    /// `None` if it was never asked for.
    fn known(&self, reference: &SecretReference) -> Option<Option<Held>> {
        let mut entries = self.entries();
        let entry = entries.get_mut(reference)?;
        entry.asked_at = Instant::now();
        Some(entry.held.clone())
    }

    /// Looks at what is in use for as long as it is polled.
    pub async fn follow(self: Arc<Self>) {
        loop {
            sleep(PACE).await;
            self.look().await;
        }
    }

    /// Looks at every file whose secret is in use, and forgets those that nobody asks for.
    pub async fn look(self: &Arc<Self>) {
        let references: Vec<_> = {
            let mut entries = self.entries();
            entries.retain(|_, entry| entry.asked_at.elapsed() < UNUSED);
            entries.keys().cloned().collect()
        };
        for reference in &references {
            self.look_at(reference).await;
        }
    }

    async fn look_at(self: &Arc<Self>, reference: &SecretReference) -> Option<Held> {
        let before = self.entries().get(reference).and_then(|entry| entry.stamp);
        let (roots, wanted) = (self.roots.clone(), reference.clone());
        // A disk can hang, and takes this thread alone.
        let reading = spawn_blocking(move || read(&roots, &wanted, before));
        let read = match reading.await {
            Ok(Some(read)) => read,
            // As it was.
            Ok(None) => return self.known(reference).flatten(),
            Err(_ended) => return None,
        };
        self.keep(reference, read)
    }

    fn keep(&self, reference: &SecretReference, read: Read) -> Option<Held> {
        let mut entries = self.entries();
        let entry = entries.entry(reference.clone()).or_insert_with(|| Entry {
            held: None,
            stamp: None,
            asked_at: Instant::now(),
            is_told: false,
        });
        entry.stamp = read.stamp;
        match read.secret {
            Ok(secret) => {
                let same = entry.held.as_ref().filter(|held| *held.secret == secret);
                if same.is_none() {
                    let held = Held {
                        secret: Arc::new(secret),
                        version: next_version(),
                    };
                    if entry.held.replace(held).is_some() || entry.is_told {
                        tracing::info!(secret = %reference, "a secret changed; credentials made of the old one are dropped");
                    }
                }
                entry.is_told = false;
            }
            Err(why) => {
                entry.held = None;
                if !entry.is_told {
                    tracing::warn!(secret = %reference, %why, "a secret cannot be read; nothing is made of it until it can");
                }
                entry.is_told = true;
            }
        }
        entry.held.clone()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<SecretReference, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that was never a version before, whichever secret had it.
fn next_version() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Reads a secret; `None` if its file is the one that `before` was taken of.
fn read(roots: &SecretRoots, reference: &SecretReference, before: Option<Stamp>) -> Option<Read> {
    let broken = |why: String| {
        Some(Read {
            stamp: None,
            secret: Err(why),
        })
    };
    match roots.place(reference) {
        Err(foreign) => broken(foreign.to_string()),
        Ok(Place::Variable(name)) => match std::env::var(&name) {
            Ok(text) => Some(Read {
                stamp: None,
                secret: checked(Secret::new(text)),
            }),
            Err(std::env::VarError::NotPresent) => broken("the variable is not set".to_owned()),
            Err(std::env::VarError::NotUnicode(_)) => broken("it is not UTF-8".to_owned()),
        },
        Ok(Place::File(path, folders)) => match file::read(&path, &folders, before) {
            Ok(None) => None,
            Ok(Some((stamp, secret))) => Some(Read {
                stamp: Some(stamp),
                secret: secret.and_then(checked),
            }),
            Err(error) => broken(error.to_string()),
        },
    }
}

/// A file that is no secret of a document, such as the pod's own token.
pub(crate) fn read_file(path: &Path, folders: &[PathBuf]) -> Result<Secret, String> {
    match file::read(path, folders, None) {
        Ok(Some((_, secret))) => secret.and_then(checked),
        Ok(None) => Err("it is not there".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A secret as people write it into a file: without the line's end.
fn checked(secret: Secret) -> Result<Secret, String> {
    let text = secret.expose();
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err("it is empty".to_owned());
    }
    if line.len() == text.len() {
        return Ok(secret);
    }
    Ok(Secret::new(line.to_owned()))
}

#[cfg(test)]
mod tests;
