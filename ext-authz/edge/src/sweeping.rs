//! Frees the memory of what expired, and of what nobody asks for.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{clock, pipeline::Edge};

/// How long what is of no use stays in memory at most, beside its time.
const EVERY: Duration = Duration::from_mins(1);

/// Goes on until it is dropped.
pub async fn follow(edge: Arc<Edge>) {
    loop {
        sleep(EVERY).await;
        let now = clock::now();
        edge.trust.sweep(now);
        edge.credentials.sweep(now);
    }
}
