//! What bounds an edge: calls in flight, open files, disks and networks that do not answer.

use std::{fs, net::TcpListener, path::Path, process::Command, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use attache_proto::access::v1::{
    Call, CheckRequest, Decision, Evidence, access_client::AccessClient, evidence::Kind,
};
use attache_tests::{
    admin,
    attache::{EdgePlan, Installation, Port},
    authorize,
    port::Reserved,
    quickstart::STRIPE,
    stage::{CHARGES, Script, Stage},
    wait::until,
};
use envoy_types::ext_authz::v3::pb::{CheckResponse, DeniedHttpResponse, HttpResponse};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tonic::transport::Channel;

/// An issuer that takes connections and never answers, so that calls wait for its keys.
struct SilentIssuer(TcpListener);

impl SilentIssuer {
    fn new(policies: &Path) -> Result<Self> {
        let issuer = Self(TcpListener::bind("127.0.0.1:0")?);
        let document = format!(
            "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {{ name: silent }}\nspec: {{ type: oidc, issuer: \"{}\" }}\n",
            issuer.url()?
        );
        fs::write(policies.join("silent.yaml"), document)?;
        Ok(issuer)
    }

    fn url(&self) -> Result<String> {
        Ok(format!("http://{}", self.0.local_addr()?))
    }

    /// A token that is well-formed; the issuer's keys would have to tell whether it is good.
    fn token(&self) -> Result<String> {
        use base64ct::{Base64UrlUnpadded, Encoding as _};
        let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let header = part(r#"{"alg":"RS256","kid":"1"}"#);
        let claims = part(&format!(
            r#"{{"iss":"{}","sub":"a","aud":"attache","exp":4102444800}}"#,
            self.url()?
        ));
        Ok(format!("{header}.{claims}.{}", part("signature")))
    }
}

fn denied(answer: &CheckResponse) -> Result<&DeniedHttpResponse> {
    match &answer.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => Ok(denied),
        _ => anyhow::bail!("{answer:?}"),
    }
}

fn header<'a>(denied: &'a DeniedHttpResponse, name: &str) -> Option<&'a str> {
    let mut headers = denied
        .headers
        .iter()
        .filter_map(|option| option.header.as_ref());
    let header = headers.find(|header| header.key == name)?;
    Some(header.value.as_str())
}

async fn judged(channel: Channel, token: &str) -> Result<(Decision, String)> {
    let asked = CheckRequest {
        evidence: Some(Evidence {
            kind: Some(Kind::Token(token.to_owned())),
        }),
        call: Some(Call {
            host: STRIPE.to_owned(),
            method: "GET".to_owned(),
            path: CHARGES.to_owned(),
            ..Call::default()
        }),
    };
    let answer = AccessClient::new(channel).check(asked).await?.into_inner();
    Ok((answer.decision(), answer.code))
}

/// Waits until that many calls are in flight.
async fn in_flight(installation: &Installation, calls: u32) -> Result<()> {
    let socket = installation.admin();
    let line = format!("attache_calls_in_flight {calls}");
    until(&line, async || {
        let (_, text) = admin::text(&socket, "/metrics").await.ok()?;
        text.lines().any(|found| found == line).then_some(())
    })
    .await
}

#[tokio::test]
async fn calls_beyond_the_most_are_turned_away_at_once_and_recorded_and_later_ones_are_not()
-> Result<()> {
    let installation = Installation::new(&EdgePlan::default()).await?;
    let issuer = SilentIssuer::new(&installation.policies())?;
    let mut environment = Command::new("env");
    environment.args([
        "ATTACHE_EDGE_MAX_CALLS_IN_FLIGHT=2",
        "ATTACHE_EDGE_ANSWER_WITHIN=20s",
    ]);
    let attache = installation.launch_under(environment)?;
    let socket = installation.socket();
    let connect = async || authorize::over_unix(&socket).await.ok();
    let channel = until("the socket", connect).await?;
    let token = issuer.token()?;
    let ask = |channel: &Channel| authorize::check(channel.clone(), authorize::charges(&token));

    let waiting = [ask(&channel), ask(&channel)].map(tokio::spawn);
    in_flight(&installation, 2).await?;
    let answer = ask(&channel).await?;
    let turned_away = denied(&answer)?;
    assert_eq!(
        turned_away.status.as_ref().map(|status| status.code),
        Some(503)
    );
    assert_eq!(header(turned_away, "x-attache-code"), Some("overloaded"));
    assert_eq!(header(turned_away, "retry-after"), Some("1"));
    let id = header(turned_away, "x-attache-decision").context("no decision")?;
    assert_eq!(installation.event(id).await?["code"], "overloaded");
    let (decision, code) = judged(channel.clone(), &token).await?;
    assert_eq!(
        (decision, code.as_str()),
        (Decision::Unavailable, "overloaded")
    );

    for call in waiting {
        let answer = call.await??;
        assert_eq!(
            header(denied(&answer)?, "x-attache-code"),
            Some("keys-unavailable")
        );
    }
    let answer = ask(&channel).await?;
    assert_eq!(
        header(denied(&answer)?, "x-attache-code"),
        Some("keys-unavailable")
    );
    let (_, metrics) = admin::text(&installation.admin(), "/metrics").await?;
    ensure!(
        metrics.contains("\nattache_calls_turned_away_total 2\n"),
        "{metrics}"
    );
    drop(attache);
    Ok(())
}

