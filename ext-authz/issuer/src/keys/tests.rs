use std::{path::PathBuf, sync::Mutex};

use attache_core::{spiffe_id::TrustDomain, time::Timestamp};
use jsonwebtoken::jwk::JwkSet;

use super::*;
use crate::{
    config::{Environment, IssuerConfig, IssuerUrl},
    custody::{Custody, tests::Memory},
    store::{Change, Changed, KeyStore, Stored},
};

const NOW: Timestamp = Timestamp::from_seconds(1_781_000_000);

fn holding(keys: Vec<StoredKey>) -> Arc<Memory> {
    Arc::new(Memory(Mutex::new(StoredRing {
        sequence: 1,
        revocations: 0,
        keys,
    })))
}

fn stored(store: &Memory) -> Vec<StoredKey> {
    store.0.lock().unwrap().keys.clone()
}

/// A store whose file cannot be read.
struct Broken;

impl KeyStore for Broken {
    fn load(&self) -> Stored<'_, StoredRing> {
        Box::pin(async {
            let path = PathBuf::from("attache.db");
            Err(StoreFailed::new(std::io::Error::other(
                path.display().to_string(),
            )))
        })
    }

    fn change<'a>(&'a self, _: u64, _: &'a Change) -> Stored<'a, Changed> {
        Box::pin(async { Err(StoreFailed::new(std::io::Error::other("attache.db"))) })
    }

    fn erase(&self) -> Stored<'_, ()> {
        Box::pin(async { Err(StoreFailed::new(std::io::Error::other("attache.db"))) })
    }
}

fn sealing_key(text: &str) -> SealingKey {
    SealingKey::parse(&format!("{text}{}", "5c".repeat(31))).unwrap()
}

fn config() -> IssuerConfig {
    let url = IssuerUrl::parse("https://attache.example.com/tenant").unwrap();
    let trust_domain = TrustDomain::parse("cluster.local").unwrap();
    IssuerConfig::new(url, Environment::parse("test").unwrap(), trust_domain)
}

async fn open(store: &Arc<Memory>, key: &str) -> Result<Arc<KeyRing>, UnusableKeys> {
    let store = Arc::clone(store) as Arc<dyn KeyStore>;
    let custody = Custody::open(store, sealing_key(key), &config(), NOW).await;
    custody.map(|custody| custody.ring())
}

fn key_ids(ring: &KeyRing) -> Vec<String> {
    let set: JwkSet = serde_json::from_slice(&ring.documents.jwks).unwrap();
    set.keys
        .into_iter()
        .map(|jwk| jwk.common.key_id.unwrap())
        .collect()
}

#[tokio::test]
async fn the_first_start_makes_one_key_for_each_algorithm_and_the_next_ones_keep_them() {
    let store = Arc::new(Memory::default());
    let first = key_ids(&open(&store, "a1").await.unwrap());
    assert_eq!(first.len(), ALGORITHMS.len());
    assert_eq!(
        stored(&store)
            .iter()
            .map(|key| key.created_at)
            .collect::<Vec<_>>(),
        [NOW; 2]
    );
    assert_eq!(key_ids(&open(&store, "a1").await.unwrap()), first);
}

#[tokio::test]
async fn an_algorithm_that_is_new_gets_a_key_beside_the_old_ones() {
    let store = Arc::new(Memory::default());
    let rsa = key_ids(&open(&store, "a1").await.unwrap())[0].clone();
    store.0.lock().unwrap().keys.truncate(1);
    let both = key_ids(&open(&store, "a1").await.unwrap());
    assert_eq!((both.len(), &both[0]), (2, &rsa));
}

#[tokio::test]
async fn two_openings_at_once_end_with_the_same_keys() {
    let store = Arc::new(Memory::default());
    let (one, two) = tokio::join!(open(&store, "a1"), open(&store, "a1"));
    assert_eq!(key_ids(&one.unwrap()), key_ids(&two.unwrap()));
    assert_eq!(stored(&store).len(), 2);
}

