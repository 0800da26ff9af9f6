//! An audit event into its file, beside the same line by one `write`.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Result, ensure};
use attache_core::{
    event::{Event, Outcome},
    time::Timestamp,
};
use attache_edge::journal::{Durability, Journal, JournalConfig, Retention};
use tokio::runtime::Handle;

use super::{Told, Work, wait};

/// Bytes after which files begin anew: none of them is to fill a disk.
const MOST_BYTES: u64 = 64 << 20;
/// Events that may wait in the background.
const BATCH: u64 = 1024;

pub(super) fn works(directory: &Path) -> Result<Vec<Work>> {
    Ok(vec![
        write(&directory.join("lines"))?,
        before_answer(directory)?,
        background(directory)?,
    ])
}

/// A permit as a call of the groups `check` and `envoy` leaves it.
fn event() -> Event {
    let text = |text: &str| Some(text.into());
    let at = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let id = "evt_01jxt3v2k8q5m9r4w7y1z6b0cd".to_owned();
    Event {
        workload_svid: text("spiffe://cluster.local/ns/team-0/sa/app-0"),
        workload_type: text("kubernetes-pod"),
        target_service: "svc-0.example.com".into(),
        policy_matched: text("allow:team-0:svc-0:read"),
        token_issued: true,
        token_id: text("tok_prod_7f9e2b3d1c8a4e5f6071829304a5b6c7"),
        ttl_seconds: Some(3600),
        request_method: "GET".into(),
        request_path: "/v1/charges".into(),
        latency_ms: 0.1,
        policy: text("team-0-svc-0"),
        trust_provider: text("cluster"),
        credential_provider: text("token"),
        audience: text("https://svc.example.com"),
        policy_revision: "0123456789abcdef0123456789abcdef".into(),
        edge: "edge-1".into(),
        listener: "egress".into(),
        source_address: text("10.1.2.3:41234"),
        target_origin: text("https://svc-0.example.com:443"),
        attested_by: vec!["cluster".into()],
        ..Event::blank(id.into(), at, Outcome::Permitted)
    }
}

fn write(path: &Path) -> Result<Work> {
    let mut file = File::create(path)?;
    let mut line = serde_json::to_vec(&event())?;
    line.push(b'\n');
    let mut bytes = 0;
    Ok(Work::new("audit-write", None, Told::Time, move || {
        bytes += u64::try_from(line.len())?;
        if bytes > MOST_BYTES {
            file.set_len(0)?;
            file.rewind()?;
            bytes = 0;
        }
        Ok(file.write_all(&line)?)
    }))
}

fn journal(directory: &Path, name: &str, durability: Durability) -> Result<Arc<Journal>> {
    let journal = Journal::open(JournalConfig {
        durability,
        retention: Retention {
            permitted_bytes: MOST_BYTES,
            ..Retention::default()
        },
        ..JournalConfig::new(directory.join(name))
    })?;
    Ok(Arc::new(journal))
}

fn before_answer(directory: &Path) -> Result<Work> {
    let journal = journal(directory, "before-answer", Durability::BeforeAnswer)?;
    let (event, runtime) = (event(), Handle::current());
    let floor = Some("audit-write");
    Ok(Work::new("audit-event", floor, Told::Time, move || {
        let recorded = wait(&runtime, journal.record(event.clone()))?;
        ensure!(!recorded.coalesced, "a permit was coalesced");
        Ok(())
    }))
}

fn background(directory: &Path) -> Result<Work> {
    let journal = journal(directory, "background", Durability::Background)?;
    let (event, runtime) = (event(), Handle::current());
    let mut waiting = 0;
    let run = move || {
        wait(&runtime, journal.record(event.clone()))?;
        waiting += 1;
        // What waits is a part of what an event costs.
        if waiting == BATCH {
            waiting = 0;
            wait(&runtime, journal.flush())?;
        }
        Ok(())
    };
    let name = "audit-event-background";
    Ok(Work::new(name, Some("audit-write"), Told::Time, run))
}
