//! A disk that does not answer: no credential without its event, the server goes on, and all is well again without a
//! restart. A named pipe that is full stands where the permits are written.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    thread,
};

use anyhow::{Result, ensure};
use attache_tests::{admin, stage::Stage, wait::until};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

/// Takes the segment in use away and puts the pipe where the server then goes on; what is written to it waits until it
/// is read from this end.
fn hang(audit: &Path) -> Result<File> {
    for entry in fs::read_dir(audit)? {
        let entry = entry?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"permitted-")
        {
            fs::remove_file(entry.path())?;
        }
    }
    let path = audit.join("permitted-20990101T000000.000Z.jsonl");
    mknodat(CWD, &path, FileType::Fifo, Mode::from(0o600), 0)?;
    let no_wait = i32::try_from(OFlags::NONBLOCK.bits())?;
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let mut filling = options.clone().custom_flags(no_wait).open(&path)?;
    loop {
        match filling.write(&[b'.'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(options.open(&path)?)
}

async fn until_answered(stage: &Stage, token: &str, status: u16, code: Option<&str>) -> Result<()> {
    until("the answer", async || {
        let reply = stage.charges(token).await.ok()?;
        (reply.status == status && reply.code() == code).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_disk_that_hangs_denies_says_so_and_recovers_without_a_restart() -> Result<()> {
    let stage = Stage::open().await?;
    let token = stage.payment_token()?;
    until_answered(&stage, &token, 200, None).await?;
    let mut pipe = hang(stage.set.installation.audit())?;
    let answered = stage.set.stripe.received().len();
    let first = stage.charges(&token).await?;
    ensure!(first.status != 200, "{first:?}");

    // Whatever became of the thread that hangs: calls are answered, and told why.
    for _ in 0..5 {
        until_answered(&stage, &token, 503, Some("audit-unavailable")).await?;
    }
    let socket = stage.set.installation.admin();
    ensure!(admin::text(&socket, "/livez").await?.0 == 200);
    ensure!(stage.set.stripe.received().len() == answered);

    // What was waited for so long is taken now.
    thread::spawn(move || {
        let mut some = [0; 4096];
        while pipe.read(&mut some).is_ok_and(|bytes| bytes > 0) {}
    });
    until_answered(&stage, &token, 200, None).await?;
    Ok(())
}
