//! The ring of signing keys as it is used: parsed once, and then an immutable value with everything that is
//! published of it.

use std::sync::Arc;

use attache_core::jwt::Algorithm;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Value, json};
use thiserror::Error;

use crate::{
    publication::{self, Documents},
    sealing::{BrokenSeal, NotSealed, SealingKey},
    signer::{self, ALGORITHMS, NoSigner, Signer},
    store::{KeyState, StoreFailed, StoredKey, StoredRing},
};

/// Why the issuer's keys cannot be used. Keys that are there are never replaced.
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
    /// The store goes on saying that somebody else was first.
    #[error("the signing keys change without end; look for another process on the same store")]
    Restless,
    /// The task that makes keys ended early.
    #[error("making a key was interrupted")]
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

/// A key that can sign.
pub(crate) struct SigningKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) signer: Box<dyn Signer>,
    pub(crate) key_id: String,
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
            key_id,
            header,
            jwk,
        }
    }
}

/// All keys that are kept, and the documents that publish them. Replaced whole.
pub(crate) struct KeyRing {
    pub(crate) stored: StoredRing,
    pub(crate) documents: Documents,
    keys: Vec<Arc<SigningKey>>,
    active: Vec<Arc<SigningKey>>,
}

impl KeyRing {
    /// Parses what is stored; keys that `before` has are taken from there.
    pub(crate) fn of(
        stored: StoredRing,
        sealing_key: &SealingKey,
        before: Option<&Self>,
    ) -> Result<Self, UnusableKeys> {
        let (mut keys, mut active, mut public) = (Vec::new(), Vec::new(), Vec::new());
        for one in stored.keys.iter().filter(|key| key.state().is_kept()) {
            let known = before.and_then(|ring| ring.key(&one.key_id));
            let key = match known {
                Some(key) => Arc::clone(key),
                None => Arc::new(unseal(one, sealing_key)?),
            };
            if one.state() == KeyState::Active {
                active.push(Arc::clone(&key));
            }
            // SECURITY: only public parts that were derived from our private keys are published; those in
            // the store are compared with them, not believed.
            if one.state().is_public() {
                public.push(key.jwk.clone());
            }
            keys.push(key);
        }
        let documents = publication::documents(&public, stored.sequence);
        Ok(Self {
            stored,
            documents,
            keys,
            active,
        })
    }

    /// The key that signs with `algorithm` now.
    pub(crate) fn signing(&self, algorithm: Algorithm) -> Option<&Arc<SigningKey>> {
        self.active.iter().rfind(|key| key.algorithm == algorithm)
    }

    fn key(&self, key_id: &str) -> Option<&Arc<SigningKey>> {
        self.keys.iter().find(|key| key.key_id == key_id)
    }
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
    if published.as_ref() != Some(&key.jwk) || key.key_id != stored.key_id {
        return Err(damaged(Damage::Public));
    }
    Ok(key)
}

/// What the seal is bound to: this key, for this algorithm, for signing tokens.
pub(crate) fn bound_to(key_id: &str, algorithm: Algorithm) -> Vec<u8> {
    format!("attache signing key\n{}\n{key_id}", algorithm.name()).into_bytes()
}

#[cfg(test)]
mod tests;
