//! Logins that are under way: the token of each, for as long as it lives.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use attache_core::{
    freshness::{Freshness, Lifetime},
    secret::Secret,
    spiffe_id::SpiffeId,
    time::Timestamp,
};
use attache_policy::document::Vault;

use super::{answer::Login, api::Api};
use crate::{material::Material, provider::Obtained};

/// Most sessions; then those that are over are forgotten, and all if none is.
const MAX_SESSIONS: usize = 4096;

/// SECURITY: whatever would make two logins differ. Nobody is given a token of another's login, not even where
/// both logged in with one AppRole.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    pub(super) caller: SpiffeId,
    /// With the login, without what is read.
    pub(super) vault: Vault<String>,
    pub(super) versions: Vec<u64>,
    pub(super) generation: u64,
}

/// One login.
#[derive(Clone)]
pub(crate) struct Session {
    token: Secret,
    lifetime: Lifetime,
    is_renewable: bool,
}

impl Session {
    pub(crate) fn begin(login: Login, now: Timestamp) -> Self {
        Self {
            lifetime: Lifetime::starting(now, login.lease),
            token: login.token,
            is_renewable: login.is_renewable,
        }
    }

    pub(crate) const fn token(&self) -> &Secret {
        &self.token
    }

    /// One that serves now: this one, or its renewal if that is due. `None` where somebody has to log in.
    pub(crate) async fn serving(self, api: &Api<'_>, now: Timestamp) -> Option<Self> {
        match self.lifetime.at(now) {
            Freshness::Fresh => return Some(self),
            Freshness::RefreshDue if self.is_renewable => {}
            Freshness::RefreshDue | Freshness::Expired => return None,
        }
        // One that is at the end of all its renewals comes back with little left, and one that was revoked not at all.
        let renewed = Self::begin(api.renew(&self.token).await.ok()?, now);
        (!renewed.is_due(now) && renewed.is_worth(&self)).then_some(renewed)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.lifetime.at(now) != Freshness::Fresh
    }

    /// Whether a renewal gave as much as the half of what its predecessor had. Close to the greatest lifetime of a
    /// token each gives less, and a new login is better.
    fn is_worth(&self, before: &Self) -> bool {
        let length = |it: &Self| it.lifetime.expires_at.since(it.lifetime.issued_at);
        length(self).saturating_mul(2) >= length(before)
    }

    /// The token itself as the credential.
    pub(super) fn into_credential(self) -> Obtained {
        Obtained {
            material: Material::Token(self.token),
            lifetime: Some(self.lifetime),
            id: None,
        }
    }
}

#[derive(Default)]
pub(super) struct Sessions {
    known: Mutex<HashMap<SessionKey, Session>>,
}

impl Sessions {
    /// One whose token still lives.
    pub(super) fn known(&self, key: &SessionKey, now: Timestamp) -> Option<Session> {
        let known = self.all();
        let session = known.get(key)?;
        (session.lifetime.at(now) != Freshness::Expired).then(|| session.clone())
    }

    pub(super) fn keep(&self, key: &SessionKey, session: Session, now: Timestamp) {
        let mut known = self.all();
        if known.len() >= MAX_SESSIONS {
            known.retain(|_, session| session.lifetime.at(now) != Freshness::Expired);
        }
        if known.len() >= MAX_SESSIONS {
            known.clear();
        }
        known.insert(key.clone(), session);
    }

    pub(super) fn forget(&self, key: &SessionKey) {
        self.all().remove(key);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<SessionKey, Session>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
