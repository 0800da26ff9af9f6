use std::sync::Mutex as Lock;

use attache_core::spiffe_id::TrustDomain;
use serde_json::Value;

use super::*;
use crate::{
    config::{Environment, IssuerUrl},
    store::{StoreFailed, Stored},
};

const START: Timestamp = Timestamp::from_seconds(1_781_000_000);

/// A store in memory that keeps the contract of [`KeyStore`].
#[derive(Default)]
pub(crate) struct Memory(pub(crate) Lock<StoredRing>);

impl KeyStore for Memory {
    fn load(&self) -> Stored<'_, StoredRing> {
        Box::pin(async move {
            let ring = self.0.lock().unwrap().clone();
            // So that two callers overlap.
            tokio::task::yield_now().await;
            Ok(ring)
        })
    }

    fn change<'a>(&'a self, expected: u64, change: &'a Change) -> Stored<'a, Changed> {
        Box::pin(async move {
            let mut ring = self.0.lock().unwrap();
            if ring.sequence != expected {
                return Ok(Changed::Overtaken(ring.clone()));
            }
            for key in &change.keys {
                match ring
                    .keys
                    .iter_mut()
                    .find(|known| known.key_id == key.key_id)
                {
                    Some(known) => *known = key.clone(),
                    None => ring.keys.push(key.clone()),
                }
            }
            ring.sequence = ring.next_sequence(change.at);
            ring.revocations += u64::from(change.revokes);
            Ok(Changed::Done(ring.clone()))
        })
    }

    fn erase(&self) -> Stored<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// A process's view of a store on a disk that can fail.
struct Ailing {
    store: Arc<Memory>,
    reads: AtomicBool,
    writes: AtomicBool,
}

impl Ailing {
    fn failed<T>() -> Result<T, StoreFailed> {
        Err(StoreFailed::new(std::io::Error::other("the disk fails")))
    }
}

impl KeyStore for Ailing {
    fn load(&self) -> Stored<'_, StoredRing> {
        if self.reads.load(Ordering::SeqCst) {
            return self.store.load();
        }
        Box::pin(async { Self::failed() })
    }

    fn change<'a>(&'a self, expected: u64, change: &'a Change) -> Stored<'a, Changed> {
        if self.writes.load(Ordering::SeqCst) {
            return self.store.change(expected, change);
        }
        Box::pin(async { Self::failed() })
    }

    fn erase(&self) -> Stored<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// A custody on a disk that works so far.
async fn ailing(store: &Arc<Memory>) -> (Arc<Ailing>, Custody) {
    let disk = Arc::new(Ailing {
        store: Arc::clone(store),
        reads: AtomicBool::new(true),
        writes: AtomicBool::new(true),
    });
    let shared = Arc::clone(&disk) as Arc<dyn KeyStore>;
    let custody = Custody::open(shared, sealing_key(), &config(), START).await;
    (disk, custody.unwrap())
}

fn sealing_key() -> SealingKey {
    SealingKey::parse(&format!("a1{}", "5c".repeat(31))).unwrap()
}

fn config() -> IssuerConfig {
    let url = IssuerUrl::parse("https://attache.example.com").unwrap();
    let environment = Environment::parse("test").unwrap();
    let mut config = IssuerConfig::new(
        url,
        environment,
        TrustDomain::parse("cluster.local").unwrap(),
    );
    config.max_ttl = Duration::from_secs(900);
    config
}

async fn open(store: &Arc<Memory>, now: Timestamp) -> Custody {
    let store = Arc::clone(store) as Arc<dyn KeyStore>;
    Custody::open(store, sealing_key(), &config(), now)
        .await
        .unwrap()
}

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

