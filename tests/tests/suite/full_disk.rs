//! A full disk: no credential without its event, said plainly, and all well again without a restart.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use attache_tests::{
    admin,
    attache::EdgePlan,
    stage::{Script, Set, Stage},
    wait::until,
};

/// A program that runs the next one in a mount namespace of its own, with a small filesystem on `place`.
fn with_small_disk(place: &Path) -> Result<Command> {
    let try_out = |options: &[&str]| {
        let tried = Command::new("unshare").args(options).arg("true").output();
        tried.is_ok_and(|output| output.status.success())
    };
    let privileged: &[&str] = &["--mount"];
    let unprivileged: &[&str] = &["--user", "--map-root-user", "--mount"];
    let options = [privileged, unprivileged]
        .into_iter()
        .find(|options| try_out(options));
    let options = options.context("this machine allows no mount namespaces (unshare --mount)")?;
    let mut command = Command::new("unshare");
    command.args(options).args(["sh", "-c"]);
    command
        .arg("mount -t tmpfs -o size=4m small \"$0\" && exec \"$@\"")
        .arg(place);
    Ok(command)
}

/// Writes into `file` until the disk is full.
fn fill(file: &Path) -> Result<()> {
    let mut ballast = File::create(file)?;
    for size in [64 * 1024, 4096, 512, 1] {
        while ballast.write_all(&vec![b'x'; size]).is_ok() {}
    }
    Ok(())
}

/// Readiness goes while the disk is full, comes back without a call, and the process is alive all the while.
async fn readiness_follows(stage: &Stage, ballast: &Path) -> Result<()> {
    let socket = stage.set.installation.admin();
    let ready = async || admin::text(&socket, "/readyz").await.ok();
    let told = until("readiness to go", async || {
        ready().await.filter(|(code, _)| *code == 503)
    })
    .await?;
    ensure!(told.1.contains("audit: No space left"), "{}", told.1);
    assert_eq!(admin::text(&socket, "/livez").await?.0, 200);
    fs::remove_file(ballast)?;
    // Nobody calls an edge that is not ready, so it must find out by itself.
    until("readiness to come back", async || {
        ready().await.filter(|(code, _)| *code == 200)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_full_disk_denies_says_so_and_recovers_without_a_restart() -> Result<()> {
    let disk = tempfile::tempdir()?;
    let plan = EdgePlan {
        audit: Some(disk.path().join("audit")),
        ..EdgePlan::default()
    };
    let set = Set::build(Script {
        plan,
        ..Script::default()
    })
    .await?;
    let mut attache = set
        .installation
        .launch_under(with_small_disk(disk.path())?)?;
    attache.ready().await?;
    // The same filesystem, seen from outside its namespace.
    let root = PathBuf::from(format!("/proc/{}/root", attache.process.id()));
    let inside = root.join(disk.path().strip_prefix("/")?);
    ensure!(
        inside.join("audit").is_dir(),
        "no audit log on the small disk"
    );
    let stage = set.open_with(attache).await?;
    let token = stage.payment_token()?;
    assert_eq!(stage.charges(&token).await?.status, 200);
    let ballast = inside.join("ballast");
    fill(&ballast)?;
    // The journal may have a little room of its own left.
    let refused = until("the disk to be noticed", async || {
        stage
            .charges(&token)
            .await
            .ok()
            .filter(|reply| reply.status != 200)
    })
    .await?;
    assert_eq!(
        (refused.status, refused.code()),
        (503, Some("audit-unavailable"))
    );
    let answered = stage.set.stripe.received().len();
    assert_eq!(
        stage.charges(&token).await?.code(),
        Some("audit-unavailable")
    );
    assert_eq!(stage.set.stripe.received().len(), answered);
    let status = String::from_utf8(stage.set.installation.run(&["status"])?.stdout)?;
    assert!(
        status.contains("audit") && status.contains("error"),
        "{status}"
    );
    readiness_follows(&stage, &ballast).await?;
    until("the disk to have room again", async || {
        stage
            .charges(&token)
            .await
            .ok()
            .filter(|reply| reply.status == 200)
    })
    .await?;
    Ok(())
}
