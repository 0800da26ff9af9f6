//! What becomes of credentials, provider by provider: how often one was at hand, how often somebody waited for it,
//! how often providers were asked, and how that went.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use attache_core::time::Timestamp;

use crate::cache::Occasion;

#[cfg(test)]
mod tests;

/// Most providers that are counted. Their names come from policies, which change: those beyond are not told.
const MAX_PROVIDERS: usize = 1024;

/// What became of the credentials of one provider since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderCounts {
    /// Calls whose credential was in memory.
    pub kept: u64,
    /// Calls that waited for the provider, alone or with others.
    pub awaited: u64,
    /// Calls that got none.
    pub failed: u64,
    /// Fetches that calls waited for.
    pub fetches: Fetches,
    /// Fetches ahead of time, while the credential before served.
    pub refreshes: Fetches,
    /// Whether the newest fetch that ended brought none.
    pub failing: bool,
    /// When a credential was asked for that came, last.
    pub obtained_at: Option<Timestamp>,
}

/// How often a provider was asked, and how that went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetches {
    /// It gave a credential.
    pub obtained: u64,
    /// It gave none.
    pub failed: u64,
}

impl Fetches {
    const fn ended(&mut self, came: bool) {
        let count = if came {
            &mut self.obtained
        } else {
            &mut self.failed
        };
        *count = count.saturating_add(1);
    }
}

/// The counts of all providers.
#[derive(Default)]
pub(crate) struct Counts(Mutex<BTreeMap<String, ProviderCounts>>);

impl Counts {
    /// Counts one call for a credential of `provider`, as `obtaining` goes.
    pub(crate) async fn of_call<T, E>(
        &self,
        provider: &str,
        obtaining: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut obtaining = pin!(obtaining);
        // What is in memory is there at the first look.
        let at_once = poll_fn(|context| {
            Poll::Ready(match obtaining.as_mut().poll(context) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            })
        });
        let (outcome, awaited) = match at_once.await {
            Some(outcome) => (outcome, 0),
            None => (obtaining.await, 1),
        };
        self.change(provider, |counts| {
            let came = u64::from(outcome.is_ok());
            counts.kept = counts.kept.saturating_add(came & (1 ^ awaited));
            counts.awaited = counts.awaited.saturating_add(came & awaited);
            counts.failed = counts.failed.saturating_add(1 ^ came);
        });
        outcome
    }

    /// A call for a credential of `provider` was given what was in memory.
    pub(crate) fn at_hand(&self, provider: &str) {
        self.change(provider, |counts| {
            counts.kept = counts.kept.saturating_add(1)
        });
    }

    /// A fetch that was begun at `asked_at` has ended.
    pub(crate) fn fetched(
        &self,
        provider: &str,
        occasion: Occasion,
        came: bool,
        asked_at: Timestamp,
    ) {
        self.change(provider, |counts| {
            counts.failing = !came;
            match occasion {
                Occasion::Awaited => counts.fetches.ended(came),
                Occasion::Ahead => counts.refreshes.ended(came),
            }
            if came {
                counts.obtained_at = Some(asked_at);
            }
        });
    }

    /// All of them, by the providers' names.
    pub(crate) fn all(&self) -> Vec<(String, ProviderCounts)> {
        let all = self.lock();
        let pairs = all.iter();
        pairs
            .map(|(name, counts)| (name.clone(), counts.clone()))
            .collect()
    }

    fn change(&self, provider: &str, change: impl FnOnce(&mut ProviderCounts)) {
        let mut all = self.lock();
        if let Some(counts) = all.get_mut(provider) {
            change(counts);
        } else if all.len() < MAX_PROVIDERS {
            change(all.entry(provider.to_owned()).or_default());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, ProviderCounts>> {
        // Counts are whole whenever the lock is released.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
