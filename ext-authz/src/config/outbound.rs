//! The section `outbound`: where calls of ours may go.

use attache_outbound::{IpNet, Proxy, Reach};

use super::layers::Section;

pub(super) fn lower(mut section: Section<'_>) -> Option<Reach> {
    let networks = section.or("allow_networks", vec![], |at| {
        at.list(|at| {
            at.parse(|text| {
                text.parse::<IpNet>().map_err(|_error| {
                    format!(
                        "{text:?} is not a network; write one like 127.0.0.0/8, or 169.254.20.10/32 for one address"
                    )
                })
            })
        })
    });
    let proxies = [("none", Proxy::None), ("environment", Proxy::Environment)];
    let proxy = section.or("proxy", Proxy::None, |at| at.one_of(&proxies));
    let (networks, proxy) = (networks?, proxy?);
    Some(Reach::with(networks).through(proxy))
}
