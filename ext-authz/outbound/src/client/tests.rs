//! Against real servers on loopback that do what servers should not.

use std::{net::SocketAddr, time::Duration};

use attache_core::secret::Secret;
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{SemaphorePermit, mpsc},
    task::JoinSet,
    time::sleep,
};

use super::*;

/// Planted wherever a secret may stand; must be nowhere in an error.
const CANARY: &str = "canary-7f3a";

/// A server that hands each connection to `answer`; its address, and what it was sent.
async fn server<F>(
    answer: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, mpsc::UnboundedReceiver<()>, JoinSet<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (connected, connections) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut each = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = connected.send(());
            each.spawn(answer(stream));
        }
    });
    (address, connections, tasks)
}

/// Answers every request of every connection with `text`.
async fn saying(text: String) -> (SocketAddr, mpsc::UnboundedReceiver<()>, JoinSet<()>) {
    server(move |mut stream| {
        let text = text.clone();
        async move {
            while request(&mut stream).await.is_some() {
                let _ = stream.write_all(text.as_bytes()).await;
            }
        }
    })
    .await
}

/// One request without a body.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(read).ok()
}

fn client(limits: Limits) -> Client {
    let settings = Settings {
        reach: Reach::default().and_loopback(),
        proxy: Proxy::None,
        limits,
        ..Settings::default()
    };
    Client::new(settings).expect("a client")
}

fn url(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}/token?key={CANARY}")).expect("a URL")
}

