use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Answers after `pause`, and counts.
struct Sleeper<'a> {
    pause: Duration,
    calls: &'a AtomicU64,
}

impl Caller for Sleeper<'_> {
    async fn call(&mut self, _number: u64) -> Result<()> {
        tokio::time::sleep(self.pause).await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

struct Wrong;

impl Caller for Wrong {
    async fn call(&mut self, number: u64) -> Result<()> {
        anyhow::bail!("call {number} was answered wrongly")
    }
}

#[tokio::test]
async fn a_wrong_answer_ends_the_run() {
    let span = Duration::from_millis(20);
    assert!(closed(&mut [Wrong], span).await.is_err());
    assert!(open(&mut [Wrong], 1000.0, span).await.is_err());
    assert!(each_once(&mut [Wrong], 1).await.is_err());
}

#[tokio::test]
async fn every_answer_is_counted() -> Result<()> {
    let calls = AtomicU64::new(0);
    let sleeper = || Sleeper {
        pause: Duration::from_millis(1),
        calls: &calls,
    };
    let measured = closed(&mut [sleeper(), sleeper()], Duration::from_millis(50)).await?;
    assert_eq!(measured.calls, calls.load(Ordering::Relaxed));
    let measured = each_once(&mut [sleeper(), sleeper(), sleeper()], 10).await?;
    assert_eq!((measured.calls, measured.next), (10, 10));
    Ok(())
}

/// Lets others go first so often at each call, and notes the number behind the greatest that any of them got.
struct Polite<'a> {
    times: u32,
    next: &'a AtomicU64,
}

impl Caller for Polite<'_> {
    async fn call(&mut self, number: u64) -> Result<()> {
        self.next.fetch_max(number + 1, Ordering::Relaxed);
        for _time in 0..self.times {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_next_number_was_given_to_none_of_unequal_callers() -> Result<()> {
    let next = AtomicU64::new(0);
    let polite = |times| Polite { times, next: &next };
    let measured = closed(&mut [polite(1), polite(20)], Duration::from_millis(50)).await?;
    assert_eq!(measured.next, next.load(Ordering::Relaxed));
    assert!(measured.next >= measured.calls, "{measured:?}");
    Ok(())
}

#[tokio::test]
async fn a_stall_is_charged_to_every_call_that_was_due_meanwhile() -> Result<()> {
    let calls = AtomicU64::new(0);
    let pause = Duration::from_millis(100);
    let mut only = [Sleeper {
        pause,
        calls: &calls,
    }];
    // Ten calls are due at once, more or less; the only caller takes a second for them.
    let measured = open(&mut only, 1000.0, Duration::from_millis(10)).await?;
    assert_eq!(measured.calls, 10);
    assert!(measured.percentile(100.0) > 900.0, "{measured:?}");
    assert!(measured.percentile(50.0) > 400.0, "{measured:?}");
    Ok(())
}
