//! What every combination of effect, mode, `observe` and `unmatched` does to a call: the table of
//! docs/serve.md, cell by cell. And a policy whose time is over.

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::EdgePlan,
    authorize,
    client::{self, EVIDENCE, with_evidence},
    quickstart::{DATA_PIPELINE, INTERNAL},
    stage::{Script, Set, Stage},
    wait::until,
    workspace,
};
use envoy_types::ext_authz::v3::pb::{CheckResponse, HttpResponse};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tonic::transport::Channel;

/// The head of the table.
const HEAD: &str = "| enforced | dry-run | `deny` | `pass-without-credential` | `observe`, `deny` | `observe`, `pass-without-credential` |";

/// What the policies of one host say, enforced and as a dry run, and what a call then meets on the edges of
/// [`EDGES`].
struct Row {
    enforced: Option<&'static str>,
    dry_run: Option<&'static str>,
    cells: [&'static str; 4],
}

/// `unmatched` and `observe` of the edges.
const EDGES: [(&str, bool); 4] = [
    ("deny", false),
    ("pass-without-credential", false),
    ("deny", true),
    ("pass-without-credential", true),
];

const fn row(
    enforced: Option<&'static str>,
    dry_run: Option<&'static str>,
    cells: [&'static str; 4],
) -> Row {
    Row {
        enforced,
        dry_run,
        cells,
    }
}

const ALLOW: Option<&str> = Some("allow");
const DENY: Option<&str> = Some("deny");

const ROWS: [Row; 9] = [
    row(
        None,
        None,
        [
            "403 `no-policy`",
            "passes",
            "passes; would be denied",
            "passes; would be permitted",
        ],
    ),
    row(
        ALLOW,
        None,
        [
            "credential",
            "credential",
            "passes; would be permitted",
            "passes; would be permitted",
        ],
    ),
    row(
        DENY,
        None,
        [
            "403 `denied-by-policy`",
            "403 `denied-by-policy`",
            "passes; would be denied",
            "passes; would be denied",
        ],
    ),
    row(
        None,
        ALLOW,
        [
            "403 `no-policy`; would be permitted",
            "passes; would be permitted",
            "passes; would be permitted",
            "passes; would be permitted",
        ],
    ),
    row(
        None,
        DENY,
        [
            "403 `no-policy`; would be denied",
            "passes; would be denied",
            "passes; would be denied",
            "passes; would be denied",
        ],
    ),
    row(
        ALLOW,
        ALLOW,
        [
            "credential; would be permitted",
            "credential; would be permitted",
            "passes; would be permitted",
            "passes; would be permitted",
        ],
    ),
    row(
        ALLOW,
        DENY,
        [
            "credential; would be denied",
            "credential; would be denied",
            "passes; would be denied",
            "passes; would be denied",
        ],
    ),
    row(
        DENY,
        ALLOW,
        [
            "403 `denied-by-policy`; would be denied",
            "403 `denied-by-policy`; would be denied",
            "passes; would be denied",
            "passes; would be denied",
        ],
    ),
    row(
        DENY,
        DENY,
        [
            "403 `denied-by-policy`; would be denied",
            "403 `denied-by-policy`; would be denied",
            "passes; would be denied",
            "passes; would be denied",
        ],
    ),
];

impl Row {
    fn name(&self) -> String {
        let word = |effect: Option<&'static str>| effect.unwrap_or("none");
        format!("{}-{}", word(self.enforced), word(self.dry_run))
    }

    fn host(&self) -> String {
        format!("{}.example", self.name())
    }

    /// The row as the documentation prints it.
    fn line(&self) -> String {
        let word =
            |effect: Option<&str>| effect.map_or("none".to_owned(), |effect| format!("`{effect}`"));
        let cells = self.cells.join(" | ");
        format!(
            "| {} | {} | {cells} |",
            word(self.enforced),
            word(self.dry_run)
        )
    }

    /// The policies of the row's host.
    fn documents(&self) -> String {
        let (name, host) = (self.name(), self.host());
        let mut documents = String::new();
        let modes = [("enforce", self.enforced), ("dry-run", self.dry_run)];
        for (mode, effect) in modes {
            let Some(effect) = effect else { continue };
            let credential = match effect {
                "allow" => "credentialProvider: token, trustProviders: [cluster], ",
                _ => "",
            };
            documents += &format!(
                "---\napiVersion: attache.dev/v1\nkind: AccessPolicy\nmetadata: {{ name: {name}-{mode} }}\nspec: {{ effect: {effect}, mode: {mode}, client: pipeline, server: {name}, {credential}actions: [all] }}\n"
            );
        }
        if !documents.is_empty() {
            documents += &format!(
                "---\napiVersion: attache.dev/v1\nkind: ServerWorkload\nmetadata: {{ name: {name} }}\nspec: {{ host: {host} }}\n"
            );
        }
        documents
    }
}

/// The policies of all rows.
fn documents() -> String {
    let mut documents = "\
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: { name: pipeline }
spec: { match: [{ k8s.namespace: prod, k8s.serviceAccount: data-pipeline }] }
"
    .to_owned();
    documents += "---\napiVersion: attache.dev/v1\nkind: CredentialProvider\nmetadata: { name: token }\nspec: { type: oidc-token, audience: \"https://records.example\", ttl: 300 }\n";
    documents + &ROWS.iter().map(Row::documents).collect::<String>()
}

/// What happened to a call, in the table's words.
fn cell(answer: &CheckResponse, event: &Value) -> Result<String> {
    let happened = match answer.http_response.as_ref().context("no answer")? {
        HttpResponse::DeniedResponse(denied) => {
            let status = denied.status.as_ref().context("no status")?.code;
            let code = event["code"].as_str().context("no code")?;
            ensure!(denied.body.contains(code), "{}", denied.body);
            format!("{status} `{code}`")
        }
        HttpResponse::OkResponse(_) if authorize::holds_a_token(answer) => "credential".to_owned(),
        HttpResponse::OkResponse(ok) => {
            // As it came, with the client's own credential.
            ensure!(ok.headers.is_empty(), "{ok:?}");
            ensure!(ok.headers_to_remove == [EVIDENCE], "{ok:?}");
            "passes".to_owned()
        }
        HttpResponse::ErrorResponse(error) => anyhow::bail!("{error:?}"),
    };
    let outcome = if happened.starts_with("403") {
        "denied"
    } else {
        "permitted"
    };
    ensure!(event["outcome"] == outcome, "{event}");
    Ok(match event["would_be_outcome"].as_str() {
        None => happened,
        Some(would_be) => format!("{happened}; would be {would_be}"),
    })
}

#[tokio::test]
async fn every_cell_of_the_table_is_what_happens() -> Result<()> {
    for (column, (unmatched, observe)) in EDGES.into_iter().enumerate() {
        let plan = EdgePlan {
            unmatched,
            observe,
            ..EdgePlan::default()
        };
        let set = Set::build(Script {
            plan,
            policies: vec![("table.yaml", documents())],
            ..Script::default()
        })
        .await?;
        let _attache = set.installation.start().await?;
        let channel = authorize::over_unix(&set.installation.socket()).await?;
        for row in &ROWS {
            let found = ask(&set, channel.clone(), &row.host()).await;
            let found = found.with_context(|| format!("{}, column {column}", row.name()))?;
            assert_eq!(found, row.cells[column], "{}, column {column}", row.name());
        }
    }
    Ok(())
}

/// Calls `host` and tells what happened.
async fn ask(set: &Set, channel: Channel, host: &str) -> Result<String> {
    let token = set.cluster.token("prod", "data-pipeline")?;
    let headers = [(EVIDENCE, token.as_str()), ("authorization", "Bearer own")];
    let question = authorize::calling(host, "GET", "/records", &headers);
    let answer = authorize::check(channel, question).await?;
    let event = set.installation.last_event()?;
    let named = event.get("target_service").and_then(Value::as_str);
    ensure!(named == Some(host), "{event}");
    cell(&answer, &event)
}

#[test]
fn the_documentation_prints_this_table() -> Result<()> {
    let page = std::fs::read_to_string(workspace::root().join("docs/serve.md"))?;
    let mut lines = page.lines().skip_while(|line| *line != HEAD).skip(2);
    for row in &ROWS {
        assert_eq!(lines.next(), Some(row.line().as_str()));
    }
    Ok(())
}

/// The data pipeline's policies, which apply only while `condition` holds.
fn timed(condition: &str) -> Script {
    let policies = format!(
        "{DATA_PIPELINE}  conditions: [hours]\n---\napiVersion: attache.dev/v1\nkind: AccessCondition\nmetadata: {{ name: hours }}\nspec: {condition}\n"
    );
    Script {
        policies: vec![("data-pipeline.yaml", policies)],
        ..Script::default()
    }
}

async fn record(stage: &Stage) -> Result<client::Reply> {
    let token = stage.set.cluster.token("prod", "data-pipeline")?;
    let request = with_evidence(client::get(INTERNAL, "/api/v1/records")?, &token)?;
    client::http1(stage.address, request).await
}

#[tokio::test]
async fn a_policy_whose_time_is_over_grants_nothing_although_its_token_is_still_good() -> Result<()>
{
    let closes = Timestamp::now() + SignedDuration::from_secs(8);
    let stage = Stage::play(timed(&format!(
        "{{ cel: 'now < timestamp(\"{closes}\")' }}"
    )))
    .await?;
    let warm = record(&stage).await?;
    ensure!(
        Timestamp::now() < closes,
        "the test began too late to say anything"
    );
    assert_eq!(warm.status, 200, "{warm:?}");
    let closed = until("the time to be over", async || {
        let reply = record(&stage).await.ok()?;
        (reply.status != 200).then_some(reply)
    })
    .await?;
    ensure!(Timestamp::now() >= closes);
    let told = (closed.status, closed.code());
    assert_eq!(told, (403, Some("condition-not-met")));
    // Every call before was permitted, and none after.
    for event in stage.set.installation.events()? {
        let at: Timestamp = event["timestamp"].as_str().context("no time")?.parse()?;
        assert_eq!(event["outcome"] == "permitted", at < closes, "{event}");
    }
    Ok(())
}

/// The hour of the day, `hours` east of Greenwich.
fn hour(at: Timestamp, hours: i64) -> i64 {
    (at.as_second() / 3600 + hours).rem_euclid(24)
}

#[tokio::test]
async fn a_window_counts_by_the_clock_of_its_time_zone() -> Result<()> {
    // Half of the day, by clocks that differ by half a day: open in one and closed in the other. POSIX counts
    // westward, so that this zone is six hours east.
    let window = "{ days: [mon, tue, wed, thu, fri, sat, sun], from: \"00:00\", to: \"12:00\" }";
    for (zone, east) in [("Etc/GMT-6", 6), ("Etc/GMT+6", -6)] {
        let condition = format!("{{ time: {{ timeZone: {zone}, windows: [{window}] }} }}");
        let stage = Stage::play(timed(&condition)).await?;
        let status = loop {
            let before = hour(Timestamp::now(), east);
            let status = record(&stage).await?.status;
            // A call over the full hour says nothing.
            if hour(Timestamp::now(), east) == before {
                break (status, if before < 12 { 200 } else { 403 });
            }
        };
        assert_eq!(status.0, status.1, "{zone}");
    }
    Ok(())
}
