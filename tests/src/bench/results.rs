//! Samples by round, and the figures that they come to.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::load::Measured;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Calls a second.
    Throughput,
    /// The latency that half of the calls did not exceed.
    P50,
    /// The latency that 99 of 100 calls did not exceed.
    P99,
    /// Processor time of the server a call.
    Cpu,
    /// Processor time a call beyond that of the proxy without any filter.
    #[serde(rename = "cpu-added")]
    Added,
    /// Resident memory.
    Rss,
    /// A file's size.
    Size,
    /// How long something took.
    Time,
}

impl Metric {
    /// In what it is counted.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Throughput => "1/s",
            Self::P50 | Self::P99 => "ms",
            Self::Cpu | Self::Added | Self::Time => "µs",
            Self::Rss => "MiB",
            Self::Size => "KiB",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Cpu => "cpu",
            Self::Added => "cpu-added",
            Self::Rss => "rss",
            Self::Size => "size",
            Self::Time => "time",
        }
    }
}

/// One figure of the results.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// `check`, `envoy`, `inside` or `memory`.
    pub group: &'static str,
    /// What was measured.
    pub variant: String,
    /// Which property of it.
    pub metric: Metric,
    /// The median of the rounds.
    pub value: f64,
    /// In what it is counted.
    pub unit: &'static str,
    /// The variant it is compared with.
    pub floor: Option<String>,
    /// The median, over the rounds, of this variant's value by the floor's of the same round.
    pub ratio: Option<f64>,
    /// How many rounds.
    pub rounds: usize,
    /// The distance of the greatest value from the smallest, by the median.
    pub spread: f64,
}

/// Values by group, variant and metric, one a round.
#[derive(Debug, Default)]
pub struct Samples(Vec<Series>);

#[derive(Debug)]
struct Series {
    group: &'static str,
    variant: String,
    metric: Metric,
    floor: Option<String>,
    values: Vec<f64>,
}

impl Samples {
    /// Notes the value of one round. `floor` names the variant of the same group and metric to compare with.
    pub fn note(
        &mut self,
        (group, variant, floor): (&'static str, &str, Option<&str>),
        metric: Metric,
        value: f64,
    ) {
        let known = self.0.iter_mut().find(|series| {
            (series.group, series.variant.as_str(), series.metric) == (group, variant, metric)
        });
        if let Some(series) = known {
            series.values.push(value);
            return;
        }
        self.0.push(Series {
            group,
            variant: variant.to_owned(),
            metric,
            floor: floor.map(str::to_owned),
            values: vec![value],
        });
    }

    /// Notes how long the calls of one round took.
    pub fn note_latencies(&mut self, tag: (&'static str, &str, Option<&str>), measured: &Measured) {
        self.note(tag, Metric::P50, measured.percentile(50.0));
        self.note(tag, Metric::P99, measured.percentile(99.0));
    }

    /// What they come to, in the order in which they were first noted.
    pub fn figures(&self) -> Vec<Figure> {
        self.0.iter().map(|series| self.figure(series)).collect()
    }

    fn figure(&self, series: &Series) -> Figure {
        let floor = series.floor.as_deref().and_then(|floor| {
            self.0.iter().find(|other| {
                (other.group, other.variant.as_str(), other.metric)
                    == (series.group, floor, series.metric)
            })
        });
        let ratio = floor.and_then(|floor| {
            let pairs = series.values.iter().zip(&floor.values);
            median(pairs.map(|(value, floor)| value / floor).collect())
        });
        let value = median(series.values.clone()).unwrap_or(f64::NAN);
        let greatest = series.values.iter().copied().fold(f64::MIN, f64::max);
        let smallest = series.values.iter().copied().fold(f64::MAX, f64::min);
        Figure {
            group: series.group,
            variant: series.variant.clone(),
            metric: series.metric,
            value,
            unit: series.metric.unit(),
            floor: floor.map(|floor| floor.variant.clone()),
            ratio,
            rounds: series.values.len(),
            spread: (greatest - smallest) / value,
        }
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(middle.checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

/// The figures as a table for a terminal.
pub fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:<8}{:<36}{:<12}{:>12} {:<5}{:>8}  {:<26}{:>8}\n",
        "group", "variant", "metric", "median", "unit", "ratio", "to", "spread"
    );
    for figure in figures {
        let ratio = figure
            .ratio
            .map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let floor = figure.floor.as_deref().unwrap_or_default();
        let spread = figure.spread * 100.0;
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "{:<8}{:<36}{:<12}{:>12.3} {:<5}{ratio:>8}  {floor:<26}{spread:>7.0}%",
            figure.group,
            figure.variant,
            figure.metric.name(),
            figure.value,
            figure.unit,
        );
    }
    text
}

/// Writes the figures as a JSON list.
pub fn write(figures: &[Figure], path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)?;
    fs::write(path, format!("{text}\n")).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
