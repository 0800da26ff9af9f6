use attache_core::event::Outcome;

use super::*;
use crate::stages::{Stage, Stages};

fn parent(flags: &str) -> Parent {
    let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    Parent::among(|name| {
        (name == "traceparent")
            .then_some(text.as_bytes())
            .into_iter()
    })
    .unwrap()
}

const fn told() -> Told<'static> {
    Told {
        outcome: Outcome::Denied,
        outcome_name: "denied",
        decision_id: "evt_1",
        listener: "egress",
        code: Some("no-policy"),
        policy: None,
        policy_revision: "r",
        trust_provider: None,
        credential_provider: None,
    }
}

fn nobody() -> Receiver {
    Receiver {
        endpoint: "http://127.0.0.1:1".to_owned(),
        ca: None,
        service: "attache".to_owned(),
        instance: "edge".to_owned(),
    }
}

#[tokio::test]
async fn the_stages_stand_below_the_call_and_the_call_below_its_caller() {
    let began = Instant::now();
    let mut stages = Stages::default();
    stages.enter(Stage::Evidence, began);
    stages.enter(Stage::Audit, began + Duration::from_millis(2));
    stages.end(began + Duration::from_millis(3));
    let moments = Moments {
        began,
        began_nanos: 5_000_000_000,
    };
    let parent = parent("01");
    let spans = span::of_call(&parent, &told(), &moments, stages.passed());
    let [whole, evidence, audit] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(whole.parent_span_id, parent.span_id);
    assert_eq!(
        (whole.name.as_str(), whole.start_time_unix_nano),
        ("attache.decision", 5_000_000_000)
    );
    let names: Vec<_> = [evidence, audit].map(|span| span.name.as_str()).into();
    assert_eq!(names, ["attache.evidence", "attache.audit"]);
    assert_eq!(evidence.end_time_unix_nano, 5_002_000_000);
    assert_eq!(audit.start_time_unix_nano, 5_002_000_000);
    for span in &spans {
        assert_eq!(span.trace_id, parent.trace_id);
        assert_eq!(span.flags & 1, 1);
    }
    assert!(
        [evidence, audit]
            .iter()
            .all(|stage| stage.parent_span_id == whole.span_id)
    );
    assert_ne!(evidence.span_id, audit.span_id);
}

#[tokio::test(start_paused = true)]
async fn what_the_queue_has_no_room_for_is_counted_and_nobody_waits() {
    let (traces, _task) = Traces::start(nobody(), CancellationToken::new()).unwrap();
    let began = Instant::now();
    // Nobody else runs in between: this test has the only thread.
    for _ in 0..QUEUE + 10 {
        traces.record(&parent("01"), &told(), began, &[]);
    }
    let status = traces.status();
    assert_eq!((status.lost, status.queued), (10, QUEUE));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_call_that_is_not_sampled_leaves_no_span() {
    let (traces, _task) = Traces::start(nobody(), CancellationToken::new()).unwrap();
    traces.record(&parent("00"), &told(), Instant::now(), &[]);
    assert_eq!(traces.status(), TracesStatus::default());
}

#[tokio::test]
async fn what_a_receiver_that_is_away_did_not_get_is_counted() {
    let stop = CancellationToken::new();
    let (traces, task) = Traces::start(nobody(), stop.clone()).unwrap();
    for _ in 0..3 {
        traces.record(&parent("01"), &told(), Instant::now(), &[]);
    }
    stop.cancel();
    task.await.unwrap();
    let status = traces.status();
    assert_eq!((status.exported, status.lost, status.queued), (0, 3, 0));
}

#[test]
fn an_endpoint_that_is_no_url_is_refused() {
    let receiver = Receiver {
        endpoint: "not a url".to_owned(),
        ..nobody()
    };
    assert!(receiver.exporter(Arc::default()).is_err());
}
