//! Policies change under a running server: what is good is in force within a second, what is not changes
//! nothing, and no call notices but by its answer.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    attache::Installation,
    client::{self, Reply, with_evidence},
    quickstart::{DATA_PIPELINE, INTERNAL},
    stage::{Script, Set, Stage},
    verify,
    wait::until,
};
use tokio::{net::UnixStream, task::JoinSet, time::Instant};

const FILE: &str = "data-pipeline.yaml";
const RECORDS: &str = "/api/v1/records";

/// How long a change may take.
const IN_FORCE: Duration = Duration::from_secs(1);

/// The policies of the data pipeline, whose token is for this audience.
fn for_audience(audience: &str) -> String {
    DATA_PIPELINE.replace(
        "audience: https://internal-data-api.prod.svc.cluster.local",
        &format!("audience: {audience}"),
    )
}

/// The data pipeline reads a record.
async fn record(address: std::net::SocketAddr, token: &str) -> Result<Reply> {
    let request = with_evidence(client::get(INTERNAL, RECORDS)?, token)?;
    client::http1(address, request).await
}

/// Whether a call that begins now gets a token for `audience`.
async fn grants(stage: &Stage, token: &str, audience: &str, attempt: usize) -> Result<bool> {
    let target = format!("{RECORDS}?{audience}&{attempt}");
    let request = with_evidence(client::get(INTERNAL, &target)?, token)?;
    let reply = client::http1(stage.address, request).await?;
    ensure!(reply.status == 200, "{reply:?}");
    let received = stage.set.internal.last_of(&target);
    let bearer = received.and_then(|received| received.bearer());
    let bearer = bearer.context("no bearer token")?;
    let (keys, issuer) = (
        stage.published_keys().await?,
        stage.set.installation.issuer(),
    );
    Ok(verify::claims(&bearer, &keys, &issuer, audience).is_ok())
}

