//! Running the server: validation, readiness, reload, health, reflection, and the end by signal.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::{EdgePlan, Installation},
    authorize,
    stage::{Script, Stage},
    wait::until,
};
use envoy_types::ext_authz::v3::pb::HttpResponse;
use rustix::process::Signal;
use tokio_stream::StreamExt as _;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const AUTHORIZATION: &str = "envoy.service.auth.v3.Authorization";

fn text(output: &Output) -> String {
    let (out, errors) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(errors)
    )
}

#[tokio::test]
async fn validate_tells_every_problem_with_file_line_and_path_and_exits_with_1() -> Result<()> {
    let installation = Installation::new(&EdgePlan::default()).await?;
    installation.policy(
        "a.yaml",
        "apiVersion: attache.dev/v1\nkind: ClientWorkloat\nmetadata: { name: a }\n",
    )?;
    installation.policy(
        "b.yaml",
        "apiVersion: attache.dev/v1\nkind: ServerWorkload\nmetadata: { name: b }\nspec:\n  host: a host\n  prot: 1\n",
    )?;
    let policies = installation.policies();
    let output = Command::new(installation.binary())
        .arg("validate")
        .arg(&policies)
        .output()?;
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in [
        "a.yaml:2:",
        "ClientWorkload",
        "b.yaml:5:",
        "spec.host",
        "b.yaml:6:",
        "spec.prot",
    ] {
        ensure!(told.contains(part), "{part} is missing in\n{told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_broken_policy_set_stops_the_start_and_names_its_problems() -> Result<()> {
    let installation = Installation::new(&EdgePlan::default()).await?;
    installation.policy(
        "a.yaml",
        "apiVersion: attache.dev/v1\nkind: Nothing\nmetadata: { name: a }\n",
    )?;
    let mut attache = installation.launch()?;
    let ended = until("the end", async || attache.process.ended()).await?;
    assert_eq!(ended.code(), Some(1));
    let errors = attache.process.errors();
    ensure!(errors.contains("a.yaml:2:"), "{errors}");
    Ok(())
}

#[tokio::test]
async fn reload_puts_a_changed_policy_in_force_and_refuses_a_broken_one() -> Result<()> {
    let stage = Stage::play(Script::default()).await?;
    let token = stage.payment_token()?;
    assert_eq!(stage.charges(&token).await?.status, 200);

    let deny = "\
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: { name: closed }
spec: { effect: deny, client: payment-service, server: stripe, actions: [all] }
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: { name: stripe }
spec: { host: api.stripe.com }
";
    let installation = &stage.set.installation;
    installation.policy("deny.yaml", &deny.replace("effect: deny", "effect: forbid"))?;
    let refused = installation.run(&["reload"])?;
    ensure!(
        !refused.status.success() && text(&refused).contains("deny.yaml:4:"),
        "{}",
        text(&refused)
    );
    assert_eq!(stage.charges(&token).await?.status, 200);
    let status = installation.run(&["status"])?;
    ensure!(
        text(&status).contains("policy refused"),
        "{}",
        text(&status)
    );

    installation.policy("deny.yaml", deny)?;
    let reloaded = installation.run(&["reload"])?;
    ensure!(reloaded.status.success(), "{}", text(&reloaded));
    let reply = stage.charges(&token).await?;
    assert_eq!(
        (reply.status, reply.code()),
        (403, Some("denied-by-policy"))
    );
    let event = stage.event_of(&reply).await?;
    assert_eq!(event["policy_matched"], "deny:payment-service:stripe:all");
    Ok(())
}

#[tokio::test]
async fn health_and_reflection_answer_on_the_listener() -> Result<()> {
    let stage = Stage::play(Script::default()).await?;
    let channel = authorize::over_unix(&stage.set.installation.socket()).await?;
    for service in ["", AUTHORIZATION] {
        let asked = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel.clone())
            .check(asked)
            .await?
            .into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let listed = reflect(channel.clone(), MessageRequest::ListServices(String::new())).await?;
    let MessageResponse::ListServicesResponse(services) = listed else {
        panic!("{listed:?}")
    };
    ensure!(
        services
            .service
            .iter()
            .any(|service| service.name == AUTHORIZATION),
        "{services:?}"
    );
    let symbol = MessageRequest::FileContainingSymbol(AUTHORIZATION.to_owned());
    let described = reflect(channel, symbol).await?;
    ensure!(
        matches!(described, MessageResponse::FileDescriptorResponse(_)),
        "{described:?}"
    );
    Ok(())
}

async fn reflect(
    channel: tonic::transport::Channel,
    asked: MessageRequest,
) -> Result<MessageResponse> {
    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(asked),
    };
    let mut client = ServerReflectionClient::new(channel);
    let answers = client
        .server_reflection_info(tokio_stream::once(asked))
        .await?;
    let answer = answers.into_inner().next().await.context("no answer")??;
    answer.message_response.context("an empty answer")
}

/// An issuer that takes connections and never answers, so that calls wait for its keys.
struct SilentIssuer(TcpListener);

impl SilentIssuer {
    fn new() -> Result<Self> {
        Ok(Self(TcpListener::bind("127.0.0.1:0")?))
    }

    fn url(&self) -> Result<String> {
        Ok(format!("http://{}", self.0.local_addr()?))
    }

    fn policies(&self, folder: &Path) -> Result<()> {
        let document = format!(
            "apiVersion: attache.dev/v1\nkind: TrustProvider\nmetadata: {{ name: silent }}\nspec: {{ type: oidc, issuer: \"{}\" }}\n",
            self.url()?
        );
        Ok(fs::write(folder.join("silent.yaml"), document)?)
    }
}

#[tokio::test]
async fn status_says_what_blocks_readiness() -> Result<()> {
    let issuer = SilentIssuer::new()?;
    let installation = Installation::new(&EdgePlan::default()).await?;
    issuer.policies(&installation.policies())?;
    let mut attache = installation.launch()?;
    let told = until("a status", async || {
        let status = installation.run(&["status"]).ok()?;
        Some(text(&status)).filter(|told| told.contains("not ready"))
    })
    .await?;
    ensure!(told.contains("trust-provider-keys"), "{told}");
    assert_eq!(installation.run(&["status"])?.status.code(), Some(1));
    assert!(attache.process.stop().await?.success());
    Ok(())
}

#[tokio::test]
async fn a_call_in_flight_is_answered_after_sigterm_and_nothing_is_left_behind() -> Result<()> {
    let issuer = SilentIssuer::new()?;
    let installation = Installation::new(&EdgePlan::default()).await?;
    issuer.policies(&installation.policies())?;
    let mut attache = installation.launch()?;
    let socket = installation.socket();
    let channel = until("the socket", async || {
        authorize::over_unix(&socket).await.ok()
    })
    .await?;

    let token = unsigned(&issuer.url()?);
    let call = tokio::spawn(authorize::check(
        channel.clone(),
        authorize::charges(&token),
    ));
    // One connection keeps the order: once health answers, the server has read the call.
    until("the call to be read", async || {
        let asked = HealthCheckRequest::default();
        HealthClient::new(channel.clone()).check(asked).await.ok()
    })
    .await?;
    attache.process.signal(Signal::TERM)?;
    let answer = call.await??;
    let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else {
        panic!("{answer:?}");
    };
    ensure!(denied.body.contains("keys-unavailable"), "{}", denied.body);
    let ended = until("the end", async || attache.process.ended()).await?;
    ensure!(ended.success(), "{ended}");
    assert_eq!(installation.last_event()?["code"], "keys-unavailable");
    for left in [socket, installation.directory().join("admin.sock")] {
        ensure!(!left.exists(), "{} is left", left.display());
    }
    Ok(())
}

/// A token that is well-formed; its issuer's keys would have to tell whether it is good.
fn unsigned(issuer: &str) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    let part = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    let header = part(r#"{"alg":"RS256","kid":"1"}"#);
    let claims = part(&format!(
        r#"{{"iss":"{issuer}","sub":"a","aud":"attache","exp":4102444800}}"#
    ));
    format!("{header}.{claims}.{}", part("signature"))
}

#[tokio::test]
async fn a_second_server_on_the_same_state_is_refused_and_the_first_goes_on() -> Result<()> {
    let stage = Stage::play(Script::default()).await?;
    let mut second = stage.set.installation.launch()?;
    let ended = until("the end of the second", async || second.process.ended()).await?;
    assert_eq!(ended.code(), Some(1), "{}", second.process.errors());
    let token = stage.payment_token()?;
    assert_eq!(stage.charges(&token).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn sighup_looks_at_the_policies_and_ends_nothing() -> Result<()> {
    let stage = Stage::play(Script::default()).await?;
    let process = &stage.attache.process;
    let told = || process.output() + &process.errors();
    process.signal(Signal::HUP)?;
    until("a look", async || {
        let told = told();
        let (_, after) = told.split_once("SIGHUP")?;
        after.contains("policies in force").then_some(())
    })
    .await?;
    let installation = &stage.set.installation;
    installation.policy("broken.yaml", "kind: Nothing\n")?;
    process.signal(Signal::HUP)?;
    until("the refusal", async || {
        let told = told();
        let (_, after) = told.rsplit_once("SIGHUP")?;
        after.contains("policies refused").then_some(())
    })
    .await?;
    let token = stage.payment_token()?;
    assert_eq!(stage.charges(&token).await?.status, 200);
    Ok(())
}
