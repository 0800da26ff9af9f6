//! How many files this process may have open. Each connection is up to three, so a limit that is too low lets
//! strangers' connections keep everybody else's out, and the journal's files closed.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// What the process needs besides the edge's connections: libraries, journal, store, watches, key fetches, and
/// the connections of the issuer and of the admin socket.
const OTHERS: u64 = 1024;

/// Raises the soft limit to the hard one, and tells if that is less than `listeners` ports need.
pub(crate) fn raise(listeners: usize) {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if before.current != before.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        warn!(%error, "the limit of open files could not be raised");
    }
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (shown(limit.current), shown(limit.maximum));
    info!(soft, hard, was = shown(before.current), "open files");
    let needed = needed(listeners);
    if is_short(limit.current, needed) {
        warn!(
            needed,
            soft,
            "fewer files may be open than the listeners may have connections; raise the hard limit (ulimit -Hn, LimitNOFILE)"
        );
    }
}

/// For all the connections that the listeners admit.
fn needed(listeners: usize) -> u64 {
    let slots = attache_edge::listener::MAX_OPEN_FILES.saturating_mul(listeners);
    u64::try_from(slots)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS)
}

/// `None` is no limit.
const fn is_short(limit: Option<u64>, needed: u64) -> bool {
    match limit {
        Some(limit) => limit < needed,
        None => false,
    }
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests;
