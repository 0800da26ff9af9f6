use std::sync::mpsc;

use attache_core::{event::Mode, id};
use attache_edge::journal::{Journal, JournalConfig, text};
use clap::Parser;
use tempfile::TempDir;

use super::*;

/// 2026-06-14T03:47:22.341Z, as in the published example.
const START: i64 = 1_781_408_842_341;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    command: AuditCommand,
}

fn args(words: &[&str]) -> AuditArgs {
    let words = ["audit", "--dir", "unused"].iter().chain(words);
    Cli::try_parse_from(words)
        .unwrap_or_else(|error| panic!("{error}"))
        .command
        .args
}

fn event(number: u8) -> Event {
    let timestamp = Timestamp::from_millis(START + i64::from(number) * 60_000);
    let text = |text: &str| Some(text.into());
    Event {
        event_id: id::event_id(timestamp, [number; 10]).into(),
        timestamp,
        workload_svid: text("spiffe://cluster.local/ns/prod/sa/data-pipeline"),
        workload_type: text("kubernetes-pod"),
        target_service: "internal-data-api.prod.svc.cluster.local".into(),
        policy_matched: text("allow:data-pipeline:internal-api:read"),
        token_issued: true,
        token_id: text("tok_prod_8a3f2c1e"),
        ttl_seconds: Some(900),
        request_method: "GET".into(),
        request_path: "/api/v1/records".into(),
        outcome: Outcome::Permitted,
        latency_ms: 3.2,
        code: None,
        policy: None,
        trust_provider: None,
        credential_provider: None,
        audience: text("https://internal"),
        attribute: None,
        expected: None,
        actual: None,
        mode: Mode::Enforce,
        would_be_outcome: None,
        would_be_policy: None,
        conditions: Vec::new(),
        policy_revision: "".into(),
        edge: "".into(),
        listener: "".into(),
        source_address: text("10.1.2.3:40312"),
        count: 1,
        repeats: None,
        target_origin: None,
        attributes: None,
        attested_by: Vec::new(),
        record: attache_core::event::Record::Access,
        lease: None,
        reported: None,
        token_request: None,
    }
}

fn denied(number: u8) -> Event {
    let text = |text: &str| Some(text.into());
    Event {
        outcome: Outcome::Denied,
        code: text("attribute-mismatch"),
        attribute: text("k8s.namespace"),
        expected: text("production"),
        actual: text("staging"),
        policy_matched: None,
        token_issued: false,
        token_id: None,
        ttl_seconds: None,
        audience: None,
        ..event(number)
    }
}

async fn journal(events: impl IntoIterator<Item = Event>) -> (TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalConfig::new(dir.path())).unwrap();
    for event in events {
        journal.record(event).await.unwrap();
    }
    (dir, journal)
}

