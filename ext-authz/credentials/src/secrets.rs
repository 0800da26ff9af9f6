//! The secrets that documents refer to: resolved only where the edge's configuration lets documents point to,
//! kept in memory, and looked at again while they are in use.
//!
//! A secret has a version, which is a part of the key that credentials are kept under: what was made of an older
//! version is not used again. A secret that cannot be read any more has no version, and nothing is made of it. One in
//! a Vault is read again at an interval, and serves for a while where the Vault itself is away (`schedule`).

mod file;
mod reading;
mod roots;
mod schedule;
mod vault;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use attache_core::{decision::Fault, secret::Secret};
use attache_policy::document::SecretReference;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use crate::{credentials::Unobtained, providers::calls::Failure};

use file::Stamp;
use reading::Readings;
use roots::Place;
use schedule::Schedule;

pub use self::{
    roots::{ForeignSecret, SecretRoots, VaultRoot, VaultRoots},
    vault::{Clock, EdgeLogin, EdgeVault, VaultSettings},
};

/// Longest secret that is read, in bytes.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

/// How often files are looked at while their secrets are in use.
const PACE: Duration = Duration::from_millis(500);

/// For how long a secret that nobody asks for is kept in memory.
const UNUSED: Duration = Duration::from_mins(10);

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
    /// Of a secret in the Vault.
    schedule: Option<Schedule>,
    asked_at: Instant,
    /// Whether the log has told that it cannot be read.
    is_told: bool,
}

impl Entry {
    fn new() -> Self {
        Self {
            held: None,
            stamp: None,
            schedule: None,
            asked_at: Instant::now(),
            is_told: false,
        }
    }

    fn holds(&mut self, reference: &SecretReference, secret: Secret) {
        let is_same = self.held.as_ref().is_some_and(|it| *it.secret == secret);
        if !is_same {
            let held = Held {
                secret: Arc::new(secret),
                version: next_version(),
            };
            if self.held.replace(held).is_some() || self.is_told {
                tracing::info!(secret = %reference, "a secret changed; credentials made of the old one are dropped");
            }
        } else if self.is_told {
            tracing::info!(secret = %reference, "a secret can be read again");
        }
        self.is_told = false;
    }

    fn is_unreadable(&mut self, reference: &SecretReference, why: &str) {
        if self.held.take().is_some() || !self.is_told {
            tracing::warn!(secret = %reference, %why, "a secret cannot be read; nothing is made of it until it can");
        }
        self.is_told = true;
    }
}

/// How the secrets in use stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecretCounts {
    /// They are as they were read last.
    pub read: u64,
    /// They serve, and could not be read again: their Vault is away.
    pub kept: u64,
    /// They cannot be read, and nothing is made of them.
    pub unreadable: u64,
}

/// What is known of a secret without reading it.
enum Known {
    /// It was never asked for, or it is time to ask again.
    Unread,
    Held(Held),
    /// It cannot be read; the pause until it is asked for again, if that is known.
    Unreadable(Option<Duration>),
}

impl Known {
    fn held(self) -> Option<Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Unread | Self::Unreadable(_) => None,
        }
    }

    const fn pause(&self) -> Option<Duration> {
        match self {
            Self::Unreadable(pause) => *pause,
            Self::Unread | Self::Held(_) => None,
        }
    }
}

