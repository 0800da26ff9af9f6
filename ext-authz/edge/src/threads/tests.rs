use std::{
    io::Read as _,
    os::{fd::AsFd as _, unix::net::UnixStream},
    sync::mpsc,
};

use tokio::time::{sleep, timeout};

use super::*;

/// A connection, as far as threads know of one, and its peer.
struct Taken {
    seat: Seat,
    peer: UnixStream,
}

fn take(threads: &Threads) -> Taken {
    let (connection, peer) = UnixStream::pair().unwrap();
    let seat = threads.seat(connection.as_fd()).unwrap();
    Taken { seat, peer }
}

impl Taken {
    /// The name of its thread, which answers.
    async fn thread(&self) -> String {
        let name = async { thread::current().name().unwrap().to_owned() };
        self.seat.runtime().spawn(name).await.unwrap()
    }

    fn is_ended(&mut self) -> bool {
        self.peer.set_nonblocking(true).unwrap();
        matches!(self.peer.read(&mut [0]), Ok(0))
    }
}

/// Has its thread do what hangs until the other end is dropped.
fn hang(taken: &Taken) -> mpsc::Sender<()> {
    let (until, ended) = mpsc::channel::<()>();
    let (began, begins) = mpsc::channel();
    taken.seat.runtime().spawn(async move {
        let _at_risk = at_risk().unwrap();
        began.send(()).unwrap();
        ended.recv().unwrap_err();
    });
    begins.recv().unwrap();
    until
}

#[tokio::test]
async fn a_connection_goes_where_the_fewest_are_and_stays_there() {
    let threads = Threads::start(Risk::Taken).unwrap();
    let number = 1 + lock(&threads.running).others.len();
    let mut seats: Vec<_> = (0..2 * number).map(|_| take(&threads)).collect();
    let mut on = Vec::new();
    for seat in &seats {
        let (first, second) = (seat.thread().await, seat.thread().await);
        assert_eq!(first, second);
        on.push(first);
    }
    let mut each = on.clone();
    each.sort();
    each.dedup();
    assert_eq!(each.len(), number, "{on:?}");
    for name in each {
        assert_eq!(on.iter().filter(|it| **it == name).count(), 2, "{on:?}");
    }
    // Where one ended, the next one begins.
    let freed = on.pop().unwrap();
    drop(seats.pop());
    assert_eq!(take(&threads).thread().await, freed);
}

#[tokio::test]
async fn a_thread_that_hangs_is_replaced_and_its_connections_are_ended() {
    let threads = Threads::start(Risk::Taken).unwrap();
    let number = 1 + lock(&threads.running).others.len();
    let mut seats: Vec<_> = (0..number).map(|_| take(&threads)).collect();
    let mut hanging = seats.pop().unwrap();
    let its_name = hanging.thread().await;
    let until = hang(&hanging);
    threads.look();
    assert!(!hanging.is_ended(), "it may just have begun");
    threads.look();
    threads.look();
    assert!(hanging.is_ended());
    assert!(!seats.iter_mut().any(Taken::is_ended));

    // Whoever comes again is answered, on a thread of its own.
    let again = take(&threads);
    let new_name = again.thread().await;
    assert_ne!(new_name, its_name);
    for other in &seats {
        assert_ne!(other.thread().await, new_name);
    }
    assert_eq!(1 + lock(&threads.running).others.len(), number);

    // Once it goes on, it answers nobody any more, and ends what it began.
    drop(until);
    let retired = |taken: &Taken| taken.seat.runtime().spawn(async { is_retired() });
    assert!(retired(&hanging).await.unwrap());
    assert!(!retired(&again).await.unwrap());
    let runtime = hanging.seat.runtime().clone();
    drop(hanging);
    runtime
        .spawn(sleep(Duration::from_millis(1)))
        .await
        .unwrap();
}

#[tokio::test]
async fn threads_end_with_what_started_them() {
    let threads = Threads::start(Risk::Taken).unwrap();
    let taken = take(&threads);
    drop(threads);
    let ended = async {
        while taken.seat.runtime().spawn(async {}).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), ended).await.unwrap();
}

#[tokio::test]
async fn a_thread_that_gets_on_is_not_replaced() {
    let threads = Threads::start(Risk::Taken).unwrap();
    let mut busy = take(&threads);
    for _ in 0..4 {
        let until = hang(&busy);
        threads.look();
        drop(until);
        busy.thread().await;
    }
    threads.look();
    threads.look();
    assert!(!busy.is_ended());
}

#[tokio::test]
async fn what_may_hang_is_left_to_others_where_nobody_would_take_the_place() {
    assert!(at_risk().is_none());
    for (risk, may) in [(Risk::Taken, true), (Risk::Avoided, false)] {
        let threads = Threads::start(risk).unwrap();
        let taken = take(&threads);
        let asked = taken.seat.runtime().spawn(async { at_risk().is_some() });
        assert_eq!(asked.await.unwrap(), may);
    }
}