async fn failure(client: &Client, call: Call) -> CallFailed {
    let failed = client.send(call).await.err().expect("no answer");
    let shown = format!("{failed} {failed:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    failed
}

fn quick() -> Limits {
    Limits {
        total: Duration::from_millis(300),
        body_bytes: 1000,
        ..Limits::default()
    }
}

#[tokio::test]
async fn an_answer_is_read_whole_whatever_its_status() {
    let text = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json; charset=utf-8\r\n\
                retry-after: 7\r\ncontent-length: 22\r\n\r\n{\"error\":\"no\",\"n\": 12}";
    let (address, _connections, _server) = saying(text.to_owned()).await;
    let answer = client(quick()).send(Call::get(url(address))).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(answer.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(answer.json().expect("JSON")["error"], "no");
}

#[tokio::test]
async fn a_moment_to_ask_again_counts_from_the_answers_own_date() {
    let date = "date: Sun, 29 Nov 2026 12:00:00 GMT\r\n";
    for (headers, expected) in [
        (
            format!("{date}retry-after: Sun, 29 Nov 2026 12:00:30 GMT\r\n"),
            Some(30),
        ),
        // The two old forms.
        (
            format!("{date}retry-after: Sunday, 29-Nov-26 12:00:31 GMT\r\n"),
            Some(31),
        ),
        (
            format!("{date}retry-after: Sun Nov 29 12:00:32 2026\r\n"),
            Some(32),
        ),
        (
            format!("{date}retry-after: Sun, 29 Nov 2026 11:00:00 GMT\r\n"),
            Some(0),
        ),
        (format!("{date}retry-after: soon\r\n"), None),
        (format!("{date}retry-after: -7\r\n"), None),
        (
            "retry-after: Sun, 29 Nov 2026 12:00:30 GMT\r\n".to_owned(),
            None,
        ),
        (String::new(), None),
    ] {
        let text =
            format!("HTTP/1.1 503 Service Unavailable\r\n{headers}content-length: 0\r\n\r\n");
        let (address, _connections, _server) = saying(text).await;
        let answer = client(quick()).send(Call::get(url(address))).await;
        let asked = answer.expect("an answer").retry_after();
        assert_eq!(asked, expected.map(Duration::from_secs), "{headers:?}");
    }
}

#[tokio::test]
async fn an_error_page_is_no_json_whatever_its_status() {
    for head in ["content-type: text/html\r\n", ""] {
        let text = format!("HTTP/1.1 200 OK\r\n{head}content-length: 2\r\n\r\n{{}}");
        let (address, _connections, _server) = saying(text).await;
        let answer = client(quick()).send(Call::get(url(address))).await;
        assert!(answer.expect("an answer").json().is_err(), "{head:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_stuck_or_drips_is_given_up_in_time() {
    let silent = server(|stream| async move {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let dripping = server(|mut stream| async move {
        let _ = request(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        loop {
            sleep(Duration::from_millis(20)).await;
            if stream.write_all(b"x").await.is_err() {
                return;
            }
        }
    })
    .await;
    for (address, _connections, _server) in [silent, dripping] {
        let failed = failure(&client(quick()), Call::get(url(address))).await;
        assert!(matches!(failed, CallFailed::TimedOut { .. }), "{failed}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_not_read_announced_or_not() {
    let announced = format!("content-length: 1001\r\n\r\n{}", "x".repeat(1001));
    let chunks = "transfer-encoding: chunked\r\n\r\n".to_owned() + &"5\r\nabcde\r\n".repeat(300);
    let lied = "content-length: 9000000000000000000\r\n\r\n".to_owned() + &"x".repeat(4000);
    for text in [announced, chunks, lied] {
        let text = format!("HTTP/1.1 200 OK\r\n{text}");
        let (address, _connections, _server) = saying(text.clone()).await;
        let failed = failure(&client(quick()), Call::get(url(address))).await;
        assert!(
            matches!(failed, CallFailed::TooLarge { most: 1000, .. }),
            "{failed}: {text:.60}"
        );
    }
}

#[tokio::test]
async fn a_head_without_end_is_not_read() {
    let (address, _connections, _server) = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream
            .write_all(b"x-more: aaaaaaaaaaaaaaaa\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let patient = Limits {
        total: Duration::from_secs(30),
        ..quick()
    };
    let failed = failure(&client(patient), Call::get(url(address))).await;
    assert!(matches!(failed, CallFailed::NoAnswer { .. }), "{failed}");
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let (good, mut reached, _good) =
        saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into()).await;
    for status in [301, 302, 303, 307, 308] {
        let text = format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: http://{good}/\r\ncontent-length: 0\r\n\r\n"
        );
        let (address, _connections, _server) = saying(text).await;
        let failed = failure(&client(quick()), Call::get(url(address))).await;
        assert!(matches!(failed, CallFailed::Redirected { status: found, .. } if found == status));
    }
    assert!(reached.try_recv().is_err());
}

#[tokio::test]
async fn this_machine_is_not_called_by_number_or_by_name_unless_it_is_allowed() {
    let (address, mut reached, _server) =
        saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into()).await;
    let settings = Settings {
        proxy: Proxy::None,
        ..Settings::default()
    };
    let strict = Client::new(settings).expect("a client");
    let port = address.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"] {
        let url = Url::parse(&format!("http://{host}:{port}/?key={CANARY}")).expect("a URL");
        let failed = failure(&strict, Call::get(url)).await;
        assert!(matches!(failed, CallFailed::Address(_)), "{host}: {failed}");
    }
    assert!(reached.try_recv().is_err());
    let named = Url::parse(&format!("http://localhost:{port}/")).expect("a URL");
    let answer = client(quick()).send(Call::get(named)).await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told() {
    let url = Url::parse("http://nowhere.invalid/").expect("a URL");
    let patient = Limits {
        total: Duration::from_secs(30),
        ..Limits::default()
    };
    let failed = failure(&client(patient), Call::get(url)).await;
    let text = failed.to_string();
    assert!(text.contains("nowhere.invalid"), "{text}");
    assert!(matches!(failed, CallFailed::NoAnswer { .. }), "{text}");
}

#[tokio::test]
async fn connections_are_kept_and_shared() {
    let (address, mut connections, _server) =
        saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into()).await;
    let client = client(quick());
    for _ in 0..20 {
        let answer = client.clone().send(Call::get(url(address))).await;
        assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
    }
    assert!(connections.try_recv().is_ok());
    assert!(connections.try_recv().is_err(), "a second connection");
}

#[tokio::test]
async fn more_calls_than_allowed_wait_for_one_to_end() {
    let end = Arc::new(Semaphore::new(0));
    let ended = Arc::clone(&end);
    let (address, mut connections, _server) = server(move |mut stream| {
        let ended = Arc::clone(&ended);
        async move {
            let _ = request(&mut stream).await;
            let _ = ended.acquire().await.map(SemaphorePermit::forget);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        }
    })
    .await;
    let client = client(Limits {
        calls: 2,
        total: Duration::from_secs(60),
        ..quick()
    });
    let mut calls = JoinSet::new();
    for _ in 0..5 {
        let client = client.clone();
        calls.spawn(async move { client.send(Call::get(url(address))).await.is_ok() });
    }
    for _ in 0..2 {
        connections.recv().await.expect("a call");
    }
    // Nobody has a leave to give back yet.
    sleep(Duration::from_millis(50)).await;
    assert!(connections.try_recv().is_err(), "a third call");
    end.add_permits(5);
    while let Some(answered) = calls.join_next().await {
        assert!(answered.expect("it ended"));
    }
}

#[tokio::test]
async fn who_waits_for_others_is_given_up_in_time_too() {
    let (address, _connections, _server) = server(|stream| async move {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let client = client(Limits {
        calls: 1,
        ..quick()
    });
    let (first, second) = tokio::join!(
        failure(&client, Call::get(url(address))),
        failure(&client, Call::get(url(address)))
    );
    for failed in [first, second] {
        assert!(matches!(failed, CallFailed::TimedOut { .. }), "{failed}");
    }
}

#[tokio::test]
async fn what_is_sent_is_what_was_meant_and_is_not_printed() {
    const FORM: &str = "grant_type=client_credentials&a%26b=1+%3D";
    let (sent, mut received) = mpsc::unbounded_channel();
    let (address, _connections, _server) = server(move |mut stream| {
        let sent = sent.clone();
        async move {
            let head = request(&mut stream).await.unwrap_or_default();
            let mut body = vec![0; FORM.len()];
            let _ = stream.read_exact(&mut body).await;
            let body = String::from_utf8_lossy(&body).into_owned();
            let _ = sent.send((head, body));
        }
    })
    .await;
    let secret = Secret::new(CANARY.to_owned());
    let call = Call::post(url(address))
        .bearer(secret.expose())
        .expect("a header")
        .form([("grant_type", "client_credentials"), ("a&b", "1 =")]);
    // The server hangs up without an answer: the error names neither.
    failure(&client(quick()), call).await;
    let (head, body) = received.recv().await.expect("a request");
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains(&format!("authorization: bearer {CANARY}\r\n")),
        "{head}"
    );
    assert!(
        head.contains("content-type: application/x-www-form-urlencoded\r\n"),
        "{head}"
    );
    assert_eq!(body, FORM);
}

#[tokio::test]
async fn what_a_server_sends_back_of_our_secrets_is_not_repeated() {
    for broken in [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 2x0 \r\n",
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n",
    ] {
        let (address, _connections, _server) = server(move |mut stream| async move {
            let sent = request(&mut stream).await.unwrap_or_default();
            let sent = sent.trim_end().replace("\r\n", " ");
            let echoed = format!("{broken}x: {sent}\r\nx\0: {sent}\r\n\r\n");
            let _ = stream.write_all(echoed.as_bytes()).await;
        })
        .await;
        let call = Call::get(url(address)).bearer(CANARY).expect("a header");
        let failed = failure(&client(quick()), call).await;
        assert!(matches!(failed, CallFailed::NoAnswer { .. }), "{failed}");
    }
}

#[test]
fn a_secret_with_a_line_break_stands_in_no_header_and_is_not_repeated() {
    let url = Url::parse("https://a.example/").expect("a URL");
    let refused = Call::get(url).bearer("canary\r\nx-evil: 1").err();
    let refused = refused.expect("refused").to_string();
    assert!(!refused.contains("canary"), "{refused}");
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_vouches_for_is_not_asked() {
    let (address, _connections, _server) = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let url = Url::parse(&format!("https://{address}/?key={CANARY}")).expect("a URL");
    let failed = failure(&client(quick()), Call::get(url)).await;
    assert!(matches!(failed, CallFailed::NoAnswer { .. }), "{failed}");
    let empty = Settings {
        roots: Roots::Pem(b"no certificate".to_vec()),
        ..Settings::default()
    };
    assert!(matches!(
        Client::new(empty),
        Err(InvalidClient::Certificates)
    ));
}
