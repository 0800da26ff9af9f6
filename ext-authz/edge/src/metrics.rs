//! What the edge counts and measures, in OpenMetrics text or in that of Prometheus. docs/metrics.md says what each
//! one means.
//!
//! SECURITY: labels hold stable codes and names of the configuration and the policies alone, never what a
//! caller sent: nobody outside can add a series, and no series can hold a secret.

use std::{sync::Arc, time::Duration};

use attache_core::event::Outcome;
use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use self::{process::Process, state::EdgeState};
use crate::{
    admin::Admin,
    stages::{Passed, Stage},
};

mod classic;
mod credentials;
mod process;
mod signing_keys;
mod state;

pub use self::signing_keys::{SigningKey, SigningKeys};

/// What the answer is (OpenMetrics 1.0, §5.3).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The code of a decision that has none.
const NO_CODE: &str = "none";

/// Upper bounds in seconds: a warm decision takes less than a millisecond, one that waits for keys as long as
/// the edge lets it.
const DURATIONS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// Upper bounds in seconds of the parts of a decision: a warm one takes microseconds.
const STAGE_DURATIONS: [f64; 14] = [
    0.000_01, 0.000_025, 0.000_05, 0.0001, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05,
    0.1, 0.5, 2.5,
];

/// What is counted while calls are answered.
#[derive(Clone)]
pub struct Metrics {
    decisions: Family<Decided, Counter>,
    durations: Family<Ended, Histogram, fn() -> Histogram>,
    reported: Family<OfKept, Counter>,
    revalidated: Family<OfKept, Counter>,
    stages: Family<Staged, Histogram, fn() -> Histogram>,
    at_hand: AtHand,
}

/// Those of the histograms that every call is in, found once.
#[derive(Clone)]
struct AtHand {
    permitted: Histogram,
    evidence: Histogram,
    decide: Histogram,
    credential: Histogram,
    audit: Histogram,
}

/// INVARIANT: every value comes from the configuration or from a fixed list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    listener: String,
    outcome: &'static str,
    code: String,
}

/// What became of answers that proxies keep.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKept {
    listener: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Staged {
    stage: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let durations: Family<_, _, fn() -> _> =
            Family::new_with_constructor(|| Histogram::new(DURATIONS));
        let stages: Family<_, _, fn() -> _> =
            Family::new_with_constructor(|| Histogram::new(STAGE_DURATIONS));
        let permitted = Ended {
            outcome: outcome_name(Outcome::Permitted),
        };
        let stage = |stage: Stage| {
            let stage = stage.name();
            stages.get_or_create_owned(&Staged { stage })
        };
        Self {
            at_hand: AtHand {
                permitted: durations.get_or_create_owned(&permitted),
                evidence: stage(Stage::Evidence),
                decide: stage(Stage::Decide),
                credential: stage(Stage::Credential),
                audit: stage(Stage::Audit),
            },
            decisions: Family::default(),
            durations,
            reported: Family::default(),
            revalidated: Family::default(),
            stages,
        }
    }
}

impl Metrics {
    /// A call of `listener` was answered after `took`; `code` is the stable code of the decision.
    pub(crate) fn answered(
        &self,
        listener: &str,
        outcome: Outcome,
        code: Option<&str>,
        took: Duration,
    ) {
        let took = took.as_secs_f64();
        let permitted = outcome == Outcome::Permitted;
        let outcome = outcome_name(outcome);
        let decided = Decided {
            listener: listener.to_owned(),
            outcome,
            code: code.unwrap_or(NO_CODE).to_owned(),
        };
        self.decisions.get_or_create(&decided).inc();
        if permitted {
            self.at_hand.permitted.observe(took);
        } else {
            self.durations
                .get_or_create(&Ended { outcome })
                .observe(took);
        }
    }