/// Callers that call without a pause until they are told to stop.
struct Traffic {
    callers: JoinSet<Result<()>>,
    is_over: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Traffic {
    fn start(stage: &Stage, token: &str) -> Self {
        let mut callers = JoinSet::new();
        let (is_over, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        for _ in 0..3 {
            let (address, token) = (stage.address, token.to_owned());
            let (is_over, calls) = (Arc::clone(&is_over), Arc::clone(&calls));
            callers.spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let reply = record(address, &token).await?;
                    ensure!(reply.status == 200, "{reply:?}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Self {
            callers,
            is_over,
            calls,
        }
    }

    /// How many calls were made, if none failed.
    async fn end(mut self) -> Result<usize> {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended??;
        }
        Ok(self.calls.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_hundred_edits_under_traffic_are_each_in_force_within_a_second_and_no_call_fails()
-> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.set.cluster.token("prod", "data-pipeline")?;
    let traffic = Traffic::start(&stage, &token);
    let file = stage.set.installation.policies().join(FILE);
    let draft = file.with_file_name(".data-pipeline.yaml.swp");
    for edit in 0..100 {
        let audience = format!("https://edit-{edit}.example");
        // In place, and as editors save: another file takes the name.
        if edit % 2 == 0 {
            fs::write(&file, for_audience(&audience))?;
        } else {
            fs::write(&draft, for_audience(&audience))?;
            fs::rename(&draft, &file)?;
        }
        let written = Instant::now();
        for attempt in 0.. {
            // The call that begins within the time must be under the new policy.
            let is_late = written.elapsed() > IN_FORCE;
            if grants(&stage, &token, &audience, attempt).await? {
                break;
            }
            ensure!(!is_late, "edit {edit} is not in force after {IN_FORCE:?}");
        }
    }
    let calls = traffic.end().await?;
    ensure!(calls > 100, "{calls} calls are no traffic");
    let failed = stage.set.installation.events()?;
    let failed: Vec<_> = failed
        .iter()
        .filter(|event| event["outcome"] != "permitted")
        .collect();
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(())
}

/// What a command printed.
fn text(output: &Output) -> String {
    let (out, errors) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(errors)
    )
}

/// Waits until `attache status` says `wanted`.
async fn status_with(installation: &Installation, wanted: &str) -> Result<String> {
    until(&format!("a status with {wanted:?}"), async || {
        let told = text(&installation.run(&["status"]).ok()?);
        told.contains(wanted).then_some(told)
    })
    .await
}

#[tokio::test]
async fn a_broken_edit_changes_nothing_is_told_once_and_ends_with_the_next_good_one() -> Result<()>
{
    let stage = Stage::open().await?;
    let token = stage.set.cluster.token("prod", "data-pipeline")?;
    let traffic = Traffic::start(&stage, &token);
    let installation = &stage.set.installation;
    assert_eq!(record(stage.address, &token).await?.status, 200);
    let revision = installation.last_event()?["policy_revision"].clone();

    installation.policy(
        FILE,
        &DATA_PIPELINE.replace("effect: allow", "effect: forbid"),
    )?;
    let told = status_with(installation, "policy refused   since").await?;
    ensure!(told.starts_with("ready\n"), "{told}");
    ensure!(
        told.contains("data-pipeline.yaml") && told.contains("forbid"),
        "{told}"
    );
    let admin = UnixStream::connect(installation.directory().join("admin.sock")).await?;
    let readiness = client::http1_over(admin, client::get("admin", "/readyz")?).await?;
    let detail = String::from_utf8_lossy(&readiness.body).into_owned();
    assert_eq!(readiness.status, 200, "{detail}");
    ensure!(detail.contains("refused since"), "{detail}");
    // Asked for again, it is the same refusal.
    assert_eq!(installation.run(&["reload"])?.status.code(), Some(1));
    assert!(grants(&stage, &token, &format!("https://{INTERNAL}"), 0).await?);
    assert_eq!(installation.last_event()?["policy_revision"], revision);

    installation.policy(FILE, &for_audience("https://mended.example"))?;
    until("the mended policies", async || {
        let granted = grants(&stage, &token, "https://mended.example", 1).await;
        granted.unwrap_or_default().then_some(())
    })
    .await?;
    let told = text(&installation.run(&["status"])?);
    ensure!(!told.contains("refused"), "{told}");
    ensure!(traffic.end().await? > 0);
    let log = stage.attache.process.errors();
    let refusals = log.lines().filter(|line| line.contains("policies refused"));
    assert_eq!(refusals.count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn half_of_a_file_is_not_taken_for_the_whole_while_it_is_being_written() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.set.cluster.token("prod", "data-pipeline")?;
    assert_eq!(record(stage.address, &token).await?.status, 200);
    // Its first half is a set without a word on who may: taken for the whole, it denies everything.
    let whole = for_audience("https://whole.example");
    let (half, rest) = whole.rsplit_once("---\n").context("one document only")?;
    let mut file = fs::File::create(stage.set.installation.policies().join(FILE))?;
    file.write_all(half.as_bytes())?;
    let began = Instant::now();
    while began.elapsed() < IN_FORCE * 2 {
        let reply = record(stage.address, &token).await?;
        ensure!(reply.status == 200, "{reply:?}");
    }
    file.write_all(format!("---\n{rest}").as_bytes())?;
    drop(file);
    until("the whole file", async || {
        let granted = grants(&stage, &token, "https://whole.example", 0).await;
        granted.unwrap_or_default().then_some(())
    })
    .await?;
    let log = stage.attache.process.errors();
    ensure!(!log.contains("refused"), "{log}");
    Ok(())
}

/// Writes `documents` as version `name` of a ConfigMap mounted at `folder`, and swaps to it as the kubelet does.
fn swap(folder: &Path, name: &str, documents: &[(&str, String)]) -> Result<()> {
    let version = folder.join(format!("..{name}"));
    fs::create_dir(&version)?;
    for (file, text) in documents {
        fs::write(version.join(file), text)?;
        let link = folder.join(file);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(file), link)?;
        }
    }
    symlink(format!("..{name}"), folder.join("..data_tmp"))?;
    Ok(fs::rename(
        folder.join("..data_tmp"),
        folder.join("..data"),
    )?)
}

#[tokio::test]
async fn a_configmap_that_is_swapped_is_in_force_at_once_and_as_a_whole() -> Result<()> {
    let set = Set::build(Script {
        policies: Vec::new(),
        ..Script::default()
    })
    .await?;
    let folder = set.installation.policies();
    let renamed = DATA_PIPELINE.replace("name: internal-api\n", "name: records\n");
    let renamed = renamed.replace("server: internal-api", "server: records");
    let (documents, policy) = DATA_PIPELINE
        .rsplit_once("---\n")
        .context("one document only")?;
    swap(
        &folder,
        "1",
        &[
            ("documents.yaml", documents.to_owned()),
            ("policy.yaml", policy.to_owned()),
        ],
    )?;
    let stage = set.open().await?;
    let token = stage.set.cluster.token("prod", "data-pipeline")?;
    assert_eq!(record(stage.address, &token).await?.status, 200);
    let traffic = Traffic::start(&stage, &token);

    // Either file alone would dangle: the policy names a server of the other.
    let (documents, policy) = renamed.rsplit_once("---\n").context("one document only")?;
    let swapped = Instant::now();
    swap(
        &folder,
        "2",
        &[
            ("documents.yaml", documents.to_owned()),
            ("policy.yaml", policy.to_owned()),
        ],
    )?;
    let installation = &stage.set.installation;
    until("the swapped policies", async || {
        record(stage.address, &token).await.ok()?;
        let event = installation.last_event().ok()?;
        (event["policy_matched"] == "allow:data-pipeline:records:read").then_some(())
    })
    .await?;
    ensure!(swapped.elapsed() < IN_FORCE, "{:?}", swapped.elapsed());
    ensure!(traffic.end().await? > 0);
    ensure!(!stage.attache.process.errors().contains("refused"));
    Ok(())
}

#[tokio::test]
async fn a_start_with_a_broken_directory_serves_the_last_good_policies_and_says_so() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.set.cluster.token("prod", "data-pipeline")?;
    // The last good set is not the one of the start.
    let installation = Arc::clone(&stage.set.installation);
    installation.policy(FILE, &for_audience("https://last-good.example"))?;
    until("the last good policies", async || {
        let granted = grants(&stage, &token, "https://last-good.example", 0).await;
        granted.unwrap_or_default().then_some(())
    })
    .await?;
    let revision = installation.last_event()?["policy_revision"].clone();
    let Stage {
        set,
        mut attache,
        envoy,
        address,
    } = stage;
    assert!(attache.process.stop().await?.success());

    installation.policy(FILE, "apiVersion: attache.dev/v1\nkind: AccessPolicies\n")?;
    let attache = installation.start().await?;
    let stage = Stage {
        set,
        attache,
        envoy,
        address,
    };
    let served = until("the restarted server", async || {
        let granted = grants(&stage, &token, "https://last-good.example", 1).await;
        granted.ok()
    });
    assert!(served.await?);
    assert_eq!(installation.last_event()?["policy_revision"], revision);
    let told = text(&installation.run(&["status"])?);
    for part in [
        "ready\n",
        "by an earlier run",
        "policy refused   since",
        "AccessPolicies",
    ] {
        ensure!(told.contains(part), "{part} is missing in {told}");
    }
    let log = stage.attache.process.errors();
    ensure!(
        log.contains("starting with the last good policies"),
        "{log}"
    );

    // Mended, the directory counts again.
    installation.policy(FILE, &for_audience("https://mended.example"))?;
    until("the mended policies", async || {
        let granted = grants(&stage, &token, "https://mended.example", 2).await;
        granted.unwrap_or_default().then_some(())
    })
    .await?;
    let told = text(&installation.run(&["status"])?);
    ensure!(
        !told.contains("earlier run") && !told.contains("refused"),
        "{told}"
    );
    Ok(())
}
