use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::*;

const DRAIN: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that answers `done` when it is let go, and how to stop it.
async fn held_server() -> (
    SocketAddr,
    Arc<Notify>,
    Arc<Notify>,
    oneshot::Sender<()>,
    JoinHandle<()>,
) {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asked_too, go_too) = (Arc::clone(&asked), Arc::clone(&go));
    let answer = move || async move {
        asked_too.notify_one();
        go_too.notified().await;
        "done"
    };
    let (listener, address) = bind().await;
    let (stop, stopped) = oneshot::channel();
    let stopped = async { drop(stopped.await) };
    let served = serve(
        listener,
        Router::new().route("/", get(answer)),
        stopped,
        DRAIN,
    );
    (address, asked, go, stop, tokio::spawn(served))
}

#[tokio::test]
async fn a_request_in_flight_is_answered_at_shutdown_and_new_ones_are_refused() {
    let (address, asked, go, stop, served) = held_server().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    asked.notified().await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    stop.send(()).unwrap();
    let read = idle.read(&mut [0]).await;
    assert!(
        !read.is_ok_and(|bytes| bytes > 0),
        "an idle connection is closed at once"
    );
    assert!(TcpStream::connect(address).await.is_err());
    go.notify_one();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
        "{answer}"
    );
    served.await.unwrap();
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_at_the_end_of_the_drain() {
    let (address, asked, _go, stop, served) = held_server().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    asked.notified().await;
    tokio::time::pause();
    stop.send(()).unwrap();
    served.await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_is_hung_up_on() {
    let (listener, address) = bind().await;
    tokio::spawn(serve(listener, Router::new(), pending(), DRAIN));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    // The server must have begun to read before its clock is moved.
    let mut probe = TcpStream::connect(address).await.unwrap();
    probe
        .write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    probe.read_to_end(&mut Vec::new()).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(HEAD_TIMEOUT).await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

const LIMITS: Limits = Limits {
    all: 4,
    per_address: 2,
};
/// Far beyond every limit, so that a test that would wait for ever fails.
const EVER: Duration = Duration::from_secs(3600);

/// A connection from `127.0.0.<last>`, whose receive buffer is small.
async fn connect(address: SocketAddr, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

/// A server of a document about as large as a key set, within [`LIMITS`].
async fn small_server() -> SocketAddr {
    let (listener, address) = bind().await;
    let routes = Router::new().route("/", get(|| async { "x".repeat(2000) }));
    tokio::spawn(serve_within(LIMITS, listener, routes, pending(), DRAIN));
    address
}

/// Asks again and again and reads nothing, until the server takes no more.
///
/// The clock of the test is paused: it moves only when nobody can do anything.
async fn stall(stream: &mut TcpStream) {
    let many = REQUEST.repeat(1000);
    let mut rounds = 0;
    while timeout(Duration::from_millis(1), stream.write_all(&many))
        .await
        .is_ok()
    {
        rounds += 1;
        assert!(rounds < 10_000, "the server takes whatever comes");
    }
}

/// Asks from another address for a document; how long it took to come.
async fn wait_for_document(address: SocketAddr, last: u8) -> Duration {
    let began = Instant::now();
    let asking = async {
        let mut stream = connect(address, last).await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    timeout(EVER, asking).await.expect("the document is dead");
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn clients_that_never_read_lose_their_places() {
    let address = small_server().await;
    let mut held = Vec::new();
    for last in [2, 2, 3, 3] {
        let mut stream = connect(address, last).await;
        stall(&mut stream).await;
        held.push(stream);
    }
    let waited = wait_for_document(address, 4).await;
    assert!(waited <= WRITE_TIMEOUT, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn clients_that_read_as_slowly_as_they_can_lose_their_places_too() {
    let address = small_server().await;
    for last in [2, 2, 3, 3] {
        let mut stream = connect(address, last).await;
        stall(&mut stream).await;
        tokio::spawn(async move {
            // Enough that the system lets the server write again, and often enough.
            let mut some = vec![0; 2 << 20];
            while stream.read_exact(&mut some).await.is_ok() {
                sleep(WRITE_TIMEOUT / 2).await;
            }
        });
    }
    let waited = wait_for_document(address, 4).await;
    assert!(
        waited > WRITE_TIMEOUT && waited <= MAX_AGE + LAST_ANSWER,
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_also_after_it_was_used() {
    let address = small_server().await;
    let mut used = connect(address, 2).await;
    used.write_all(REQUEST).await.unwrap();
    let began = Instant::now();
    let mut answer = Vec::new();
    let read = used.read_to_end(&mut answer);
    timeout(EVER, read).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(began.elapsed() <= HEAD_TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_full_age_ends_between_two_requests() {
    let address = small_server().await;
    let mut stream = connect(address, 2).await;
    let (began, mut answers) = (Instant::now(), 0);
    while began.elapsed() < EVER {
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        // The head, and 2000 times `x`.
        while !answer.ends_with(&[b'x'; 2000]) {
            let bytes = stream.read_buf(&mut answer).await.unwrap();
            assert!(bytes > 0, "an answer was cut off");
        }
        answers += 1;
        // The server has hung up, or has nothing to say until it is asked again.
        let next = timeout(Duration::from_secs(7), stream.read(&mut [0])).await;
        if next.is_ok_and(|read| read.is_ok_and(|bytes| bytes == 0)) {
            break;
        }
    }
    assert!(answers > 5, "{answers}");
    let age = began.elapsed();
    assert!((MAX_AGE..MAX_AGE + LAST_ANSWER).contains(&age), "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn one_address_cannot_take_every_place() {
    let address = small_server().await;
    let held = [connect(address, 2).await, connect(address, 2).await];
    let mut third = connect(address, 2).await;
    let refused = timeout(EVER, third.read(&mut [0])).await.unwrap();
    assert!(!refused.is_ok_and(|bytes| bytes > 0));
    assert_eq!(wait_for_document(address, 3).await, Duration::ZERO);
    // A place that was left is free for the same address.
    drop(held);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(wait_for_document(address, 2).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn connections_stay_far_below_the_descriptors_of_a_process() {
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let answer = move || async move {
        counted.fetch_add(1, SeqCst);
        pending::<()>().await;
    };
    let (listener, address) = bind().await;
    let routes = Router::new().route("/", get(answer));
    tokio::spawn(serve(listener, routes, pending(), DRAIN));
    let mut held = Vec::new();
    for number in 0..300_u16 {
        let mut stream = connect(address, u8::try_from(2 + number % 6).unwrap()).await;
        stream.write_all(REQUEST).await.unwrap();
        held.push(stream);
    }
    // The clock moves only when everything that can be served is.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(served.load(SeqCst), 256);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let mut stream = connect(small_server().await, 2).await;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(MAX_BUFFER));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 431");
}

#[test]
fn an_ipv6_network_and_both_spellings_of_an_ipv4_address_are_one_address() {
    let near = |text: &str| neighbourhood(text.parse().unwrap());
    assert_eq!(near("2001:db8:1:2::1"), near("2001:db8:1:2:ffff::9"));
    assert_ne!(near("2001:db8:1:2::1"), near("2001:db8:1:3::1"));
    assert_eq!(near("::ffff:10.0.0.1"), near("10.0.0.1"));
    assert_ne!(near("10.0.0.2"), near("10.0.0.1"));
}
