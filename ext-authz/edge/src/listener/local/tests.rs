use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::yield_now,
};

use super::*;

/// A connection and its peer, neither of which blocks.
fn pair() -> (Local, tokio::net::UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
    (Local::of(ours).unwrap(), theirs)
}

#[tokio::test]
async fn what_either_end_writes_the_other_reads_until_it_is_shut_down() {
    let (mut ours, mut theirs) = pair();
    theirs.write_all(b"question").await.unwrap();
    let mut read = [0; 3];
    ours.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"que");
    ours.write_all(b"answer").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut answer = String::new();
    theirs.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    theirs.write_all(b"!").await.unwrap();
    drop(theirs);
    let mut rest = String::new();
    ours.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "stion!");
}

#[tokio::test]
async fn a_peer_that_reads_slowly_gets_all_of_it() {
    let (mut ours, mut theirs) = pair();
    let sent: Vec<u8> = (0..4_000_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        ours.write_all(&sent).await.unwrap();
        assert!(ours.full.is_none(), "there is room at last");
    });
    let mut received = Vec::new();
    let mut some = vec![0; 10_000];
    while received.len() < expected.len() {
        let read = theirs.read(&mut some).await.unwrap();
        received.extend_from_slice(&some[..read]);
        yield_now().await;
    }
    writing.await.unwrap();
    assert!(received == expected);
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_peer_that_took_an_answer_wakes_nobody() {
    let (mut ours, mut theirs) = pair();
    ours.write_all(b"answer").await.unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut read = [0; 8];
    {
        let mut reading = pin!(ours.read(&mut read));
        let polled = reading.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        theirs.read_exact(&mut [0; 6]).await.unwrap();
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        theirs.write_all(b"question").await.unwrap();
        let waking = poll_fn(|context| match woken.0.load(Ordering::Relaxed) {
            0 => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            times => Poll::Ready(times),
        });
        assert_eq!(waking.await, 1);
    }
    ours.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"question");
}
