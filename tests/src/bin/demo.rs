//! `make demo`: the quick start on one machine, told step by step. Every step is checked; the demo fails
//! where the story would not be true. On a terminal it stays up until Ctrl-C.
#![expect(
    clippy::indexing_slicing,
    reason = "JSON of our own events, where what is missing reads as null and fails a check"
)]

use std::{
    fmt::Write as _,
    fs,
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::{Attache, EdgePlan, Installation},
    authority::Authority,
    bootstrap::Bootstrap,
    client::{self, Reply, with_evidence},
    cluster::Cluster,
    envoy::Envoy,
    peers::VerifyingTarget,
    quickstart::{self, STRIPE},
    stage::CHARGES,
    wait::until,
};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

const AUDIENCE: &str = "https://api.stripe.com";
const WORKLOAD: &str = "spiffe://cluster.local/ns/production/sa/payment-svc";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody to tell if this fails.
            let _ = writeln!(io::stderr(), "\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The story, or as much of it as there is time for: whatever ends it, everybody who takes part is stopped.
async fn run() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        told = story() => told?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    say("\nEverything is stopped.")
}

async fn story() -> Result<()> {
    heading("Attaché: the quick start, on this machine")?;
    let cast = Cast::assemble().await?;
    cast.introduce()?;
    permitted(&cast).await?;
    refused(&cast).await?;
    if io::stdout().is_terminal() {
        stay(&cast).await?;
    }
    Ok(())
}

/// Everyone who takes part. Dropped, they all end.
struct Cast {
    cluster: Cluster,
    installation: Arc<Installation>,
    attache: Attache,
    target: VerifyingTarget,
    _envoy: Envoy,
    envoy_address: SocketAddr,
    tokens: PathBuf,
}

impl Cast {
    async fn assemble() -> Result<Self> {
        let authority = Authority::new("the demo's own authority")?;
        let cluster = Cluster::start(&authority).await?;
        let installation = Installation::new(&EdgePlan::default()).await?;
        let directory = installation.directory();
        let roots = directory.join("ca.crt");
        authority.write(&roots)?;
        quickstart::write(&installation.policies(), &cluster, &roots)?;
        let attache = installation.start().await?;
        let identity = authority.issue(&[STRIPE])?.write(directory, "stripe")?;
        let issuer = installation.issuer();
        let target = VerifyingTarget::start(&identity, &issuer, AUDIENCE, directory).await?;
        // The second target of the bootstrap has no part in this story.
        let nobody = target.address();
        let bootstrap =
            Bootstrap::egress_gateway(&installation.socket(), &roots, target.address(), nobody)?;
        let envoy = Envoy::start(bootstrap).await?;
        let envoy_address = envoy.address("egress").await?;
        let tokens = directory.join("tokens");
        fs::create_dir(&tokens)?;
        Ok(Self {
            cluster,
            installation,
            attache,
            target,
            _envoy: envoy,
            envoy_address,
            tokens,
        })
    }

    fn introduce(&self) -> Result<()> {
        step("The cast")?;
        say(&format!(
            "  cluster   {}: vouches for its pods with ServiceAccount tokens
  attache   its issuer's keys: {}/.well-known/openid-configuration
  envoy     http://{}, started from envoy/egress-gateway.yaml
  target    https://{}, answers as api.stripe.com. It verifies what it is shown
            with joserfc, a library that is not ours, and knows only the issuer's URL

  The policies are the quick start's two documents, as published, and one TrustProvider:",
            self.cluster.issuer(),
            self.installation.issuer(),
            self.envoy_address,
            self.target.address(),
        ))?;
        for name in quickstart::DOCUMENTS
            .into_iter()
            .chain([quickstart::TRUST_PROVIDER])
        {
            say("")?;
            quote(&fs::read_to_string(
                self.installation.policies().join(name),
            )?)?;
        }
        Ok(())
    }

    /// Asks for the charges as `payment-svc` of `namespace`.
    async fn ask(&self, namespace: &str) -> Result<Reply> {
        let token = self.cluster.token(namespace, "payment-svc")?;
        let request = with_evidence(client::get(STRIPE, CHARGES)?, &token)?;
        client::http1(self.envoy_address, request).await
    }

    /// What Attaché logged, without colours, once it contains `marker`.
    async fn log_lines(&self, marker: &str) -> Result<Vec<String>> {
        until(&format!("the log line {marker:?}"), async || {
            let log = self.attache.process.output() + &self.attache.process.errors();
            log.contains(marker)
                .then(|| log.lines().map(str::to_owned).collect())
        })
        .await
    }
}

