use super::*;

const START: Timestamp = Timestamp::from_seconds(1_781_000_000);
const TTL: Duration = Duration::from_secs(900);
const DAY: u64 = 86_400;

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn key(key_id: &str, algorithm: Algorithm) -> StoredKey {
    StoredKey {
        key_id: key_id.to_owned(),
        algorithm: algorithm.name().to_owned(),
        public_jwk: String::new(),
        sealed_private: vec![1],
        created_at: START,
        published_at: None,
        active_at: None,
        due_at: None,
        retired_at: None,
        removed_at: None,
        revoked_at: None,
        longest_ttl: Duration::ZERO,
    }
}

fn active(key_id: &str, algorithm: Algorithm) -> StoredKey {
    StoredKey {
        published_at: Some(START),
        active_at: Some(START),
        longest_ttl: TTL,
        ..key(key_id, algorithm)
    }
}

/// A ring with a key of each algorithm that signs, and `more` for ES256.
fn ring(more: Vec<StoredKey>) -> Vec<StoredKey> {
    let published = StoredKey {
        published_at: Some(after(60)),
        ..key("rs-2", Algorithm::Rs256)
    };
    let mut keys = vec![active("rs", Algorithm::Rs256), published];
    keys.push(active("es", Algorithm::Es256));
    keys.extend(more);
    keys
}

fn due_at(keys: &[StoredKey], now: Timestamp) -> Option<Step> {
    due(keys, &Schedule::default(), TTL, now)
}

#[test]
fn an_empty_ring_begins_with_a_key_of_each_algorithm() {
    assert_eq!(due_at(&[], START), Some(Step::Begin(ALGORITHMS.to_vec())));
    let only_rs = [active("rs", Algorithm::Rs256)];
    assert_eq!(
        due_at(&only_rs, START),
        Some(Step::Begin(vec![Algorithm::Es256]))
    );
}

#[test]
fn a_key_without_a_successor_gets_one() {
    assert_eq!(
        due_at(&ring(vec![]), START),
        Some(Step::Prepare(Algorithm::Es256))
    );
}

#[test]
fn a_prepared_key_rests_before_it_is_published() {
    let keys = ring(vec![key("es-2", Algorithm::Es256)]);
    assert_eq!(due_at(&keys, after(59)), None);
    assert_eq!(
        due_at(&keys, after(60)),
        Some(Step::Publish("es-2".to_owned()))
    );
}

#[test]
fn a_published_key_signs_when_its_predecessors_period_is_over() {
    let published = StoredKey {
        published_at: Some(after(60)),
        ..key("es-2", Algorithm::Es256)
    };
    let keys = ring(vec![published]);
    assert_eq!(due_at(&keys, after(30 * DAY - 1)), None);
    let both = due_at(&keys, after(30 * DAY));
    assert_eq!(both, Some(Step::Activate("rs-2".to_owned())));
}

#[test]
fn a_key_that_is_asked_for_waits_until_everyone_can_know_it() {
    let published = StoredKey {
        published_at: Some(after(60)),
        ..key("es-2", Algorithm::Es256)
    };
    let mut keys = ring(vec![published]);
    keys[2].due_at = Some(after(100));
    assert_eq!(due_at(&keys, after(60 + 3599)), None);
    assert_eq!(
        due_at(&keys, after(60 + 3600)),
        Some(Step::Activate("es-2".to_owned()))
    );
}

#[test]
fn a_late_publication_delays_the_turn_and_never_shortens_the_notice() {
    let late = StoredKey {
        published_at: Some(after(30 * DAY - 10)),
        ..key("es-2", Algorithm::Es256)
    };
    let mut keys = ring(vec![late]);
    keys[0].active_at = Some(after(DAY));
    assert_eq!(due_at(&keys, after(30 * DAY - 10 + 3599)), None);
    assert_eq!(
        due_at(&keys, after(30 * DAY - 10 + 3600)),
        Some(Step::Activate("es-2".to_owned()))
    );
}

#[test]
fn a_retired_key_stays_until_its_last_token_is_over_for_every_verifier() {
    let successor = key("es-3", Algorithm::Es256);
    let retired = StoredKey {
        retired_at: Some(START),
        ..active("es-0", Algorithm::Es256)
    };
    let mut keys = ring(vec![retired, successor]);
    keys[4].published_at = Some(START);
    let end = 900 + LEEWAY.as_secs();
    assert_eq!(due_at(&keys, after(end - 1)), None);
    assert_eq!(
        due_at(&keys, after(end)),
        Some(Step::Remove(vec!["es-0".to_owned()]))
    );
}

