//! What is not counted call by call but stands somewhere already, read when somebody asks for it.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    sync::Arc,
    time::Duration,
};

use attache_core::time::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Unit,
};

use super::{credentials, signing_keys};
use crate::{
    admin::Admin,
    clock,
    traces::{Traces, TracesStatus},
};

/// The state of one edge.
pub(super) struct EdgeState(pub(super) Arc<Admin>);

impl Debug for EdgeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeState")
    }
}

impl Collector for EdgeState {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut told = Told(encoder);
        let admin = &*self.0;
        told.info(
            "build",
            "The program",
            &[("version", env!("CARGO_PKG_VERSION"))],
        )?;
        let ready = admin.readiness.blocked_by().is_empty();
        told.gauge(
            "ready",
            "1 while the edge is ready, 0 otherwise",
            &u64::from(ready),
        )?;
        calls(&mut told, admin)?;
        policy(&mut told, admin)?;
        audit(&mut told, admin)?;
        trust(&mut told, admin)?;
        credentials::tell(&mut told, &admin.edge.credentials.counts())?;
        credentials::secrets(&mut told, admin.edge.credentials.secrets())?;
        if let Some(keys) = &admin.signing_keys {
            signing_keys::tell(&mut told, &**keys)?;
        }
        traces(&mut told, admin)
    }
}

fn calls(told: &mut Told<'_>, admin: &Admin) -> fmt::Result {
    let calls = &admin.edge.calls;
    told.gauge(
        "calls_in_flight",
        "Calls that wait for their answers",
        &calls.in_flight(),
    )?;
    told.gauge(
        "calls_in_flight_limit",
        "How many calls may wait for their answers at once",
        &calls.most(),
    )?;
    told.counter(
        "calls_turned_away",
        "Calls that were answered with overloaded",
        calls.turned_away(),
    )?;
    told.counter(
        "calls_turned_away_unrecorded",
        "Calls that were answered with overloaded and have no audit event",
        calls.untold(),
    )?;
    told.gauge(
        "watch_streams",
        "Streams that tell proxies of changes",
        &admin.edge.tokens.streams(),
    )?;
    told.gauge(
        "reporters",
        "Lives of proxies whose reports are told apart",
        &admin.edge.tokens.reporters(),
    )
}

fn policy(told: &mut Told<'_>, admin: &Admin) -> fmt::Result {
    let state = admin.reload.state();
    told.info(
        "policy",
        "The policy set in force",
        &[("revision", &state.revision)],
    )?;
    told.timestamp(
        "policy_accepted_timestamp",
        "When the policy set in force was accepted",
        state.accepted_at,
    )?;
    let refused = state.refused.is_some();
    told.gauge(
        "policy_refused",
        "1 while what the policy directory holds is refused, 0 otherwise",
        &u64::from(refused),
    )?;
    told.gauge(
        "policy_stalled",
        "1 while the policy directory or the folder of state does not answer, 0 otherwise",
        &u64::from(state.stalled_since.is_some()),
    )?;
    told.gauge(
        "policy_last_good",
        "1 while the set in force is the last good one of an earlier run, 0 otherwise",
        &u64::from(state.is_last_good),
    )?;
    told.counters(
        "policy_reloads",
        "How often what the policy directory holds was judged",
        "result",
        &[
            ("accepted", state.judged.accepted),
            ("unchanged", state.judged.unchanged),
            ("refused", state.judged.refused),
        ],
    )
}

fn audit(told: &mut Told<'_>, admin: &Admin) -> fmt::Result {
    let journal = admin.edge.journal.status();
    told.counters(
        "audit_events",
        "Accesses, by what became of their audit event",
        "result",
        &[
            ("recorded", journal.written),
            ("coalesced", journal.coalesced),
            ("refused", journal.refused),
            ("lost", journal.lost),
        ],
    )?;
    told.gauge(
        "audit_queue_length",
        "Audit events that wait to be written",
        &journal.queued,
    )?;
    told.gauge(
        "audit_failing",
        "1 while the audit journal cannot be written, 0 otherwise",
        &u64::from(journal.failing.is_some()),
    )?;
    told.gauge(
        "audit_segments",
        "Files of the audit journal",
        &journal.segments,
    )?;
    told.bytes(
        "audit_size",
        "What the audit journal takes on its disk",
        journal.bytes,
    )
}