async fn permitted(cast: &Cast) -> Result<()> {
    step("What is asked")?;
    say("  payment-service, a pod with the ServiceAccount payment-svc in the namespace production, calls
  through Envoy, in plain HTTP, and holds no secret of Stripe's:

    GET http://api.stripe.com/v1/charges
    x-attache-evidence: <its projected ServiceAccount token>
")?;
    let reply = cast.ask("production").await?;
    ensure!(
        reply.status == 200,
        "the call was answered {}: {reply:?}",
        reply.status
    );
    let answer = String::from_utf8_lossy(&reply.body).into_owned();
    say(&format!(
        "  The answer: {} {}",
        reply.status,
        answer.trim_end()
    ))?;

    let event = cast.installation.last_event()?;
    step("What is proven, and what is attached")?;
    ensure!(
        event["workload_svid"] == WORKLOAD,
        "another workload was proven: {event}"
    );
    say(&format!(
        "  Attaché verified the token with the cluster's published keys. The caller is\n    {WORKLOAD}\n  \
         and its log says:\n"
    ))?;
    let lines = cast.log_lines("header injected").await?;
    let told = [
        "workload attested via",
        "oidc token issued",
        "header injected",
    ];
    for marker in told {
        let line = lines.iter().find(|line| line.contains(marker));
        quote(line.with_context(|| format!("the log does not say {marker:?}"))?)?;
    }

    verified(cast, &event).await
}

/// What came out at the target's end: the story's proof by somebody else's library.
async fn verified(cast: &Cast, event: &Value) -> Result<()> {
    step("What the target verified")?;
    let verdict = until("the target's verdict", async || {
        cast.target.verdicts().pop()
    })
    .await?;
    let claims = &verdict["verified"]["claims"];
    ensure!(
        claims["sub"] == WORKLOAD,
        "the target verified something else: {verdict}"
    );
    ensure!(
        claims["aud"] == AUDIENCE || claims["aud"][0] == AUDIENCE,
        "another audience: {claims}"
    );
    ensure!(lifetime(claims) == Some(300), "another lifetime: {claims}");
    let headers = verdict["headers"].to_string();
    ensure!(
        !headers.contains("x-attache"),
        "the evidence reached the target: {headers}"
    );
    say(
        "  Signature and claims, by the keys that Attaché publishes; the evidence did not reach it.\n",
    )?;
    quote(&pretty(claims)?)?;

    step("What the audit log holds")?;
    ensure!(
        event["token_id"] == claims["jti"],
        "the event names another token: {event}"
    );
    quote(&pretty(event)?)
}

async fn refused(cast: &Cast) -> Result<()> {
    step("A call that is refused")?;
    say(
        "  The same ServiceAccount name, but in the namespace staging, where anyone may make one.",
    )?;
    let before = cast.target.verdicts().len();
    let reply = cast.ask("staging").await?;
    ensure!(
        reply.status == 403,
        "the call was answered {}: {reply:?}",
        reply.status
    );
    ensure!(
        reply.code() == Some("attribute-mismatch"),
        "another reason: {reply:?}"
    );
    let id = reply.header("x-attache-decision").context("no decision")?;
    let event = cast.installation.event(id).await?;
    ensure!(
        cast.target.verdicts().len() == before,
        "the target heard of the refused call"
    );
    say("\n  The caller is told 403, and no more than it needs:\n")?;
    quote(&pretty(&reply.json()?)?)?;
    say(&format!(
        "\n  The audit log says why, under the same id: {} was expected to be {}, and is {}.\n  \
         The target heard nothing.",
        text(&event, "attribute"),
        text(&event, "expected"),
        text(&event, "actual"),
    ))
}

/// Leaves everything running for a person to try, with fresh tokens; it ends by interruption alone.
async fn stay(cast: &Cast) -> Result<()> {
    write_tokens(cast)?;
    step("Now you")?;
    let (tokens, config) = (cast.tokens.display(), cast.installation.config());
    let (attache, config) = (cast.installation.binary().display(), config.display());
    let envoy = cast.envoy_address;
    say(&format!(
        "  Everything stays up until Ctrl-C. In another terminal:

    # ask again, as payment-svc in production, then in staging
    curl -i -H \"x-attache-evidence: $(cat {tokens}/production)\" -x http://{envoy} http://{STRIPE}{CHARGES}
    curl -i -H \"x-attache-evidence: $(cat {tokens}/staging)\" -x http://{envoy} http://{STRIPE}{CHARGES}

    # what happened, and what is in force
    {attache} audit --config {config}
    {attache} status --config {config}

    # change a policy, and put it in force
    $EDITOR {}
    {attache} reload --config {config}",
        cast.installation.policies().join("credential-policy.yaml").display(),
    ))?;
    // Tokens live ten minutes.
    let mut refresh = tokio::time::interval(Duration::from_secs(240));
    loop {
        refresh.tick().await;
        write_tokens(cast)?;
    }
}

fn write_tokens(cast: &Cast) -> Result<()> {
    for namespace in ["production", "staging"] {
        let token = cast.cluster.token(namespace, "payment-svc")?;
        write_whole(&cast.tokens.join(namespace), &token)?;
    }
    Ok(())
}

/// Renamed into place, so that nobody reads half a token.
fn write_whole(path: &Path, content: &str) -> Result<()> {
    let next = path.with_extension("next");
    fs::write(&next, content)?;
    Ok(fs::rename(next, path)?)
}

fn lifetime(claims: &Value) -> Option<i64> {
    Some(claims.get("exp")?.as_i64()? - claims.get("iat")?.as_i64()?)
}

fn text<'a>(event: &'a Value, name: &str) -> &'a str {
    event
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or("(nothing)")
}

fn pretty(value: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)?)
}

fn say(text: &str) -> Result<()> {
    Ok(writeln!(io::stdout(), "{text}")?)
}

fn heading(text: &str) -> Result<()> {
    say(&format!("{text}\n{}", "=".repeat(text.chars().count())))
}

fn step(title: &str) -> Result<()> {
    say(&format!("\n{title}\n{}", "-".repeat(title.chars().count())))
}

/// The text, moved in.
fn quote(text: &str) -> Result<()> {
    let mut moved = String::new();
    for line in text.trim_end().lines() {
        writeln!(moved, "    {line}")?;
    }
    Ok(write!(io::stdout(), "{moved}")?)
}
