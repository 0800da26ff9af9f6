//! How long each stage of an access took: for the histograms, and for the spans of a trace.

use tokio::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// A part of an access. What comes before the caller is asked for belongs to no stage: it takes microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Finding the evidence and verifying it.
    Evidence,
    /// Deciding by policy.
    Decide,
    /// Obtaining the credential.
    Credential,
    /// Recording the event.
    Audit,
}

impl Stage {
    /// Its name in metrics and traces.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Decide => "decide",
            Self::Credential => "credential",
            Self::Audit => "audit",
        }
    }
}

/// A stage that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) stage: Stage,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
}

/// The stages of one access, one after the other. A stage ends where the next one begins, so that one which
/// refuses, or is given up, counts with the time that it took.
#[derive(Default)]
pub(crate) struct Stages {
    running: Option<(Stage, Instant)>,
    passed: Vec<Passed>,
}

impl Stages {
    /// The next stage begins.
    pub(crate) fn enter(&mut self, stage: Stage, now: Instant) {
        self.end(now);
        self.running = Some((stage, now));
    }

    /// When the stage began, if it runs.
    pub(crate) fn running_since(&self, stage: Stage) -> Option<Instant> {
        let (running, began) = self.running?;
        (running == stage).then_some(began)
    }

    /// No stage runs any more.
    pub(crate) fn end(&mut self, now: Instant) {
        if let Some((stage, began)) = self.running.take() {
            self.passed.push(Passed {
                stage,
                began,
                took: now.saturating_duration_since(began),
            });
        }
    }

    /// Those that are over, in their order. One that was gone through again, because policy changed, stands
    /// there again.
    pub(crate) fn passed(&self) -> &[Passed] {
        &self.passed
    }
}