#[tokio::test]
async fn a_wrong_sealing_key_is_told_with_the_way_out_and_makes_no_keys() {
    let store = Arc::new(Memory::default());
    open(&store, "a1").await.unwrap();
    store.0.lock().unwrap().keys.truncate(1);
    let before = stored(&store);
    let refused = open(&store, "b2").await.err().unwrap();
    assert!(
        matches!(refused, UnusableKeys::WrongSealingKey { .. }),
        "{refused}"
    );
    let text = refused.to_string();
    assert!(
        text.contains("configure the one it was made with") && text.contains(&before[0].key_id)
    );
    assert_eq!(stored(&store), before);
}

type Tampering = fn(&mut Vec<StoredKey>);

#[tokio::test]
async fn every_change_of_a_stored_key_is_noticed() {
    let store = Arc::new(Memory::default());
    open(&store, "a1").await.unwrap();
    let whole = stored(&store);
    let changes: [(&str, Tampering); 6] = [
        ("sealed bytes", |keys| {
            *keys[0].sealed_private.last_mut().unwrap() ^= 1
        }),
        ("cut off", |keys| keys[1].sealed_private.truncate(20)),
        ("another name", |keys| {
            keys[0].key_id = keys[1].key_id.clone()
        }),
        ("another algorithm", |keys| {
            keys[0].algorithm = "ES256".to_owned()
        }),
        ("another's private part", |keys| {
            let other = keys[1].sealed_private.clone();
            keys[0].sealed_private = other;
        }),
        ("a public part of someone else", |keys| {
            let jwk: Value = serde_json::from_str(&keys[1].public_jwk).unwrap();
            let mut forged = jwk;
            forged["x"] = Value::from("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
            keys[1].public_jwk = forged.to_string();
        }),
    ];
    for (name, change) in changes {
        let mut keys = whole.clone();
        change(&mut keys);
        let changed = holding(keys.clone());
        let refused = open(&changed, "a1").await.err();
        assert!(
            matches!(refused, Some(UnusableKeys::Damaged { .. })),
            "{name}: {refused:?}"
        );
        assert_eq!(stored(&changed), keys, "{name}: nothing may be added");
    }
}

#[tokio::test]
async fn a_key_of_a_newer_version_is_refused_by_name() {
    let store = Arc::new(Memory::default());
    open(&store, "a1").await.unwrap();
    store.0.lock().unwrap().keys[0].algorithm = "EdDSA".to_owned();
    let refused = open(&store, "a1").await.err().unwrap().to_string();
    assert!(
        refused.contains("EdDSA") && refused.contains("start the version"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_store_that_fails_says_so_in_its_own_words() {
    let refused = Custody::open(Arc::new(Broken), sealing_key("a1"), &config(), NOW).await;
    let refused = refused.err().unwrap().to_string();
    assert_eq!(refused, "the store of the signing keys: attache.db");
}

#[tokio::test]
async fn only_public_parts_are_published() {
    let store = Arc::new(Memory::default());
    let ring = open(&store, "a1").await.unwrap();
    let set: Value = serde_json::from_slice(&ring.documents.jwks).unwrap();
    let members: Vec<Vec<&str>> = set["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            let key = key.as_object().unwrap();
            let mut members: Vec<_> = key.keys().map(String::as_str).collect();
            members.sort_unstable();
            members
        })
        .collect();
    assert_eq!(
        members,
        [
            vec!["alg", "e", "kid", "kty", "n", "use"],
            vec!["alg", "crv", "kid", "kty", "use", "x", "y"]
        ]
    );
}

#[test]
fn the_discovery_document_says_what_is_true_and_no_more() {
    let document = |config: &IssuerConfig| -> Value {
        serde_json::from_slice(&publication::discovery_document(config, &ALGORITHMS)).unwrap()
    };
    let mut expected = json!({
        "issuer": "https://attache.example.com/tenant",
        "jwks_uri": "https://attache.example.com/tenant/keys",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "claims_supported": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"],
    });
    assert_eq!(document(&config()), expected);
    expected["token_endpoint"] = json!("https://attache.example.com/tenant/token");
    expected["token_endpoint_auth_methods_supported"] = json!(["none"]);
    expected["grant_types_supported"] = json!([
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
    ]);
    let exchanging = IssuerConfig {
        token_endpoint: true,
        ..config()
    };
    assert_eq!(document(&exchanging), expected);
}