#[test]
fn all_keys_whose_tokens_are_over_leave_in_one_step() {
    let retired = |key_id: &str, algorithm, at| StoredKey {
        retired_at: Some(after(at)),
        ..active(key_id, algorithm)
    };
    let mut keys = ring(vec![key("es-2", Algorithm::Es256)]);
    keys.push(retired("es-0", Algorithm::Es256, 0));
    keys.push(retired("rs-0", Algorithm::Rs256, 10));
    keys.push(retired("es-1", Algorithm::Es256, 11));
    let over = due_at(&keys, after(10 + 900 + LEEWAY.as_secs()));
    assert_eq!(
        over,
        Some(Step::Remove(vec!["es-0".to_owned(), "rs-0".to_owned()]))
    );
}

#[test]
fn a_longer_lifetime_is_noted_before_anything_else() {
    let keys = ring(vec![]);
    let step = due(
        &keys,
        &Schedule::default(),
        TTL + Duration::from_secs(1),
        START,
    );
    assert_eq!(step, Some(Step::Lengthen));
    let shorter = due(&keys, &Schedule::default(), Duration::from_secs(60), START);
    assert_eq!(shorter, Some(Step::Prepare(Algorithm::Es256)));
}

#[test]
fn a_ring_whose_signing_key_is_gone_activates_the_next_one_at_once() {
    let mut keys = ring(vec![key("es-2", Algorithm::Es256)]);
    keys[2].revoked_at = Some(START);
    assert_eq!(
        due_at(&keys, START),
        Some(Step::Activate("es-2".to_owned()))
    );
}

#[test]
fn a_clock_that_was_set_back_takes_no_step_early() {
    let published = StoredKey {
        published_at: Some(after(60)),
        ..key("es-2", Algorithm::Es256)
    };
    assert_eq!(
        due_at(&ring(vec![published]), Timestamp::from_seconds(0)),
        None
    );
}

#[test]
fn a_schedule_that_verifiers_cannot_follow_is_refused() {
    let (day, hour) = (Duration::from_secs(DAY), Duration::from_secs(3600));
    assert!(Schedule::new(day, day, hour).is_ok());
    let unannounced = Schedule::new(day, day, Duration::from_secs(599));
    assert!(matches!(unannounced, Err(InvalidSchedule::Unannounced(_))));
    let short = Schedule::new(day, hour, hour).unwrap_err().to_string();
    assert!(
        short.contains("ES256") && short.contains("at least 4200 s"),
        "{short}"
    );
}

/// One run of a ring through a year, second by second of interest: whatever the moment, each algorithm has
/// one key that signs, it was published for long enough, and no retired key leaves early.
#[test]
fn whenever_steps_are_taken_no_verifier_meets_an_unknown_key() {
    let schedule = Schedule::default();
    let mut keys = vec![
        active("rs", Algorithm::Rs256),
        active("es", Algorithm::Es256),
    ];
    let (mut now, mut made, mut activated) = (START, 0, 0);
    for tick in 0..40_000_u64 {
        // Uneven, with pauses as of a process that is down.
        now = now.plus(Duration::from_secs(10 + (tick * 7919) % 1501));
        while let Some(step) = due(&keys, &schedule, TTL, now) {
            match step {
                Step::Prepare(algorithm) => {
                    made += 1;
                    let mut new = key(&format!("k{made}"), algorithm);
                    new.created_at = now;
                    keys.push(new);
                }
                Step::Publish(id) => {
                    keys.iter_mut()
                        .find(|key| key.key_id == id)
                        .unwrap()
                        .published_at = Some(now);
                }
                Step::Activate(id) => {
                    activated += 1;
                    let algorithm = keys
                        .iter()
                        .find(|key| key.key_id == id)
                        .unwrap()
                        .algorithm
                        .clone();
                    for key in &mut keys {
                        if key.key_id == id {
                            let notice = now.since(key.published_at.unwrap());
                            assert!(notice >= schedule.publish_ahead, "{notice:?}");
                            key.active_at = Some(now);
                            key.longest_ttl = TTL;
                        } else if key.algorithm == algorithm && key.state() == KeyState::Active {
                            key.retired_at = Some(now);
                        }
                    }
                }
                Step::Remove(ids) => {
                    for key in keys.iter_mut().filter(|key| ids.contains(&key.key_id)) {
                        assert!(now.since(key.retired_at.unwrap()) >= TTL + LEEWAY);
                        key.removed_at = Some(now);
                    }
                }
                Step::Begin(_) | Step::Lengthen => panic!("{step:?}"),
            }
        }
        for algorithm in ALGORITHMS {
            let signing = kept(&keys, algorithm).filter(|key| key.state() == KeyState::Active);
            assert_eq!(signing.count(), 1);
        }
    }
    assert!(activated > 20, "{activated}");
}