fn shown(dir: &TempDir, words: &[&str]) -> String {
    let mut out = Vec::new();
    let now = Timestamp::from_millis(START + 10 * 60_000);
    run(&args(words), dir.path(), now, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn a_line_tells_when_how_who_what_and_why() {
    let (dir, _journal) = journal([
        event(0),
        denied(1),
        Event {
            workload_svid: None,
            actual: None,
            ..denied(2)
        },
        Event {
            count: 117,
            repeats: Some("evt_first".into()),
            ..denied(3)
        },
        Event {
            mode: Mode::Observe,
            would_be_outcome: Some(Outcome::Denied),
            ..event(4)
        },
    ])
    .await;
    let id = |number| event(number).event_id;
    let expected = [
        format!(
            "2026-06-14T03:47:22.341Z  permitted  {}  spiffe://cluster.local/ns/prod/sa/data-pipeline   GET internal-data-api.prod.svc.cluster.local/api/v1/records  allow:data-pipeline:internal-api:read, tok_prod_8a3f2c1e 900s for https://internal, 3.2 ms",
            id(0)
        ),
        format!(
            "2026-06-14T03:48:22.341Z  denied     {}  spiffe://cluster.local/ns/prod/sa/data-pipeline   GET internal-data-api.prod.svc.cluster.local/api/v1/records  attribute-mismatch: k8s.namespace expected \"production\", actual \"staging\", 3.2 ms",
            id(1)
        ),
        format!(
            "2026-06-14T03:49:22.341Z  denied     {}  unproven caller at 10.1.2.3:40312                 GET internal-data-api.prod.svc.cluster.local/api/v1/records  attribute-mismatch: k8s.namespace expected \"production\", actual nothing, 3.2 ms",
            id(2)
        ),
        format!(
            "2026-06-14T03:50:22.341Z  denied     {}  spiffe://cluster.local/ns/prod/sa/data-pipeline   GET internal-data-api.prod.svc.cluster.local/api/v1/records  attribute-mismatch: k8s.namespace expected \"production\", actual \"staging\", 117 more like evt_first, 3.2 ms",
            id(3)
        ),
        format!(
            "2026-06-14T03:51:22.341Z  permitted  {}  spiffe://cluster.local/ns/prod/sa/data-pipeline   GET internal-data-api.prod.svc.cluster.local/api/v1/records  allow:data-pipeline:internal-api:read, tok_prod_8a3f2c1e 900s for https://internal, observed only, would be denied, 3.2 ms",
            id(4)
        ),
    ];
    assert_eq!(shown(&dir, &[]).lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn json_is_the_event_as_it_is_stored() {
    let (dir, _journal) = journal([event(0), denied(1)]).await;
    let text = shown(&dir, &["--output", "json"]);
    let events: Vec<Event> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events, [event(0), denied(1)]);
    assert!(text.starts_with("{\"event_id\":\"evt_"));
}

#[tokio::test]
async fn each_option_narrows_what_is_shown() {
    let (dir, _journal) = journal((0..5).map(event).chain((5..8).map(denied))).await;
    let minute = |number| event(number).timestamp.to_string();
    let (third, sixth, id) = (minute(3), minute(6), event(2).event_id);
    let cases: [(&[&str], usize); 12] = [
        (&[], 8),
        (&["--since", "5m"], 3),
        (&["--since", &third], 5),
        (&["--since", &third, "--until", &sixth], 4),
        (&["--workload", "data-pipeline"], 8),
        (&["--workload", "someone-else"], 0),
        (&["--target", "internal-api"], 5),
        (&["--outcome", "denied"], 3),
        (&["--outcome", "error"], 0),
        (&["--code", "attribute-mismatch"], 3),
        (&["--event", &id], 1),
        (&["--limit", "2"], 2),
    ];
    for (words, expected) in cases {
        assert_eq!(shown(&dir, words).lines().count(), expected, "{words:?}");
    }
    assert!(
        shown(&dir, &["--limit", "1"]).starts_with(&minute(7)),
        "the newest are shown"
    );
}

#[test]
fn a_time_is_an_age_or_a_point() {
    assert_eq!(
        parse_when("90s").unwrap(),
        When::Ago(Duration::from_secs(90))
    );
    assert_eq!(
        parse_when("2w").unwrap(),
        When::Ago(Duration::from_secs(14 * 86_400))
    );
    let point = When::At(Timestamp::from_millis(START));
    assert_eq!(parse_when("2026-06-14T03:47:22.341Z").unwrap(), point);
    assert_eq!(parse_when("2026-06-14T05:47:22.341+02:00").unwrap(), point);
    for wrong in [
        "",
        "h",
        "1",
        "1y",
        "-1h",
        "+1h",
        "1.5h",
        "99999999999999999999s",
        "yesterday",
        "1ℎ",
    ] {
        assert!(parse_when(wrong).is_err(), "{wrong}");
    }
    assert!(Cli::try_parse_from(["audit", "--dir", "d", "--since", "soon"]).is_err());
}

#[tokio::test]
async fn hostile_text_never_reaches_the_terminal_raw() {
    let hostile = "/\x1b[2J\x1b]0;owned\x07\n\u{9b}31m\u{202e}".repeat(60 * 1024 / 24);
    let (dir, _journal) = journal([]).await;
    // Past the journal, which would have escaped it: as if somebody edited the file.
    let name = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let path = name
        .into_iter()
        .find(|path| path.to_string_lossy().contains("denied-"))
        .unwrap();
    let short = hostile.chars().take(100).collect::<String>();
    let tampered = Event {
        event_id: short.clone().into(),
        workload_svid: Some(short.clone().into()),
        target_service: short.into(),
        actual: Some(hostile.into()),
        ..denied(0)
    };
    std::fs::write(
        path,
        serde_json::to_string(&tampered).unwrap() + "\n\x1b[2J\n",
    )
    .unwrap();
    for output in ["text", "json"] {
        let text = shown(&dir, &["--output", output]);
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.trim_end_matches('\n').chars().all(text::is_printable),
            "{text}"
        );
        assert!(text.len() < 20_000, "{}", text.len());
    }
}

/// A reader at the other end of a pipe that holds nothing.
struct Reader(mpsc::SyncSender<String>);

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.0
            .send(text)
            .map_err(|_gone| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn following_begins_with_the_newest_and_ends_quietly_when_its_reader_goes() {
    let (dir, journal) = journal((0..30).map(event)).await;
    let (sender, lines) = mpsc::sync_channel(0);
    let path = dir.path().to_owned();
    let follower = std::thread::spawn(move || {
        let follow = args(&["--follow", "--output", "json"]);
        run(
            &follow,
            &path,
            Timestamp::from_millis(START),
            &mut Reader(sender),
        )
    });
    let mut text = String::new();
    let mut next = || {
        while !text.contains('\n') {
            text.push_str(&lines.recv_timeout(Duration::from_secs(60)).unwrap());
        }
        let (line, rest) = text.split_once('\n').unwrap();
        let event: Event = serde_json::from_str(line).unwrap();
        text = rest.to_owned();
        event
    };
    for number in 20..30 {
        assert_eq!(next(), event(number));
    }
    for number in 30..40 {
        journal.record(event(number)).await.unwrap();
        assert_eq!(next(), event(number));
    }
    drop(lines);
    journal.record(event(40)).await.unwrap();
    follower.join().unwrap().unwrap();
}

#[test]
fn a_journal_that_is_not_there_is_an_error_that_names_it() {
    let error = run(
        &args(&[]),
        Path::new("/nowhere/audit"),
        Timestamp::from_millis(0),
        &mut Vec::new(),
    );
    assert!(error.unwrap_err().to_string().contains("/nowhere/audit"));
}
