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

    fn weight(&self) -> usize {
        100
    }
}

/// A value that nothing but its source ends.
struct Lasting;

impl Perishable for Lasting {
    fn lifetime(&self) -> Option<Lifetime> {
        None
    }

    fn weight(&self) -> usize {
        1
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

type Tokens = Cache<Token>;

const PATIENCE: Duration = Duration::from_secs(10);

/// What a caller is told: how long to wait is another matter.
fn told<T>(outcome: Result<T, NotObtained>) -> Result<T, Cause> {
    outcome.map_err(|why| why.cause)
}

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
        .obtain(key.as_bytes(), now, patience(), |_| source.fetch(now))
        .await
        .map(|token| token.number)
}

/// Longer than any fetch takes.
fn patience() -> Patience {
    Patience {
        until: time::Instant::now() + Duration::from_hours(1),
        late: Fault::ProviderTimeout,
    }
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
async fn a_value_that_comes_expired_is_not_given_out() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let fetched = cache
        .obtain(b"key", at(100), patience(), |_| source.fetch(at(0)))
        .await;
    assert_eq!(fetched.map(|token| token.number), Err(BROKEN));
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
        .obtain(b"key", at(0), patience(), |_| {
            pending::<Result<Token, NotObtained>>()
        })
        .await;
    let given_up = given_up.map(|token| token.number).unwrap_err();
    assert_eq!(given_up.cause, Cause::Broken(Fault::ProviderTimeout));
    assert!(given_up.retry_after.is_some());
    assert!(cache.shared.flights().is_empty());
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
    let cache: Cache<Token> = Cache::new(100 * 50, PATIENCE);
    for key in 0..1000_u32 {
        cache
            .obtain(&key.to_be_bytes(), at(0), patience(), |_| {
                source.fetch(at(0))
            })
            .await
            .unwrap();
    }
    assert!((1..=50).contains(&cache.shared.kept.len()));
    assert!(cache.shared.flights().is_empty());
}

#[tokio::test]
async fn what_expired_leaves_memory_though_nobody_asks_for_it() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    obtain(&cache, &source, "key", at(0)).await.unwrap();
    cache.sweep(at(99));
    assert_eq!(cache.shared.kept.len(), 1);
    cache.sweep(at(100));
    assert!(cache.shared.kept.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_leaves_memory_after_a_quarter_of_an_hour() {
    let cache = Cache::new(1 << 20, PATIENCE);
    let fetch = |_| async { Ok(Lasting) };
    cache
        .obtain(b"key", at(0), patience(), fetch)
        .await
        .ok()
        .unwrap();
    assert!(cache.fresh(b"key", at(600)).is_some());
    cache.sweep(at(1499));
    assert_eq!(
        cache.shared.kept.len(),
        1,
        "it was asked for after ten minutes"
    );
    cache.sweep(at(1500));
    assert!(cache.shared.kept.is_empty());
    cache
        .obtain(b"key", at(9000), patience(), fetch)
        .await
        .ok()
        .unwrap();
    cache.sweep(at(1600));
    cache.sweep(at(2500));
    assert!(cache.shared.kept.is_empty(), "the clock was ahead");
}

#[tokio::test(start_paused = true)]
async fn failures_are_forgotten_in_time() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    source.fail(Some(BROKEN));
    obtain(&cache, &source, "key", at(0)).await.unwrap_err();
    time::advance(Duration::from_mins(15)).await;
    cache.sweep(at(900));
    assert_eq!(cache.shared.failing.len(), 1);
    time::advance(Duration::from_secs(1)).await;
    cache.sweep(at(901));
    assert!(cache.shared.failing.is_empty());
}

#[tokio::test]
async fn a_value_is_reused_until_80_percent_of_its_life_then_served_while_its_successor_is_fetched()
{
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    assert_eq!(obtain(&cache, &source, "key", at(74)).await, Ok(0));
    settle().await;
    assert_eq!(source.fetches(), 1);
    assert_eq!(obtain(&cache, &source, "key", at(80)).await, Ok(0));
    assert_eq!(source.fetches(), 2);
    settle().await;
    assert_eq!(obtain(&cache, &source, "key", at(81)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_successor_while_the_old_value_is_good() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    let gate = source.hold();
    let began = time::Instant::now();
    for second in 80..100 {
        assert_eq!(obtain(&cache, &source, "key", at(second)).await, Ok(0));
    }
    let last = Timestamp::from_millis(99_999);
    assert_eq!(obtain(&cache, &source, "key", last).await, Ok(0));
    assert_eq!((source.fetches(), began.elapsed()), (2, Duration::ZERO));
    gate.notify_one();
    settle().await;
    assert_eq!(obtain(&cache, &source, "key", at(99)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn an_expired_value_is_never_given_out() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    source.fail(Some(BROKEN));
    assert_eq!(obtain(&cache, &source, "key", at(99)).await, Ok(0));
    settle().await;
    let expired = obtain(&cache, &source, "key", at(100)).await;
    assert_eq!(told(expired), Err(BROKEN.cause));
    source.fail(None);
    time::advance(Duration::from_secs(1)).await;
    let number = obtain(&cache, &source, "key", at(101)).await;
    assert_eq!(number, Ok(source.fetches() - 1));
}

#[tokio::test(start_paused = true)]
async fn what_expires_while_it_is_waited_for_does_not_leave() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let slow = || {
        let fetch = source.fetch(at(0));
        async move {
            time::sleep(Duration::from_secs(2)).await;
            fetch.await
        }
    };
    let late = cache.obtain(b"key", at(99), patience(), |_| slow()).await;
    assert_eq!(told(late.map(|token| token.number)), Err(BROKEN.cause));
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_is_repeated_after_pauses_not_with_every_call() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
    source.fail(Some(BROKEN));
    let mut fetches = Vec::new();
    for tenth in 0..150_u32 {
        let now = Timestamp::from_millis(80_000 + i64::from(tenth) * 100);
        assert_eq!(obtain(&cache, &source, "key", now).await, Ok(0));
        settle().await;
        fetches.push(source.fetches() - 1);
        time::advance(Duration::from_millis(100)).await;
    }
    // After about 0.5, 1, 2 and 4 seconds, and then every 5.
    let at_second = |second: usize| fetches[second * 10];
    assert_eq!((at_second(0), at_second(1), at_second(2)), (1, 2, 3));
    assert!((4..=7).contains(&at_second(14)), "{fetches:?}");
    // It is used within seconds when it is back.
    source.fail(None);
    time::advance(Duration::from_secs(5)).await;
    obtain(&cache, &source, "key", at(96)).await.unwrap();
    settle().await;
    let number = obtain(&cache, &source, "key", at(97)).await;
    assert_eq!(number, Ok(source.fetches() - 1));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_does_not_stop_the_refresh() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    assert_eq!(obtain(&cache, &source, "key", at(1000)).await, Ok(0));
    source.fail(Some(BROKEN));
    assert_eq!(obtain(&cache, &source, "key", at(1090)).await, Ok(0));
    settle().await;
    source.fail(None);
    time::advance(Duration::from_secs(1)).await;
    assert_eq!(obtain(&cache, &source, "key", at(500)).await, Ok(0));
    settle().await;
    assert_eq!(obtain(&cache, &source, "key", at(501)).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_goes_to_all_who_wait_and_to_those_who_come_while_it_is_not_asked_again() {
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
    let outcomes = callers.join_all().await;
    for outcome in outcomes {
        let refused = outcome.unwrap_err();
        assert_eq!(refused.cause, BROKEN.cause);
        assert!(refused.retry_after.is_some());
    }
    source.fail(None);
    for _ in 0..100 {
        let refused = obtain(&cache, &source, "key", at(0)).await.unwrap_err();
        assert_eq!(refused.cause, BROKEN.cause);
        assert!(refused.retry_after.unwrap() <= Duration::from_millis(500));
    }
    assert_eq!(source.fetches(), 1);
    // Another key is another matter.
    assert_eq!(obtain(&cache, &source, "other", at(0)).await, Ok(1));
    time::advance(Duration::from_millis(500)).await;
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_fails_its_callers_and_blocks_nobody() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let panics = || async { panic!("a fetch that panics") };
    let failed = cache.obtain(b"key", at(0), patience(), |_| panics()).await;
    assert_eq!(told(failed.map(|token| token.number)), Err(BROKEN.cause));
    time::advance(Duration::from_secs(1)).await;
    assert_eq!(obtain(&cache, &source, "key", at(0)).await, Ok(0));
}

#[tokio::test]
async fn what_has_no_lifetime_is_fetched_once() {
    let cache = Cache::new(1 << 20, PATIENCE);
    let fetches = Arc::new(AtomicUsize::new(0));
    for second in [0, 1 << 40, -5] {
        let fetch = || {
            fetches.fetch_add(1, SeqCst);
            async { Ok(Lasting) }
        };
        assert!(
            cache
                .obtain(b"key", at(second), patience(), |_| fetch())
                .await
                .is_ok()
        );
    }
    assert_eq!(fetches.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn who_loses_patience_is_told_what_is_known_and_the_fetch_goes_on() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let soon = |late| Patience {
        until: time::Instant::now() + Duration::from_millis(400),
        late,
    };
    let broken = |fault| Err(Cause::Broken(fault));
    let gate = source.hold();
    let fetch = |_| source.fetch(at(0));
    let late = cache
        .obtain(b"key", at(0), soon(Fault::ProviderTimeout), fetch)
        .await;
    assert_eq!(told(late.map(|_| ())), broken(Fault::ProviderTimeout));
    // It fails once nobody waits, which whoever comes next is told, also while it is asked again.
    source.fail(Some(NotObtained::broken(Fault::ProviderRefused)));
    gate.notify_one();
    settle().await;
    let refused = cache
        .obtain(b"key", at(1), soon(Fault::ProviderTimeout), fetch)
        .await;
    assert_eq!(told(refused.map(|_| ())), broken(Fault::ProviderRefused));
    time::advance(Duration::from_secs(1)).await;
    source.fail(None);
    let gate = source.hold();
    let again = cache
        .obtain(b"key", at(2), soon(Fault::ProviderTimeout), fetch)
        .await;
    assert_eq!(told(again.map(|_| ())), broken(Fault::ProviderRefused));
    gate.notify_one();
    settle().await;
    let fetches = source.fetches();
    assert!(
        cache
            .obtain(b"key", at(3), soon(Fault::ProviderTimeout), fetch)
            .await
            .is_ok()
    );
    assert_eq!(source.fetches(), fetches);
}

#[tokio::test]
async fn a_fetch_knows_whether_somebody_waits_for_it() {
    let (cache, source) = (cache(), Arc::new(Source::default()));
    let occasions = Mutex::new(Vec::new());
    let fetch = |occasion| {
        occasions.lock().unwrap().push(occasion);
        source.fetch(at(0))
    };
    for second in [0, 81, 200] {
        let _ = cache.obtain(b"key", at(second), patience(), fetch).await;
        settle().await;
    }
    let occasions = occasions.into_inner().unwrap();
    assert_eq!(
        occasions,
        [Occasion::Awaited, Occasion::Ahead, Occasion::Awaited]
    );
}
