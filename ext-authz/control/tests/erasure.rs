//! A key that is revoked or removed leaves nothing of its private part in the store's files.
// `cfg(test)` tells clippy that a failed expectation is an answer here.
#![cfg(test)]

use std::{fs, path::Path, sync::Arc, time::Duration};

use attache_control::Store;
use attache_core::{spiffe_id::TrustDomain, time::Timestamp};
use attache_issuer::{
    Issuer, IssuerConfig, KeyState, KeyStore as _, SealingKey, StoredKey,
    config::{Environment, IssuerUrl},
};
use attache_trust::{Trust, TrustSettings};

const START: Timestamp = Timestamp::from_seconds(1_781_000_000);

async fn open(folder: &Path, now: Timestamp) -> (Store, Issuer) {
    let store = Store::open(&folder.join("attache.db")).await.unwrap();
    let sealing_key = SealingKey::load_or_create(&folder.join("sealing.key")).unwrap();
    let config = IssuerConfig::new(
        IssuerUrl::parse("https://attache.example.com").unwrap(),
        Environment::parse("test").unwrap(),
        TrustDomain::parse("cluster.local").unwrap(),
    );
    let trust = Arc::new(Trust::new(TrustSettings::new(Arc::new(|| START))));
    let opened = Issuer::open(Arc::new(store.clone()), sealing_key, config, trust, now);
    let issuer = opened.await.unwrap();
    (store, issuer)
}

async fn signing(store: &Store, algorithm: &str) -> StoredKey {
    let mut keys = store.load().await.unwrap().keys.into_iter();
    let signs = |key: &StoredKey| key.algorithm == algorithm && key.state() == KeyState::Active;
    keys.find(signs).unwrap()
}

/// Whether any file of `folder` holds the sealed private part of `key`.
fn holds(folder: &Path, key: &StoredKey) -> bool {
    let files = fs::read_dir(folder).unwrap();
    let mut files = files.map(|file| fs::read(file.unwrap().path()).unwrap());
    let sealed = &key.sealed_private;
    files.any(|bytes| bytes.windows(sealed.len()).any(|part| part == sealed))
}

#[tokio::test]
async fn the_private_part_of_a_revoked_key_is_in_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let (store, issuer) = open(folder, START).await;
    for algorithm in ["RS256", "ES256"] {
        let key = signing(&store, algorithm).await;
        assert!(holds(folder, &key));
        issuer.revoke(&key.key_id, START).await.unwrap();
        assert!(!holds(folder, &key), "{algorithm}");
    }
}

#[tokio::test]
async fn the_private_part_of_a_removed_key_is_in_no_file_also_when_a_start_removes_it() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let (store, issuer) = open(folder, START).await;
    let key = signing(&store, "ES256").await;
    let after = |seconds| START.plus(Duration::from_secs(seconds));
    for seconds in [0, 60, 31 * 86_400] {
        issuer.turn(after(seconds)).await.unwrap();
    }
    assert_ne!(signing(&store, "ES256").await.key_id, key.key_id);
    assert!(holds(folder, &key));
    drop(issuer);
    let (_store, issuer) = open(folder, after(40 * 86_400)).await;
    issuer.turn(after(40 * 86_400)).await.unwrap();
    assert!(!holds(folder, &key));
}
