//! The ring of signing keys: taken from the store at start, made there if it has none, and then an
//! immutable value with everything that is published of it.

use std::sync::Arc;

use attache_core::{jwt::Algorithm, time::Timestamp};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};
use thiserror::Error;

use crate::{
    config::IssuerUrl,
    publication,
    sealing::{BrokenSeal, NotSealed, SealingKey},
    signer::{self, ALGORITHMS, NoSigner, Signer},
    store::{KeyStore, StoreFailed, StoredKey},
};

/// Why the issuer has no keys to start with. Keys that are there are never replaced.
#[derive(Debug, Error)]
pub enum UnusableKeys {
    /// The store does not answer.
    #[error("the store of the signing keys: {0}")]
    Store(#[from] StoreFailed),
    /// The configured sealing key is not the one they were sealed with.
    #[error(
        "signing key {key_id} in the store was sealed with another sealing key; configure the one it was made with (by default the file that lay beside the store), or move the store away to begin anew, after which targets refuse every token minted before"
    )]
    WrongSealingKey {
        /// The key that does not open.
        key_id: String,
    },
    /// A key was changed in the store.
    #[error(
        "signing key {key_id} in the store is damaged: {problem}; restore the store from a backup"
    )]
    Damaged {
        /// The key.
        key_id: String,
        /// What is wrong with it.
        problem: Damage,
    },
    /// A key is of a kind that only a newer version knows.
    #[error(
        "signing key {key_id} in the store is for {algorithm}, which this version does not sign with; start the version that made it"
    )]
    UnknownAlgorithm {
        /// The key.
        key_id: String,
        /// Its algorithm.
        algorithm: String,
    },
    /// No key could be made.
    #[error(transparent)]
    NotGenerated(#[from] NoSigner),
    /// A key that was made could not be sealed.
    #[error(transparent)]
    NotSealed(#[from] NotSealed),
    /// The store answers that it holds fewer keys than it was given.
    #[error("the store does not give back the {0} key that was written; look at its file system")]
    NotKept(&'static str),
    /// The task that makes keys ended early.
    #[error("making the first keys was interrupted")]
    Interrupted,
}

/// What is wrong with a key in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// Its seal does not open.
    #[error(transparent)]
    Seal(BrokenSeal),
    /// What was sealed is no private key.
    #[error("its private part is no key")]
    Private,
    /// Its public part or its name belongs to another private key.
    #[error("its public part is not the one of its private part")]
    Public,
}

/// A key that signs.
pub(crate) struct SigningKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) signer: Box<dyn Signer>,
    /// `{"alg":…,"kid":…,"typ":"JWT"}` in base64url: the first part of every token it signs.
    pub(crate) header: String,
    jwk: Value,
}

impl SigningKey {
    fn new(algorithm: Algorithm, signer: Box<dyn Signer>) -> Self {
        let key_id = signer.public_key().thumbprint();
        let header = json!({ "alg": algorithm.name(), "kid": key_id, "typ": "JWT" }).to_string();
        let header = Base64UrlUnpadded::encode_string(header.as_bytes());
        let jwk = signer.public_key().jwk(algorithm);
        Self {
            algorithm,
            signer,
            header,
            jwk,
        }
    }
}

/// All keys, and the documents that publish them. Replaced whole.
pub(crate) struct KeyRing {
    keys: Vec<Arc<SigningKey>>,
    pub(crate) discovery_document: Arc<[u8]>,
    pub(crate) jwks: Arc<[u8]>,
}

impl KeyRing {
    /// Takes the keys from the store and makes those that are missing there.
    pub(crate) async fn open(
        store: &dyn KeyStore,
        sealing_key: SealingKey,
        url: &IssuerUrl,
        now: Timestamp,
    ) -> Result<Self, UnusableKeys> {
        let sealing_key = Arc::new(sealing_key);
        let mut stored = store.load().await?;
        // INVARIANT: what is there opens before anything is added, so that a wrong sealing key never
        // leads to a second set of keys.
        let mut keys = unseal_all(&stored, &sealing_key)?;
        let missing: Vec<_> = ALGORITHMS
            .into_iter()
            .filter(|algorithm| !keys.iter().any(|key| key.algorithm == *algorithm))
            .collect();
        if !missing.is_empty() {
            let made = make(missing, Arc::clone(&sealing_key), now).await?;
            stored = store.insert_missing(&made).await?;
            // Another process may have been first: what the store holds counts, not what was made.
            keys = unseal_all(&stored, &sealing_key)?;
            report(&stored);
        }
        for algorithm in ALGORITHMS {
            if !keys.iter().any(|key| key.algorithm == algorithm) {
                return Err(UnusableKeys::NotKept(algorithm.name()));
            }
        }
        Ok(Self::of(keys, url))
    }

