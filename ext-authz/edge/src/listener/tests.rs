mod certificates;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use attache_core::header::HeaderName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        watch,
    },
};
use tokio_util::sync::CancellationToken;

use super::{Connection, Listener, ListenerFailed};
use crate::{
    settings::{
        Bind, DestinationRule, EvidenceSource, ListenerSettings, OverrideHeaders, UnixBind,
    },
    threads::{Risk, Threads},
};

fn settings(path: &Path, mode: u32, allowed_uids: Vec<u32>) -> ListenerSettings {
    ListenerSettings {
        name: "egress".to_owned(),
        bind: Bind::Unix(UnixBind {
            path: path.to_path_buf(),
            mode,
            group: None,
            allowed_uids,
        }),
        evidence: EvidenceSource::header(HeaderName::parse_evidence("x-attache-evidence").unwrap()),
        destination: DestinationRule::VouchedByRoute,
        trusted_hops: 0,
        override_headers: OverrideHeaders::Deny,
    }
}

async fn bind(settings: &ListenerSettings) -> Result<Listener, ListenerFailed> {
    Listener::bind(settings, &watch::channel(()).1).await
}

/// The connections that `listener` lets in, until `stop`.
fn connections(listener: Listener, stop: &CancellationToken) -> UnboundedReceiver<Connection> {
    let (sender, receiver) = unbounded_channel();
    let stop = stop.clone();
    tokio::spawn(async move {
        let threads = Threads::start(Risk::Avoided).unwrap();
        let serve = move |connection| {
            let sent = sender.send(connection);
            async move { drop(sent) }
        };
        listener.serve(&threads, &stop, serve).await;
    });
    receiver
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

#[tokio::test]
async fn a_known_user_id_is_let_in_and_a_stranger_finds_the_connection_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known.sock");
    let stop = CancellationToken::new();
    let listener = bind(&settings(&path, 0o600, vec![own_uid()]))
        .await
        .unwrap();
    let mut known = connections(listener, &stop);
    let mut client = UnixStream::connect(&path).await.unwrap();
    let mut admitted = known.recv().await.unwrap();
    admitted.write_all(b"hello").await.unwrap();
    let mut greeting = [0; 5];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello");

    let strangers = folder.path().join("strangers.sock");
    let listener = bind(&settings(&strangers, 0o666, vec![own_uid() + 1]))
        .await
        .unwrap();
    let _strangers = connections(listener, &stop);
    let mut stranger = UnixStream::connect(&strangers).await.unwrap();
    assert_eq!(stranger.read(&mut greeting).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn the_socket_has_its_mode_and_is_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let stop = CancellationToken::new();
    let listener = bind(&settings(&path, 0o660, vec![own_uid()]))
        .await
        .unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o660
    );
    let mut known = connections(listener, &stop);
    stop.cancel();
    assert!(known.recv().await.is_none());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_a_killed_process_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    bind(&settings(&path, 0o600, vec![own_uid()]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_socket_in_use_and_a_file_that_is_none_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let used = folder.path().join("used.sock");
    let _owner = std::os::unix::net::UnixListener::bind(&used).unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    for path in [used, file] {
        let failed = bind(&settings(&path, 0o600, vec![own_uid()]))
            .await
            .err()
            .unwrap();
        assert!(matches!(failed, ListenerFailed::Bind { .. }), "{failed}");
        assert!(path.exists());
    }
}

#[tokio::test]
async fn a_socket_is_removed_also_when_nothing_was_accepted_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let listener = bind(&settings(&path, 0o600, vec![own_uid()])).await;
    assert!(path.exists());
    // As when another listener cannot be bound.
    drop(listener.unwrap());
    assert!(!path.exists());
}
