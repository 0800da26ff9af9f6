use std::{future::pending, net::SocketAddr};

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, oneshot},
    task::JoinHandle,
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