fn trust(told: &mut Told<'_>, admin: &Admin) -> fmt::Result {
    let now = clock::now();
    let providers = admin.edge.trust.status(now);
    let by_name = |value: fn(&attache_trust::ProviderStatus) -> u64| -> Vec<(&str, u64)> {
        let values = providers.iter();
        values
            .map(|provider| (provider.name.as_str(), value(provider)))
            .collect()
    };
    told.gauges(
        "trust_provider_usable",
        "1 while evidence of the trust provider can be judged, 0 otherwise",
        "provider",
        &by_name(|provider| u64::from(provider.usable)),
    )?;
    told.gauges(
        "trust_provider_failing",
        "1 while the newest attempt to fetch the keys of the trust provider failed, 0 otherwise",
        "provider",
        &by_name(|provider| u64::from(provider.last_error.is_some())),
    )?;
    told.gauges(
        "trust_provider_keys",
        "Keys that may verify evidence of the trust provider",
        "provider",
        &by_name(|provider| u64::try_from(provider.keys.unwrap_or_default()).unwrap_or(u64::MAX)),
    )?;
    // As a moment, so that an alert needs no scrape to be recent.
    let fetched: Vec<(&str, i64)> = providers
        .iter()
        .filter_map(|provider| Some((provider.name.as_str(), before(now, provider.key_age?))))
        .collect();
    told.timestamps(
        "trust_provider_keys_fetched_timestamp",
        "When the keys of the trust provider were fetched last",
        "provider",
        &fetched,
    )
}

/// In seconds since 1970.
fn before(now: Timestamp, age: Duration) -> i64 {
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    now.as_seconds().saturating_sub(age)
}

fn traces(told: &mut Told<'_>, admin: &Admin) -> fmt::Result {
    let status = admin.edge.traces.as_ref();
    let status = status.map_or_else(TracesStatus::default, Traces::status);
    told.counters(
        "trace_spans",
        "Spans of traces, by what became of them",
        "result",
        &[("exported", status.exported), ("lost", status.lost)],
    )?;
    told.gauge(
        "trace_queue_length",
        "Calls whose spans wait to be sent",
        &status.queued,
    )
}

/// Writes one metric after another.
pub(super) struct Told<'e>(DescriptorEncoder<'e>);

impl Told<'_> {
    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Info)?;
        metric.encode_info(&labels)
    }

    /// One for each list of values of `labels`; in seconds if `seconds` says so.
    pub(super) fn family<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        seconds: Option<()>,
        labels: [&str; N],
        values: BTreeMap<[&str; N], u64>,
    ) -> fmt::Result {
        let unit = seconds.map(|()| Unit::Seconds);
        let mut metric = self
            .0
            .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (of, value) in values {
            let labels: Vec<_> = labels.into_iter().zip(of).collect();
            let mut one = metric.encode_family(&labels)?;
            one.encode_gauge(&value)?;
        }
        Ok(())
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: &impl EncodeGaugeValue,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(value)
    }

    /// One for each value of `label`.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            metric.encode_family(&[(label, *of)])?.encode_gauge(value)?;
        }
        Ok(())
    }

    fn timestamp(&mut self, name: &str, help: &str, at: Timestamp) -> fmt::Result {
        let unit = Unit::Seconds;
        let mut metric = self
            .0
            .encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
        metric.encode_gauge(&at.as_seconds())
    }

    /// One for each value of `label`.
    pub(super) fn timestamps(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, i64)],
    ) -> fmt::Result {
        let unit = Unit::Seconds;
        let mut metric = self
            .0
            .encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
        for (of, seconds) in values {
            metric
                .encode_family(&[(label, *of)])?
                .encode_gauge(seconds)?;
        }
        Ok(())
    }

    /// One for each pair of values of `labels`.
    pub(super) fn pairs(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        values: &[([&str; 2], u64)],
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            let labels: Vec<_> = labels.into_iter().zip(*of).collect();
            let mut one = metric.encode_family(&labels)?;
            one.encode_counter(value, NO_EXEMPLAR)?;
        }
        Ok(())
    }

    fn bytes(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let unit = Unit::Bytes;
        let mut metric = self
            .0
            .encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter(&value, NO_EXEMPLAR)
    }

    /// One for each value of `label`.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            let labels = [(label, *of)];
            let mut one = metric.encode_family(&labels)?;
            one.encode_counter(value, NO_EXEMPLAR)?;
        }
        Ok(())
    }
}

/// An exemplar would name one call.
pub(super) const NO_EXEMPLAR: Option<&Exemplar<[(&str, &str); 0], u64>> = None;