/// A program that runs the next one with a limit of open files.
fn with_open_files(limits: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits} && exec \"$@\""), "sh"]);
    command
}

async fn prepared() -> Result<Arc<Installation>> {
    let installation = Installation::new(&EdgePlan::default()).await?;
    installation.policy(
        "a.yaml",
        "apiVersion: attache.dev/v1\nkind: ServerWorkload\nmetadata: { name: a }\nspec: { host: a.test }\n",
    )?;
    Ok(installation)
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_and_one_that_is_too_low_is_told() -> Result<()> {
    let installation = prepared().await?;
    let mut attache =
        installation.launch_under(with_open_files("ulimit -Sn 256 && ulimit -Hn 5000"))?;
    attache.ready().await?;
    let limits = fs::read_to_string(format!("/proc/{}/limits", attache.process.id()))?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<_> = line
        .context("no limit")?
        .split_whitespace()
        .skip(3)
        .take(2)
        .collect();
    assert_eq!(numbers, ["5000", "5000"]);
    let log = attache.process.errors();
    ensure!(
        log.contains("soft=\"5000\"") && log.contains("was=\"256\""),
        "{log}"
    );
    ensure!(!log.contains("fewer files may be open"), "{log}");
    assert!(attache.process.stop().await?.success());

    let mut attache =
        installation.launch_under(with_open_files("ulimit -Sn 512 && ulimit -Hn 512"))?;
    attache.ready().await?;
    let log = attache.process.errors();
    ensure!(
        log.contains("fewer files may be open") && log.contains("needed=4864"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn a_start_that_waits_for_a_disk_can_be_stopped() -> Result<()> {
    let installation = prepared().await?;
    let key = installation.directory().join("sealing.key");
    // Opening it waits for a writer, as a network mount that is gone waits for its server.
    mknodat(CWD, &key, FileType::Fifo, Mode::from(0o600), 0)?;
    let mut environment = Command::new("env");
    environment.arg(format!("ATTACHE_ISSUER_SEALING_KEY_FILE={}", key.display()));
    let mut attache = installation.launch_under(environment)?;
    until("the policies", async || {
        attache
            .process
            .errors()
            .contains("policies in force")
            .then_some(())
    })
    .await?;
    assert!(
        attache.process.stop().await?.success(),
        "{}",
        attache.process.errors()
    );
    Ok(())
}

#[tokio::test]
async fn a_pipe_among_the_policies_is_refused_by_name_and_calls_go_on() -> Result<()> {
    let stage = Stage::play(Script::default()).await?;
    let installation = &stage.set.installation;
    let pipe = installation.policies().join("pipe.yaml");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0)?;
    let refused = installation.run(&["reload"])?;
    let told = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        told.contains("pipe.yaml") && told.contains("a named pipe"),
        "{told}"
    );
    assert_eq!(stage.charges(&stage.payment_token()?).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_plaintext_listener_is_named_by_log_status_and_readiness() -> Result<()> {
    let port = Reserved::next()?;
    let plan = EdgePlan {
        port: Port::Plaintext(port.address()),
        ..EdgePlan::default()
    };
    let installation = Installation::new(&plan).await?;
    installation.policy(
        "a.yaml",
        "apiVersion: attache.dev/v1\nkind: ServerWorkload\nmetadata: { name: a }\nspec: { host: a.test }\n",
    )?;
    let attache = installation.start().await?;
    let address = port.address().to_string();
    let status = String::from_utf8(installation.run(&["status"])?.stdout)?;
    let (code, ready) = admin::text(&installation.admin(), "/readyz").await?;
    assert_eq!(code, 200);
    for told in [attache.process.errors(), status, ready] {
        let line = told
            .lines()
            .find(|line| line.to_lowercase().contains("plaintext"));
        let line = line.with_context(|| told.clone())?;
        ensure!(line.contains("egress") && line.contains(&address), "{line}");
    }
    let (code, alive) = admin::text(&installation.admin(), "/livez").await?;
    assert_eq!((code, alive.as_str()), (200, "alive\n"));
    Ok(())
}
