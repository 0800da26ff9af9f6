//! An answer to `Check` holds a token: whoever is not the listener's Envoy gets none.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use anyhow::{Result, ensure};
use attache_tests::{
    attache::{EdgePlan, Port},
    authority::{Authority, Identity},
    authorize::{charges, check, holds_a_token, over_unix},
    port::Reserved,
    stage::{ENVOY, Script, Set},
};
use envoy_types::{
    ext_authz::v3::pb::CheckRequest,
    pb::envoy::service::auth::v3::authorization_client::AuthorizationClient,
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

/// The names of Attaché that the bootstrap asks for.
const EDGE: &str = "spiffe://cluster.local/attache/edge";

async fn over_tls(
    address: SocketAddr,
    authority: &Authority,
    identity: Option<&Identity>,
) -> Result<Channel> {
    let connector = TlsConnector::from(Arc::new(authority.client(identity, &["h2"])?));
    let connect = service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::from(address.ip());
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    Ok(Endpoint::from_static("http://attache")
        .connect_with_connector(connect)
        .await?)
}

#[tokio::test]
async fn the_unix_socket_is_for_the_users_that_are_listed() -> Result<()> {
    let set = Set::build(Script::default()).await?;
    let attache = set.installation.start().await?;
    let socket = set.installation.socket();
    assert_eq!(fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600);
    let token = set.cluster.token("production", "payment-svc")?;
    let answer = check(over_unix(&socket).await?, charges(&token)).await?;
    assert!(holds_a_token(&answer), "{answer:?}");
    drop(attache);
    // The same socket, for another user than the one that asks.
    let config = fs::read_to_string(set.installation.config())?;
    let own = rustix::process::getuid().as_raw();
    let line = format!("unix: {}", socket.display());
    ensure!(config.contains(&line), "no {line} in {config}");
    let others = format!("{line}\n        allowed_uids: [{}]", own + 1);
    fs::write(set.installation.config(), config.replace(&line, &others))?;
    let _attache = set.installation.start().await?;
    let answered = match over_unix(&socket).await {
        Ok(channel) => check(channel, charges(&token)).await.is_ok(),
        Err(_refused) => false,
    };
    assert!(!answered, "a stranger was answered");
    Ok(())
}

/// What is answered at once may be answered before the last frame of its call came.
#[tokio::test]
async fn a_connection_outlives_thousands_of_calls_that_are_refused_at_once() -> Result<()> {
    let set = Set::build(Script::default()).await?;
    let _attache = set.installation.start().await?;
    let channel = over_unix(&set.installation.socket()).await?;
    for number in 0..3000 {
        let refused = AuthorizationClient::new(channel.clone())
            .check(CheckRequest::default())
            .await;
        let code = refused.map_err(|status| status.code()).err();
        ensure!(code == Some(Code::InvalidArgument), "{number}: {code:?}");
    }
    let token = set.cluster.token("production", "payment-svc")?;
    assert!(holds_a_token(&check(channel, charges(&token)).await?));
    Ok(())
}

/// An edge on TCP with mutual TLS, and the authority of everybody's certificates.
async fn mutual_tls(directory: &tempfile::TempDir) -> Result<(Set, Reserved)> {
    let authority = Authority::new("the tests' own authority")?;
    let reserved = Reserved::next()?;
    let address = reserved.address();
    let client_ca: PathBuf = directory.path().join("client-ca.crt");
    authority.write(&client_ca)?;
    let identity = authority
        .issue(&[EDGE, "127.0.0.1"])?
        .write(directory.path(), "edge")?;
    let port = Port::Tls {
        address,
        identity,
        client_ca,
        allowed: vec![ENVOY.to_owned()],
    };
    let plan = EdgePlan {
        port,
        ..EdgePlan::default()
    };
    let script = Script {
        plan,
        policies: Vec::new(),
        ..Script::default()
    };
    Ok((Set::build_with(script, authority).await?, reserved))
}

#[tokio::test]
async fn envoy_reaches_attache_by_mutual_tls() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (set, _reserved) = mutual_tls(&directory).await?;
    let stage = set.open().await?;
    let reply = stage.charges(&stage.payment_token()?).await?;
    assert_eq!(reply.status, 200, "{reply:?} {}", stage.envoy.messages());
    assert!(stage.set.stripe.last()?.bearer().is_some());
    Ok(())
}

#[tokio::test]
async fn without_a_listed_certificate_there_is_no_answer() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (set, reserved) = mutual_tls(&directory).await?;
    let address = reserved.address();
    let _attache = set.installation.start().await?;
    let token = set.cluster.token("production", "payment-svc")?;
    let ours = &set.authority;
    let listed = ours.issue(&[ENVOY])?;
    assert!(holds_a_token(
        &check(
            over_tls(address, ours, Some(&listed)).await?,
            charges(&token)
        )
        .await?
    ));
    let other_authority = Authority::new("somebody else")?;
    let strangers = [
        ("no certificate", None),
        (
            "a certificate that is not listed",
            Some(ours.issue(&["spiffe://cluster.local/ns/a/sa/b"])?),
        ),
        ("a longer name", Some(ours.issue(&[&format!("{ENVOY}2")])?)),
        (
            "another authority's certificate",
            Some(other_authority.issue(&[ENVOY])?),
        ),
    ];
    for (who, identity) in &strangers {
        let answered = match over_tls(address, ours, identity.as_ref()).await {
            Ok(channel) => check(channel, charges(&token)).await.is_ok(),
            Err(_refused) => false,
        };
        assert!(!answered, "{who} was answered");
    }
    // And whoever does not speak TLS.
    let plain = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    assert!(check(plain, charges(&token)).await.is_err());
    Ok(())
}

#[tokio::test]
async fn plaintext_tcp_must_be_asked_for_and_is_named_in_the_log() -> Result<()> {
    let reserved = Reserved::next()?;
    let address = reserved.address();
    let plan = EdgePlan {
        port: Port::Plaintext(address),
        ..EdgePlan::default()
    };
    let set = Set::build(Script {
        plan,
        ..Script::default()
    })
    .await?;
    let attache = set.installation.start().await?;
    let log = attache.process.errors() + &attache.process.output();
    assert!(log.contains("plaintext"), "{log}");
    drop(attache);
    let config = fs::read_to_string(set.installation.config())?;
    let silent = config.replace("        plaintext: true\n", "");
    ensure!(silent != config, "nothing to remove in {config}");
    fs::write(set.installation.config(), silent)?;
    let mut attache = set.installation.launch()?;
    let status = attache_tests::wait::until("Attaché to refuse", async || attache.process.ended());
    assert!(!status.await?.success());
    assert!(
        attache.process.errors().contains("plaintext: true"),
        "{}",
        attache.process.errors()
    );
    Ok(())
}

#[tokio::test]
async fn the_admin_socket_is_for_its_own_user_alone() -> Result<()> {
    let set = Set::build(Script::default()).await?;
    let _attache = set.installation.start().await?;
    let admin = set.installation.directory().join("admin.sock");
    assert_eq!(fs::metadata(admin)?.permissions().mode() & 0o777, 0o600);
    Ok(())
}
