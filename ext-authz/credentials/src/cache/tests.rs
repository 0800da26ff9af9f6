use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::{
    sync::{Barrier, Notify},
    task::{JoinSet, yield_now},
};

use super::*;

const BROKEN: NotObtained = NotObtained::broken(Fault::CredentialUnavailable);

/// A value that says which fetch made it.
#[derive(Debug)]
struct Token {
    number: usize,
    lifetime: Lifetime,
}

impl Perishable for Token {
    fn lifetime(&self) -> Option<Lifetime> {
        Some(self.lifetime)
    }

    fn weight(&self) -> u32 {
        100
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

/// Counts fetches, each of a token of 100 s from `now`, and lets the test hold or fail them.
#[derive(Default)]
struct Source {
    fetches: AtomicUsize,
    held: Mutex<Option<Arc<Notify>>>,
    failure: Mutex<Option<NotObtained>>,
}

impl Source {
    fn hold(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.held.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    fn fail(&self, failure: Option<NotObtained>) {
        *self.failure.lock().unwrap() = failure;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(SeqCst)
    }

    fn fetch(
        self: &Arc<Self>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Token, NotObtained>> + Send + use<> {
        let source = Arc::clone(self);
        let number = source.fetches.fetch_add(1, SeqCst);
        let held = source.held.lock().unwrap().take();
        async move {
            if let Some(gate) = held {
                gate.notified().await;
            }
            let failure = *source.failure.lock().unwrap();
            let lifetime = Lifetime::starting(now, Duration::from_secs(100));
            failure.map_or(Ok(Token { number, lifetime }), Err)
        }
    }
}

type Tokens = Cache<&'static str, Token>;

const PATIENCE: Patience = Patience {
    fetch: Duration::from_secs(10),
    successor: Duration::from_millis(200),
};

fn cache() -> Arc<Tokens> {
    Arc::new(Cache::new(1 << 20, PATIENCE))
}

async fn obtain(
    cache: &Tokens,
    source: &Arc<Source>,
    key: &'static str,
    now: Timestamp,
) -> Result<usize, NotObtained> {
    cache
        .obtain(&key, now, || source.fetch(now))
        .await
        .map(|token| token.number)
}

/// Lets every task that can run do so.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_callers_at_once_cause_one_fetch() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let start = Arc::new(Barrier::new(1000));
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let (cache, source, start) = (Arc::clone(&cache), Arc::clone(&source), Arc::clone(&start));
        callers.spawn(async move {
            start.wait().await;
            obtain(&cache, &source, "key", at(0)).await
        });
    }
    assert!(
        callers
            .join_all()
            .await
            .into_iter()
            .all(|number| number == Ok(0))
    );
    assert_eq!(source.fetches(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_take_the_fetch_from_the_others() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let gate = source.hold();
    let spawn = || {
        let (cache, source) = (Arc::clone(&cache), Arc::clone(&source));
        tokio::spawn(async move { obtain(&cache, &source, "key", at(0)).await })
    };
    let (first, second) = (spawn(), spawn());
    settle().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.notify_one();
    assert_eq!(second.await.unwrap(), Ok(0));
    assert_eq!(source.fetches(), 1);
}

#[tokio::test]
async fn a_fetch_whose_callers_all_went_away_is_there_for_the_next() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let gate = source.hold();
    let only = {
        let (cache, source) = (Arc::clone(&cache), Arc::clone(&source));
        tokio::spawn(async move { obtain(&cache, &source, "key", at(0)).await })
    };
    settle().await;
    only.abort();
    gate.notify_one();
    settle().await;
    assert_eq!(obtain(&cache, &source, "key", at(1)).await, Ok(0));
}

#[tokio::test]
async fn a_value_is_reused_until_80_percent_of_its_life_then_served_while_its_successor_is_fetched()
{
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    assert_eq!(obtain(&cache, &source, "key", at(79)).await, Ok(0));
    settle().await;
    assert_eq!(source.fetches(), 1);
    assert_eq!(obtain(&cache, &source, "key", at(80)).await, Ok(0));
    assert_eq!(source.fetches(), 2);
    settle().await;
    assert_eq!(obtain(&cache, &source, "key", at(81)).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn near_its_end_a_value_is_not_given_out_if_its_successor_can_be_had() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    let start = Arc::new(Barrier::new(1000));
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let (cache, source, start) = (Arc::clone(&cache), Arc::clone(&source), Arc::clone(&start));
        callers.spawn(async move {
            start.wait().await;
            obtain(&cache, &source, "key", at(90)).await
        });
    }
    assert!(
        callers
            .join_all()
            .await
            .into_iter()
            .all(|number| number == Ok(1))
    );
    assert_eq!(source.fetches(), 2);
}

#[tokio::test]
async fn nobody_waits_for_a_successor_before_the_end_is_near_and_who_comes_then_gets_it() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    let gate = source.hold();
    assert_eq!(obtain(&cache, &source, "key", at(80)).await, Ok(0));
    assert_eq!(obtain(&cache, &source, "key", at(89)).await, Ok(0));
    let late = {
        let (cache, source) = (Arc::clone(&cache), Arc::clone(&source));
        tokio::spawn(async move { obtain(&cache, &source, "key", at(90)).await })
    };
    settle().await;
    assert!(!late.is_finished(), "it waits");
    gate.notify_one();
    assert_eq!(late.await.unwrap(), Ok(1));
    assert_eq!(source.fetches(), 2);
}

#[test]
fn the_end_is_near_in_the_last_tenth_and_in_the_last_five_seconds() {
    for (lifetime, not_yet, near) in [(100, 89, 90), (3600, 3239, 3240), (30, 24, 25), (4, -2, 0)] {
        let lifetime = Lifetime::starting(at(0), Duration::from_secs(lifetime));
        assert!(!is_near_end(Some(lifetime), at(not_yet)), "{lifetime:?}");
        assert!(is_near_end(Some(lifetime), at(near)), "{lifetime:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn near_its_end_a_value_still_serves_when_its_successor_does_not_come() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    let _held = source.hold();
    let began = time::Instant::now();
    assert_eq!(obtain(&cache, &source, "key", at(95)).await, Ok(0));
    assert_eq!(began.elapsed(), PATIENCE.successor);
    // The one who waits is not the one who fetches: it goes on, and nobody begins another.
    assert_eq!(obtain(&cache, &source, "key", at(98)).await, Ok(0));
    assert_eq!(source.fetches(), 2);
    // What expires while it is waited for does not leave.
    let last = Timestamp::from_millis(99_900);
    assert_eq!(obtain(&cache, &source, "key", last).await, Err(BROKEN));
}

#[tokio::test(start_paused = true)]
async fn near_its_end_nobody_waits_for_a_refresh_that_has_just_failed() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    source.fail(Some(BROKEN));
    let began = time::Instant::now();
    for _ in 0..100 {
        assert_eq!(obtain(&cache, &source, "key", at(95)).await, Ok(0));
    }
    assert_eq!((source.fetches(), began.elapsed()), (2, Duration::ZERO));
    source.fail(None);
    assert_eq!(obtain(&cache, &source, "key", at(96)).await, Ok(2));
}

#[tokio::test]
async fn near_its_end_a_caller_who_goes_away_does_not_take_the_successor_from_the_others() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    let gate = source.hold();
    let spawn = || {
        let (cache, source) = (Arc::clone(&cache), Arc::clone(&source));
        tokio::spawn(async move { obtain(&cache, &source, "key", at(95)).await })
    };
    let (first, second) = (spawn(), spawn());
    settle().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.notify_one();
    assert_eq!(second.await.unwrap(), Ok(1));
    assert_eq!(source.fetches(), 2);
}

#[tokio::test]
async fn near_its_end_one_callers_refused_evidence_does_not_keep_the_successor_from_another() {
    let cache = cache();
    let (bad, good) = (Arc::new(Source::default()), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &good, "key", at(0)).await, Ok(0));
    bad.fail(Some(NotObtained::evidence_refused()));
    let gate = bad.hold();
    let spawn = |source: &Arc<Source>| {
        let (cache, source) = (Arc::clone(&cache), Arc::clone(source));
        tokio::spawn(async move { obtain(&cache, &source, "key", at(95)).await })
    };
    let began = spawn(&bad);
    settle().await;
    let joined = spawn(&good);
    settle().await;
    gate.notify_one();
    assert_eq!(began.await.unwrap(), Ok(0), "what it has is still good");
    assert_eq!(joined.await.unwrap(), Ok(1));
}

#[tokio::test]
async fn an_expired_value_is_never_given_out() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    source.fail(Some(BROKEN));
    assert_eq!(obtain(&cache, &source, "key", at(99)).await, Ok(0));
    settle().await;
    assert_eq!(obtain(&cache, &source, "key", at(100)).await, Err(BROKEN));
    source.fail(None);
    let number = obtain(&cache, &source, "key", at(100)).await;
    assert_eq!(number, Ok(source.fetches() - 1));
}

