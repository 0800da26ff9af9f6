use std::{future::poll_fn, pin::pin, task::Poll};

use tokio::{
    sync::oneshot,
    task::{id, yield_now},
};

use super::*;

#[tokio::test]
async fn work_is_done_by_the_task_that_waits_for_it() {
    let ours = tokio::spawn(async {
        let theirs = ToItsEnd::of(async {
            yield_now().await;
            id()
        });
        (id(), theirs.await)
    });
    let (ours, theirs) = ours.await.unwrap();
    assert_eq!(theirs, Ok(ours));
}

#[tokio::test]
async fn work_goes_on_when_nobody_waits_for_it_any_more() {
    let (go_on, told) = oneshot::channel::<()>();
    let (ended, end) = oneshot::channel();
    let mut work = Box::pin(ToItsEnd::of(async move {
        told.await.unwrap();
        ended.send("done").unwrap();
    }));
    let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_pending()));
    assert!(polled.await);
    drop(work);
    go_on.send(()).unwrap();
    assert_eq!(end.await, Ok("done"));
}

#[tokio::test]
async fn work_that_was_never_asked_for_is_done_too() {
    let (ended, end) = oneshot::channel();
    drop(ToItsEnd::of(async move { ended.send(()).unwrap() }));
    assert_eq!(end.await, Ok(()));
}

#[tokio::test]
async fn a_panic_ends_the_work_and_nothing_else() {
    let mut work = pin!(ToItsEnd::of(async {
        yield_now().await;
        assert!(Handle::try_current().is_err(), "on purpose");
    }));
    assert_eq!(work.as_mut().await, Err(Panicked));
    assert_eq!(work.await, Err(Panicked));
}

#[test]
fn outside_a_runtime_it_is_dropped() {
    let (ended, mut end) = oneshot::channel::<()>();
    drop(ToItsEnd::of(async move { ended.send(()).unwrap() }));
    assert!(end.try_recv().is_err());
}