/// Reads secrets and keeps them.
pub struct SecretStore {
    roots: SecretRoots,
    vault: Option<EdgeVault>,
    entries: Mutex<HashMap<SecretReference, Entry>>,
    readings: Readings,
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
            vault: None,
            entries: Mutex::default(),
            readings: Readings::default(),
        }
    }

    /// With the Vault that `vault:` leads to.
    #[must_use]
    pub fn with_vault(self, vault: EdgeVault) -> Self {
        Self {
            vault: Some(vault),
            ..self
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
    ) -> Result<Secrets, Unobtained> {
        let mut secrets = Vec::with_capacity(references.len());
        for reference in references {
            let held = match self.known(reference) {
                Known::Held(held) => Ok(held),
                Known::Unreadable(pause) => Err(pause),
                Known::Unread => match self.look_at(reference).await {
                    Some(held) => Ok(held),
                    None => Err(self.known(reference).pause()),
                },
            };
            let held = held.map_err(|retry_after| Unobtained {
                fault: Fault::SecretUnavailable,
                retry_after,
            })?;
            secrets.push(((*reference).clone(), held));
        }
        Ok(Secrets(secrets))
    }

    /// The secrets of `references`, if all of them are in memory.
    pub(crate) fn at_hand(&self, references: &[&SecretReference]) -> Option<Secrets> {
        let held = references
            .iter()
            .map(|reference| match self.known(reference) {
                Known::Held(held) => Some(((*reference).clone(), held)),
                Known::Unread | Known::Unreadable(_) => None,
            });
        held.collect::<Option<_>>().map(Secrets)
    }

    /// How many secrets are in use, and how many of them cannot be read now.
    pub fn counts(&self) -> SecretCounts {
        let now = Instant::now();
        let mut counts = SecretCounts::default();
        for entry in self.entries().values() {
            let serves = entry.schedule.is_none_or(|it| it.serves(now));
            let count = match (&entry.held, entry.is_told) {
                (Some(_), false) => &mut counts.read,
                (Some(_), true) if serves => &mut counts.kept,
                (Some(_) | None, _) => &mut counts.unreadable,
            };
            *count = count.saturating_add(1);
        }
        counts
    }

    /// What is in memory.
    fn known(&self, reference: &SecretReference) -> Known {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(reference) else {
            return Known::Unread;
        };
        let now = Instant::now();
        entry.asked_at = now;
        match (&entry.schedule, &entry.held) {
            // A minute's silence of whoever reads it again must not keep it for longer.
            (Some(schedule), Some(held)) if schedule.serves(now) => Known::Held(held.clone()),
            (Some(schedule), _) => match schedule.pause_left(now) {
                Some(pause) => Known::Unreadable(Some(pause)),
                None => Known::Unread,
            },
            (None, Some(held)) => Known::Held(held.clone()),
            (None, None) => Known::Unreadable(None),
        }
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
            // What serves while the Vault is away, serves those too who call now and then.
            let keep = self
                .vault
                .as_ref()
                .map_or(UNUSED, |it| it.keep().max(UNUSED));
            entries.retain(|_, entry| {
                let most = entry.schedule.map_or(UNUSED, |_| keep);
                entry.asked_at.elapsed() < most
            });
            entries.keys().cloned().collect()
        };
        for reference in &references {
            match reference {
                // It may take seconds, and nobody waits for it.
                SecretReference::Vault { .. } => self.read_again(reference),
                SecretReference::Environment(_)
                | SecretReference::File(_)
                | SecretReference::Kubernetes { .. } => drop(self.look_at(reference).await),
            }
        }
    }

    async fn look_at(self: &Arc<Self>, reference: &SecretReference) -> Option<Held> {
        if let SecretReference::Vault { .. } = reference {
            return self.read_now(reference).await;
        }
        let before = self.entries().get(reference).and_then(|entry| entry.stamp);
        let (roots, wanted) = (self.roots.clone(), reference.clone());
        // A disk can hang, and takes this thread alone.
        let reading = spawn_blocking(move || read(&roots, &wanted, before));
        let read = match reading.await {
            Ok(Some(read)) => read,
            // As it was.
            Ok(None) => return self.known(reference).held(),
            Err(_ended) => return None,
        };
        self.keep(reference, read)
    }

    fn keep(&self, reference: &SecretReference, read: Read) -> Option<Held> {
        let mut entries = self.entries();
        let entry = entries.entry(reference.clone()).or_insert_with(Entry::new);
        entry.stamp = read.stamp;
        match read.secret {
            Ok(secret) => entry.holds(reference, secret),
            Err(why) => entry.is_unreadable(reference, &why),
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
        Ok(Place::Vault(_)) => broken("it is in the Vault".to_owned()),
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