#[tokio::test]
async fn a_value_that_comes_expired_is_not_given_out() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let fetched = cache.obtain(&"key", at(100), || source.fetch(at(0))).await;
    assert_eq!(fetched.map(|token| token.number), Err(BROKEN));
}

#[tokio::test]
async fn a_failed_refresh_is_repeated_once_a_second_not_with_every_call() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    source.fail(Some(BROKEN));
    for _ in 0..100 {
        assert_eq!(obtain(&cache, &source, "key", at(85)).await, Ok(0));
        settle().await;
    }
    assert_eq!(source.fetches(), 2);
    assert_eq!(obtain(&cache, &source, "key", at(86)).await, Ok(0));
    assert_eq!(source.fetches(), 3);
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_stop_the_refresh() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(1000)).await, Ok(0));
    source.fail(Some(BROKEN));
    assert_eq!(obtain(&cache, &source, "key", at(1090)).await, Ok(0));
    settle().await;
    source.fail(None);
    assert_eq!(obtain(&cache, &source, "key", at(500)).await, Ok(0));
    settle().await;
    assert_eq!(obtain(&cache, &source, "key", at(501)).await, Ok(2));
}

#[tokio::test]
async fn a_failure_goes_to_all_who_wait_and_is_not_kept() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let gate = source.hold();
    source.fail(Some(BROKEN));
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let (cache, source) = (Arc::clone(&cache), Arc::clone(&source));
        callers.spawn(async move { obtain(&cache, &source, "key", at(0)).await });
    }
    settle().await;
    gate.notify_one();
    assert!(
        callers
            .join_all()
            .await
            .into_iter()
            .all(|outcome| outcome == Err(BROKEN))
    );
    assert_eq!(source.fetches(), 1);
    source.fail(None);
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(1));
}

