mod certificates;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use attache_core::header::HeaderName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::watch,
};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{Listener, ListenerFailed};
use crate::settings::{
    Bind, DestinationRule, EvidenceSource, ListenerSettings, OverrideHeaders, UnixBind,
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
    let mut connections = Box::pin(listener.connections(stop.clone()));
    let mut client = UnixStream::connect(&path).await.unwrap();
    let mut admitted = connections.next().await.unwrap().unwrap();
    admitted.write_all(b"hello").await.unwrap();
    let mut greeting = [0; 5];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello");

    let strangers = folder.path().join("strangers.sock");
    let listener = bind(&settings(&strangers, 0o666, vec![own_uid() + 1]))
        .await
        .unwrap();
    let _connections = listener.connections(stop);
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
    let mut connections = Box::pin(listener.connections(stop.clone()));
    stop.cancel();
    assert!(connections.next().await.is_none());
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