    /// Has what is counted of `listener` begin at 0.
    fn begin(&self, listener: &str) {
        for result in ["recorded", "known", "refused", "lost"] {
            let listener = listener.to_owned();
            drop(self.reported.get_or_create(&OfKept { listener, result }));
        }
        for result in ["confirmed", "dropped"] {
            let listener = listener.to_owned();
            drop(self.revalidated.get_or_create(&OfKept { listener, result }));
        }
    }

    /// `count` accesses that a proxy of `listener` answered from memory came to `result`.
    pub(crate) fn reported(&self, listener: &str, result: &'static str, count: u64) {
        if count > 0 {
            let of = OfKept {
                listener: listener.to_owned(),
                result,
            };
            self.reported.get_or_create(&of).inc_by(count);
        }
    }

    /// An answer that a proxy of `listener` keeps was decided again.
    pub(crate) fn revalidated(&self, listener: &str, confirmed: bool) {
        let of = OfKept {
            listener: listener.to_owned(),
            result: if confirmed { "confirmed" } else { "dropped" },
        };
        self.revalidated.get_or_create(&of).inc();
    }

    /// What an access went through.
    pub(crate) fn passed(&self, stages: &[Passed]) {
        for passed in stages {
            let took = passed.took.as_secs_f64();
            let at = &self.at_hand;
            match passed.stage {
                Stage::Evidence => at.evidence.observe(took),
                Stage::Decide => at.decide.observe(took),
                Stage::Credential => at.credential.observe(took),
                Stage::Audit => at.audit.observe(took),
            }
        }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "decisions",
            "Calls that were answered",
            self.decisions.clone(),
        );
        registry.register(
            "reported_accesses",
            "Accesses that proxies answered from memory and reported",
            self.reported.clone(),
        );
        registry.register(
            "revalidated_answers",
            "Answers kept by proxies that were decided again",
            self.revalidated.clone(),
        );
        registry.register_with_unit(
            "decision_duration",
            "Time from a call's arrival to its answer, its recording included",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register_with_unit(
            "stage_duration",
            "Time that a call spent in a stage",
            Unit::Seconds,
            self.stages.clone(),
        );
    }
}

pub(crate) const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Permitted => "permitted",
        Outcome::Denied => "denied",
        Outcome::Error => "error",
    }
}

/// How many scrapes there are at once; two servers that watch each other's are usual.
const MAX_SCRAPES: usize = 4;

struct Scraped {
    registry: Registry,
    scrapes: Semaphore,
}

/// Serves the metrics of `admin`'s edge at `/metrics`, and nothing else.
pub fn router(admin: Arc<Admin>) -> Router {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process {
        started_at: admin.started_at,
    }));
    for listener in &admin.listeners {
        admin.edge.metrics.begin(&listener.name);
    }
    let ours = registry.sub_registry_with_prefix("attache");
    admin.edge.metrics.register(ours);
    ours.register_collector(Box::new(EdgeState(admin)));
    let scrapes = Semaphore::new(MAX_SCRAPES);
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::new(Scraped { registry, scrapes }))
}

async fn metrics(State(scraped): State<Arc<Scraped>>, headers: HeaderMap) -> Response {
    // Whoever reaches the port may ask; each scrape takes a thread of those that write the journal.
    let Ok(_leave) = scraped.scrapes.try_acquire() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many scrapes at once\n",
        )
            .into_response();
    };
    let asked = Arc::clone(&scraped);
    // Some of it is gathered under locks; the threads that answer Envoy must not wait for it.
    let encoding = spawn_blocking(move || {
        let mut text = String::new();
        text::encode(&mut text, &asked.registry).map(|()| text)
    });
    match encoding.await {
        Ok(Ok(text)) if wants_open_metrics(&headers) => {
            ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
        }
        Ok(Ok(text)) => {
            let text = classic::from_open_metrics(&text);
            ([(CONTENT_TYPE, classic::CONTENT_TYPE)], text).into_response()
        }
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Prometheus names it; `curl` does not.
fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).into_iter();
    let mut texts = accepted.filter_map(|value| value.to_str().ok());
    texts.any(|text| text.contains("application/openmetrics-text"))
}

#[cfg(test)]
mod tests;
