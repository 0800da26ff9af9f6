//! Ranges of source addresses.

use std::net::IpAddr;

use attache_core::event::ConditionOutcome;
use ipnet::IpNet;

use super::met;

/// Some ranges, never none.
#[derive(Debug)]
pub(crate) struct Ranges(pub(crate) Box<[IpNet]>);

/// What callers come from: all of IPv4 but "this network" and what begins at 224 (RFC 6890), and the part of
/// IPv6 that is given out (RFC 4291 §2.4).
const OUTSIDE_OF_UNICAST: [&str; 2] = ["0.0.0.0/8", "224.0.0.0/3"];
const GLOBAL_IPV6: &str = "2000::/3";

impl Ranges {
    /// Whether some ranges leave out no address of IPv4, or none of IPv6, that a caller may have.
    pub(crate) fn hold_every_address(ranges: &[IpNet]) -> bool {
        let outside = OUTSIDE_OF_UNICAST
            .iter()
            .filter_map(|text| text.parse().ok());
        let all: Vec<IpNet> = ranges.iter().copied().chain(outside).collect();
        let global: Option<IpNet> = GLOBAL_IPV6.parse().ok();
        IpNet::aggregate(&all).iter().any(|range| {
            range.prefix_len() == 0 || global.is_some_and(|global| range.contains(&global))
        })
    }

    /// SECURITY: `::ffff:10.0.0.1` is 10.0.0.1, whichever socket the call came in by.
    pub(super) fn read(&self, source: Option<IpAddr>) -> ConditionOutcome {
        source.map_or(ConditionOutcome::Unavailable, |source| {
            let source = source.to_canonical();
            met(self.0.iter().any(|range| range.contains(&source)))
        })
    }
}
