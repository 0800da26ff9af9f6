//! Reading from the Vault: once for however many wait for it, in a task of its own, so that callers that go away do
//! not take it from those that stay.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use attache_core::decision::Fault;
use attache_policy::document::SecretReference;
use tokio::{sync::watch, time::Instant};

use super::{
    Entry, Failure, Held, Schedule, SecretStore,
    roots::Place,
    vault::{Found, NotRead},
};

/// What is being read; each tells when it is over.
#[derive(Default)]
pub(super) struct Readings(Mutex<HashMap<SecretReference, watch::Receiver<bool>>>);

impl Readings {
    fn all(&self) -> MutexGuard<'_, HashMap<SecretReference, watch::Receiver<bool>>> {
        // The map is whole whenever the lock is released.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SecretStore {
    /// Whether something is being read.
    #[cfg(test)]
    pub(super) fn is_reading(&self) -> bool {
        !self.readings.all().is_empty()
    }

    /// Reads it, and waits for that.
    pub(super) async fn read_now(self: &Arc<Self>, reference: &SecretReference) -> Option<Held> {
        let mut over = self.begin(reference);
        // Its other end is dropped at the latest when the task is.
        let _ = over.wait_for(|is_over| *is_over).await;
        self.known(reference).held()
    }

    /// Begins to read it where that is due, if there is something that it is to follow.
    pub(super) fn read_again(self: &Arc<Self>, reference: &SecretReference) {
        let is_due = self.entries().get(reference).is_some_and(|entry| {
            let now = Instant::now();
            let is_due = |it: Schedule| it.pause_left(now).is_none();
            entry.held.is_some() && entry.schedule.is_some_and(is_due)
        });
        if is_due {
            drop(self.begin(reference));
        }
    }

    /// Begins to read it, unless that is under way.
    fn begin(self: &Arc<Self>, reference: &SecretReference) -> watch::Receiver<bool> {
        let mut readings = self.readings.all();
        if let Some(reading) = readings.get(reference) {
            return reading.clone();
        }
        let (sender, receiver) = watch::channel(false);
        readings.insert(reference.clone(), receiver.clone());
        let reading = Reading {
            store: Arc::clone(self),
            reference: reference.clone(),
            sender,
        };
        tokio::spawn(async move {
            let read = reading.store.ask_vault(&reading.reference).await;
            reading.store.keep_of_vault(&reading.reference, read);
        });
        receiver
    }

    async fn ask_vault(&self, reference: &SecretReference) -> Result<Found, NotRead> {
        let unreadable = |told: String| Failure::new(Fault::SecretUnavailable, told);
        let vault = self.vault.as_ref();
        let vault = vault.ok_or_else(|| unreadable("the edge has no Vault".to_owned()))?;
        match self.roots.place(reference) {
            Ok(Place::Vault(place)) => vault.read(&place).await,
            Ok(Place::Variable(_) | Place::File(..)) => {
                Err(unreadable("it is in no Vault".to_owned()).into())
            }
            Err(foreign) => Err(unreadable(foreign.to_string()).into()),
        }
    }

    fn keep_of_vault(&self, reference: &SecretReference, read: Result<Found, NotRead>) {
        let now = Instant::now();
        let keep = self.vault.as_ref().map(super::vault::EdgeVault::keep);
        let mut entries = self.entries();
        let entry = entries.entry(reference.clone()).or_insert_with(Entry::new);
        match read {
            Ok(found) => {
                let schedule = Schedule::read(now, found.lease, keep.unwrap_or_default());
                entry.schedule = Some(schedule);
                entry.holds(reference, found.secret);
            }
            // Its word that this edge is to have it no more counts at once.
            Err(NotRead::Withdrawn(why)) => {
                let schedule = Schedule::refused(entry.schedule, now, why.why.retry_after);
                entry.schedule = Some(schedule);
                entry.is_unreadable(reference, &why.to_string());
            }
            Err(NotRead::Failed(why)) => {
                let schedule = Schedule::away(entry.schedule, now, why.why.retry_after);
                entry.schedule = Some(schedule);
                entry.vault_is_away(reference, &schedule, &why);
            }
        }
    }
}

impl Entry {
    fn vault_is_away(&mut self, reference: &SecretReference, schedule: &Schedule, why: &Failure) {
        let now = Instant::now();
        if self.held.is_none() || !schedule.serves(now) {
            return self.is_unreadable(reference, &why.to_string());
        }
        if !self.is_told {
            let seconds = schedule.left(now).as_secs();
            tracing::warn!(secret = %reference, %why, seconds, "a secret cannot be read again; the one read last serves for so long");
        }
        self.is_told = true;
    }
}

/// Ends a reading when it is dropped, also when its task was ended.
struct Reading {
    store: Arc<SecretStore>,
    reference: SecretReference,
    sender: watch::Sender<bool>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.store.readings.all().remove(&self.reference);
        self.sender.send_replace(true);
    }
}
