//! Waiting for a condition, with a limit: the one place where a test lets time pass.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a peer may take. Generous: it is only ever used up by a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const PACE: Duration = Duration::from_millis(20);

/// Asks `attempt` until it answers `Some`, for at most [`PATIENCE`]. `what` completes "waited for …".
pub async fn until<T>(what: &str, attempt: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    until_at(PACE, what, attempt).await
}

/// The same at another pace, for who measures how long it takes.
pub async fn until_at<T>(
    pace: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let mut pace = interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let asking = async {
        loop {
            pace.tick().await;
            if let Some(answer) = attempt().await {
                return answer;
            }
        }
    };
    timeout(PATIENCE, asking)
        .await
        .with_context(|| format!("waited {PATIENCE:?} for {what}"))
}

/// Runs `work` for at most [`PATIENCE`].
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, work)
        .await
        .with_context(|| format!("waited {PATIENCE:?} for {what}"))
}