#[tokio::test]
async fn one_callers_refused_evidence_does_not_fail_another() {
    let cache = cache();
    let (bad, good) = (Arc::new(Source::default()), Arc::new(Source::default()));
    bad.fail(Some(NotObtained::evidence_refused()));
    let gate = bad.hold();
    let spawn = |source: &Arc<Source>| {
        let (cache, source) = (Arc::clone(&cache), Arc::clone(source));
        tokio::spawn(async move { obtain(&cache, &source, "key", at(0)).await })
    };
    let began = spawn(&bad);
    settle().await;
    let joined = [spawn(&good), spawn(&good)];
    settle().await;
    assert_eq!(good.fetches(), 0, "they wait for the flight under way");
    gate.notify_one();
    assert_eq!(began.await.unwrap(), Err(NotObtained::evidence_refused()));
    for caller in joined {
        assert_eq!(caller.await.unwrap(), Ok(0));
    }
    assert_eq!((bad.fetches(), good.fetches()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_never_ends_is_given_up() {
    let cache = cache();
    let given_up = cache
        .obtain(&"key", at(0), pending::<Result<Token, NotObtained>>)
        .await;
    assert_eq!(given_up.map(|token| token.number), Err(BROKEN));
    assert!(cache.shared.flights().is_empty());
}

#[tokio::test]
async fn a_fetch_that_panics_fails_its_callers_and_blocks_nobody() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let panics = || async { panic!("a fetch that panics") };
    let failed = cache.obtain(&"key", at(0), panics).await;
    assert_eq!(failed.map(|token| token.number), Err(BROKEN));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
}

#[tokio::test]
async fn other_keys_have_other_values() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "one", at(0)).await, Ok(0));
    assert_eq!(obtain(&cache, &source, "two", at(0)).await, Ok(1));
    assert_eq!(obtain(&cache, &source, "one", at(0)).await, Ok(0));
}

#[tokio::test]
async fn memory_stays_within_its_bound_however_many_keys_come() {
    let source = Arc::new(Source::default());
    let cache: Cache<u32, Token> = Cache::new(100 * 50, PATIENCE);
    for key in 0..1000 {
        cache
            .obtain(&key, at(0), || source.fetch(at(0)))
            .await
            .unwrap();
    }
    cache.shared.kept.run_pending_tasks();
    assert!((1..=50).contains(&cache.shared.kept.entry_count()));
    assert!(cache.shared.flights().is_empty());
}
