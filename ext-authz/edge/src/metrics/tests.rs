use std::time::Duration;

use attache_core::event::Outcome;
use prometheus_client::{encoding::text, registry::Registry};

use super::Metrics;

fn text_of(metrics: &Metrics) -> String {
    let mut registry = Registry::with_prefix("attache");
    metrics.register(&mut registry);
    let mut written = String::new();
    text::encode(&mut written, &registry).unwrap();
    written
}

#[test]
fn an_answer_is_counted_by_listener_outcome_and_code_and_its_time_by_outcome() {
    let metrics = Metrics::default();
    let answered = |outcome, code, millis| {
        metrics.answered("egress", outcome, code, Duration::from_millis(millis));
    };
    answered(Outcome::Permitted, None, 1);
    answered(Outcome::Denied, Some("no-policy"), 1);
    answered(Outcome::Denied, Some("no-policy"), 200);
    let text = text_of(&metrics);
    for line in [
        r#"attache_decisions_total{listener="egress",outcome="permitted",code="none"} 1"#,
        r#"attache_decisions_total{listener="egress",outcome="denied",code="no-policy"} 2"#,
        r#"attache_decision_duration_seconds_count{outcome="denied"} 2"#,
        r#"attache_decision_duration_seconds_bucket{le="0.001",outcome="denied"} 1"#,
        r#"attache_decision_duration_seconds_bucket{le="0.25",outcome="denied"} 2"#,
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is missing in\n{text}"
        );
    }
}

#[test]
fn a_listener_of_any_name_is_one_label() {
    let metrics = Metrics::default();
    let name = "a\"} 1\nforged 2\\";
    metrics.answered(name, Outcome::Error, Some("overloaded"), Duration::ZERO);
    let text = text_of(&metrics);
    assert!(
        text.contains(r#"{listener="a\"} 1\nforged 2\\",outcome="#),
        "{text}"
    );
    assert!(
        !text.lines().any(|line| line.starts_with("forged")),
        "{text}"
    );
}