    fn of(keys: Vec<Arc<SigningKey>>, url: &IssuerUrl) -> Self {
        // Only public parts that were derived from our private keys are published; those in the store
        // are compared with them, not believed.
        let jwks = publication::jwks(&keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>());
        let document = publication::discovery_document(url, &ALGORITHMS);
        Self {
            keys,
            discovery_document: document.into(),
            jwks: jwks.into(),
        }
    }

    /// The key that signs with `algorithm` now: the newest.
    pub(crate) fn signing(&self, algorithm: Algorithm) -> Option<&Arc<SigningKey>> {
        self.keys.iter().rfind(|key| key.algorithm == algorithm)
    }
}

fn unseal_all(
    stored: &[StoredKey],
    sealing_key: &SealingKey,
) -> Result<Vec<Arc<SigningKey>>, UnusableKeys> {
    stored
        .iter()
        .map(|key| unseal(key, sealing_key).map(Arc::new))
        .collect()
}

fn unseal(stored: &StoredKey, sealing_key: &SealingKey) -> Result<SigningKey, UnusableKeys> {
    let key_id = || stored.key_id.clone();
    let damaged = |problem| UnusableKeys::Damaged {
        key_id: key_id(),
        problem,
    };
    let algorithm = ALGORITHMS
        .into_iter()
        .find(|known| known.name() == stored.algorithm);
    let algorithm = algorithm.ok_or_else(|| UnusableKeys::UnknownAlgorithm {
        key_id: key_id(),
        algorithm: stored.algorithm.clone(),
    })?;
    let bound_to = bound_to(&stored.key_id, algorithm);
    let private = sealing_key
        .open(&stored.sealed_private, &bound_to)
        .map_err(|broken| match broken {
            BrokenSeal::OtherKey => UnusableKeys::WrongSealingKey { key_id: key_id() },
            BrokenSeal::Altered | BrokenSeal::Layout => damaged(Damage::Seal(broken)),
        })?;
    let signer = signer::parse(algorithm, &private).map_err(|_no_key| damaged(Damage::Private))?;
    let key = SigningKey::new(algorithm, signer);
    let published: Option<Value> = serde_json::from_str(&stored.public_jwk).ok();
    if published.as_ref() != Some(&key.jwk) || key.signer.public_key().thumbprint() != stored.key_id
    {
        return Err(damaged(Damage::Public));
    }
    Ok(key)
}

async fn make(
    algorithms: Vec<Algorithm>,
    sealing_key: Arc<SealingKey>,
    now: Timestamp,
) -> Result<Vec<StoredKey>, UnusableKeys> {
    let making = tokio::task::spawn_blocking(move || {
        algorithms
            .into_iter()
            .map(|algorithm| make_one(algorithm, &sealing_key, now))
            .collect()
    });
    making
        .await
        .map_err(|_ended_early| UnusableKeys::Interrupted)?
}

fn make_one(
    algorithm: Algorithm,
    sealing_key: &SealingKey,
    now: Timestamp,
) -> Result<StoredKey, UnusableKeys> {
    let private = signer::generate(algorithm)?;
    let public = signer::parse(algorithm, &private)?.public_key().clone();
    let key_id = public.thumbprint();
    Ok(StoredKey {
        sealed_private: sealing_key.seal(&private, &bound_to(&key_id, algorithm))?,
        key_id,
        algorithm: algorithm.name().to_owned(),
        created_at: now,
        public_jwk: public.jwk(algorithm).to_string(),
    })
}

/// What the seal is bound to: this key, for this algorithm, for signing tokens.
fn bound_to(key_id: &str, algorithm: Algorithm) -> Vec<u8> {
    format!("attache signing key\n{}\n{key_id}", algorithm.name()).into_bytes()
}

fn report(stored: &[StoredKey]) {
    for key in stored {
        tracing::info!(kid = %key.key_id, algorithm = %key.algorithm, "signing key made");
    }
}

#[cfg(test)]
mod tests;