/// The `kid`s in the JWK set.
fn published(custody: &Custody) -> Vec<String> {
    let set: Value = serde_json::from_slice(&custody.ring().documents.jwks).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

fn signing(custody: &Custody, algorithm: Algorithm) -> String {
    custody.ring().signing(algorithm).unwrap().key_id.clone()
}

fn states(custody: &Custody, algorithm: Algorithm) -> Vec<KeyState> {
    let ring = custody.ring();
    let keys = ring.stored.keys.iter();
    let keys = keys.filter(|key| key.algorithm == algorithm.name());
    keys.map(StoredKey::state).collect()
}

async fn turn(custody: &Custody, now: Timestamp) -> Vec<Step> {
    custody.turn(now, Urgency::All).await.unwrap()
}

const ES: Algorithm = Algorithm::Es256;

#[tokio::test]
async fn a_key_goes_through_its_life_step_by_step() {
    let store = Arc::new(Memory::default());
    let custody = open(&store, START).await;
    let first = signing(&custody, ES);
    assert_eq!(published(&custody).len(), 2);
    turn(&custody, START).await;
    assert_eq!(states(&custody, ES), [KeyState::Active, KeyState::Prepared]);
    assert_eq!(published(&custody).len(), 2, "a prepared key is nobody's");
    turn(&custody, after(60)).await;
    assert_eq!(
        states(&custody, ES),
        [KeyState::Active, KeyState::Published]
    );
    assert_eq!(
        (published(&custody).len(), signing(&custody, ES)),
        (4, first.clone())
    );
    let month = 30 * 86_400;
    turn(&custody, after(month)).await;
    assert_eq!(
        states(&custody, ES),
        [KeyState::Retired, KeyState::Active, KeyState::Prepared]
    );
    assert_ne!(signing(&custody, ES), first);
    assert!(published(&custody).contains(&first));
    turn(&custody, after(month + 900 + 120)).await;
    assert!(!published(&custody).contains(&first));
    let ring = custody.ring();
    let removed = ring
        .stored
        .keys
        .iter()
        .find(|key| key.key_id == first)
        .unwrap();
    assert_eq!(
        (removed.state(), removed.sealed_private.len()),
        (KeyState::Removed, 0)
    );
}

#[tokio::test]
async fn a_rotation_by_hand_is_done_at_once_or_by_itself_when_everyone_knows_the_key() {
    let store = Arc::new(Memory::default());
    let custody = open(&store, START).await;
    let first = signing(&custody, ES);
    custody.rotate(Some(ES), after(5)).await.unwrap();
    assert_eq!(
        signing(&custody, ES),
        first,
        "its successor is unknown to everyone"
    );
    turn(&custody, after(70)).await;
    turn(&custody, after(70 + 3599)).await;
    assert_eq!(signing(&custody, ES), first);
    let rsa = signing(&custody, Algorithm::Rs256);
    turn(&custody, after(70 + 3600)).await;
    let second = signing(&custody, ES);
    assert_ne!(second, first);
    assert_eq!(
        signing(&custody, Algorithm::Rs256),
        rsa,
        "only what was asked for"
    );
    // The one after that was published for long enough when it is asked for.
    turn(&custody, after(8000)).await;
    turn(&custody, after(8100)).await;
    custody.rotate(None, after(20_000)).await.unwrap();
    assert_ne!(signing(&custody, ES), second);
    assert_ne!(signing(&custody, Algorithm::Rs256), rsa);
}

#[tokio::test]
async fn a_revoked_key_leaves_at_once_and_the_published_one_takes_its_place() {
    let store = Arc::new(Memory::default());
    let custody = open(&store, START).await;
    turn(&custody, START).await;
    turn(&custody, after(60)).await;
    let first = signing(&custody, ES);
    let before = custody.ring();
    let next = rotation::successor(&before.stored.keys, ES)
        .unwrap()
        .key_id
        .clone();
    custody.revoke(&first, after(100)).await.unwrap();
    assert_eq!(signing(&custody, ES), next);
    assert!(!published(&custody).contains(&first));
    let ring = custody.ring();
    assert_eq!(ring.stored.revocations, before.stored.revocations + 1);
    let revoked = ring
        .stored
        .keys
        .iter()
        .find(|key| key.key_id == first)
        .unwrap();
    assert_eq!(
        (revoked.state(), revoked.sealed_private.len()),
        (KeyState::Revoked, 0)
    );
}

#[tokio::test]
async fn a_revoked_key_without_a_successor_is_replaced_by_a_new_one() {
    let store = Arc::new(Memory::default());
    let custody = open(&store, START).await;
    let first = signing(&custody, Algorithm::Rs256);
    custody.revoke(&first, after(1)).await.unwrap();
    let second = signing(&custody, Algorithm::Rs256);
    assert_ne!(second, first);
    assert!(published(&custody).contains(&second) && !published(&custody).contains(&first));
}

#[tokio::test]
async fn only_keys_that_are_there_can_be_revoked() {
    let store = Arc::new(Memory::default());
    let custody = open(&store, START).await;
    let unknown = custody.revoke("nobody", START).await.unwrap_err();
    assert!(matches!(unknown, NotRevoked::Unknown(_)), "{unknown}");
    let first = signing(&custody, ES);
    custody.revoke(&first, START).await.unwrap();
    let again = custody.revoke(&first, START).await.unwrap_err().to_string();
    assert_eq!(again, format!("key {first} is revoked already"));
}

#[tokio::test]
async fn two_processes_on_one_store_take_the_same_steps() {
    let store = Arc::new(Memory::default());
    let (one, two) = (open(&store, START).await, open(&store, START).await);
    for seconds in [0, 60, 3700, 4000, 8000, 30 * 86_400, 30 * 86_400 + 2000] {
        let now = after(seconds);
        let (first, second) = tokio::join!(turn(&one, now), turn(&two, now));
        // Who turned first may have seen less than the other did after it.
        turn(&one, now).await;
        assert_eq!(one.ring().stored, two.ring().stored, "{first:?} {second:?}");
        for algorithm in ALGORITHMS {
            let states = states(&one, algorithm);
            let active = states.iter().filter(|state| **state == KeyState::Active);
            assert_eq!(active.count(), 1, "{states:?}");
            let waiting = states
                .iter()
                .filter(|state| matches!(state, KeyState::Prepared | KeyState::Published));
            assert!(waiting.count() <= 1, "{states:?}");
        }
    }
    one.revoke(&signing(&one, ES), after(31 * 86_400))
        .await
        .unwrap();
    turn(&two, after(31 * 86_400)).await;
    assert_eq!(two.ring().stored.revocations, 1);
    assert_eq!(signing(&one, ES), signing(&two, ES));
}

#[tokio::test]
async fn a_restart_between_any_two_steps_goes_on_where_it_was() {
    let store = Arc::new(Memory::default());
    let mut last = 0;
    for seconds in (0..9000).step_by(300).chain([30 * 86_400, 31 * 86_400]) {
        let custody = open(&store, after(seconds)).await;
        turn(&custody, after(seconds)).await;
        let sequence = custody.ring().stored.sequence;
        assert!(sequence >= last, "the sequence never goes back");
        last = sequence;
    }
    let custody = open(&store, after(31 * 86_400)).await;
    assert_eq!(
        states(&custody, ES),
        [KeyState::Removed, KeyState::Active, KeyState::Published]
    );
}

#[tokio::test]
async fn a_start_with_longer_lifetimes_notes_them_before_it_signs() {
    let store = Arc::new(Memory::default());
    drop(open(&store, START).await);
    let mut longer = config();
    longer.max_ttl = Duration::from_secs(3600);
    let shared = Arc::clone(&store) as Arc<dyn KeyStore>;
    let custody = Custody::open(shared, sealing_key(), &longer, START)
        .await
        .unwrap();
    let ring = custody.ring();
    assert!(
        ring.stored
            .keys
            .iter()
            .all(|key| key.longest_ttl == longer.max_ttl)
    );
}

#[tokio::test]
async fn the_bundle_says_the_sequence_and_names_its_keys_for_svids() {
    let store = Arc::new(Memory::default());
    let custody = open(&store, START).await;
    let bundle = |custody: &Custody| -> Value {
        serde_json::from_slice(&custody.ring().documents.bundle).unwrap()
    };
    let before = bundle(&custody);
    turn(&custody, START).await;
    turn(&custody, after(60)).await;
    let after = bundle(&custody);
    let number = |bundle: &Value| bundle["spiffe_sequence"].as_u64().unwrap();
    assert!(number(&after) > number(&before));
    assert_eq!(after["spiffe_refresh_hint"], 300);
    let keys = after["keys"].as_array().unwrap();
    let ids: Vec<_> = keys
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert_eq!(ids, published(&custody));
    assert!(
        keys.iter()
            .all(|key| key["use"] == "jwt-svid" && key.get("d").is_none())
    );
}

#[tokio::test]
async fn a_start_after_a_long_pause_removes_as_many_keys_as_are_due() {
    let store = Arc::new(Memory::default());
    drop(open(&store, START).await);
    let retired = |_| StoredKey {
        published_at: Some(START),
        active_at: Some(START),
        retired_at: Some(START),
        longest_ttl: Duration::from_secs(900),
        ..make_one(ES, &sealing_key(), START).unwrap()
    };
    store.0.lock().unwrap().keys.extend((0..40).map(retired));
    let custody = open(&store, after(86_400)).await;
    let states = states(&custody, ES);
    let count = |state| states.iter().filter(|found| **found == state).count();
    assert_eq!(
        (count(KeyState::Removed), count(KeyState::Retired)),
        (40, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_signs_while_the_store_has_not_been_read_for_a_minute() {
    let (disk, custody) = ailing(&Arc::default()).await;
    turn(&custody, START).await;
    disk.reads.store(false, Ordering::SeqCst);
    tokio::time::advance(STALE_AFTER - Duration::from_millis(1)).await;
    assert!(custody.turn(after(59), Urgency::All).await.is_err());
    assert!(custody.fresh().is_some());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(custody.fresh().is_none());
    assert!(custody.turn(after(60), Urgency::All).await.is_err());
    assert!(custody.fresh().is_none());
    disk.reads.store(true, Ordering::SeqCst);
    turn(&custody, after(61)).await;
    assert!(custody.fresh().is_some());
}

#[tokio::test]
async fn a_process_that_cannot_write_still_learns_what_another_one_revoked() {
    let store = Arc::new(Memory::default());
    let (disk, custody) = ailing(&store).await;
    let other = open(&store, START).await;
    let first = signing(&custody, ES);
    other.revoke(&first, after(1)).await.unwrap();
    disk.writes.store(false, Ordering::SeqCst);
    // A step is due, the next key to be made, and fails.
    assert!(custody.turn(after(2), Urgency::All).await.is_err());
    assert_eq!(signing(&custody, ES), signing(&other, ES));
    assert!(!published(&custody).contains(&first));
}
