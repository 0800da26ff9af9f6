//! Ranges of source addresses.

use std::net::IpAddr;

use attache_core::event::ConditionOutcome;
use ipnet::IpNet;

use super::met;

/// Some ranges, never none.
#[derive(Debug)]
pub(crate) struct Ranges(pub(crate) Box<[IpNet]>);

impl Ranges {
    /// SECURITY: `::ffff:10.0.0.1` is 10.0.0.1, whichever socket the call came in by.
    pub(super) fn read(&self, source: Option<IpAddr>) -> ConditionOutcome {
        source.map_or(ConditionOutcome::Unavailable, |source| {
            let source = source.to_canonical();
            met(self.0.iter().any(|range| range.contains(&source)))
        })
    }
}
