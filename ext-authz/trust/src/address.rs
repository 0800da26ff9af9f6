//! Where a connection for keys may go. A name is checked when it is connected to, by the addresses that it
//! has then: what it had when the configuration was read says nothing about them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use tokio::net::lookup_host;
use url::{Host, Url};

#[cfg(test)]
mod tests;

/// Metadata services of clouds that stand on addresses which are not link-local: Alibaba Cloud, AWS (IPv6),
/// AWS EKS (IPv6), Google Cloud (IPv6), Azure, Oracle Cloud.
const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// A name that leads where no issuer is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{host} is {address}, an address of this link, of a metadata service, or of nobody")]
pub(crate) struct ForbiddenAddress {
    host: String,
    address: IpAddr,
}

/// Whether an issuer may have this address. Private and loopback addresses are allowed: clusters have them.
///
/// SECURITY: link-local addresses are those of metadata services, which give credentials to whoever asks;
/// unspecified ones are this machine by another name.
pub(crate) fn is_allowed(address: IpAddr) -> bool {
    let address = address.to_canonical();
    if METADATA.contains(&address) || address.is_unspecified() || address.is_multicast() {
        return false;
    }
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            !address.is_link_local() && !address.is_broadcast() && first != 0
        }
        IpAddr::V6(address) => {
            let translated = translated(address).is_none_or(|inner| is_allowed(inner.into()));
            // RFC 8215: whoever runs a translator there says where in it the IPv4 address stands.
            let local_translator = matches!(address.segments(), [0x64, 0xff9b, 1, ..]);
            !address.is_unicast_link_local() && !local_translator && translated
        }
    }
}

/// The IPv4 address that somebody on the way may take an IPv6 address for: a translator (RFC 6052 §2.1,
/// `64:ff9b::/96`), a tunnel (6to4, RFC 3056 §2, `2002::/16`), or a host that still knows IPv4-compatible
/// addresses (RFC 4291 §2.5.5.1, `::/96`), of which `::1` is none.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        _ if address.is_loopback() => return None,
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => (high, low),
        _other => return None,
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

/// Checks a URL whose host is an address; a name is checked when it is resolved.
pub(crate) fn check(url: &Url) -> Result<(), ForbiddenAddress> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if is_allowed(address) {
        return Ok(());
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    Err(ForbiddenAddress { host, address })
}

/// Resolves names by the system, and refuses a name with a forbidden address as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckedAddresses;

impl Resolve for CheckedAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            let addresses = checked(name.as_str(), found.collect())?;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

fn checked(host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ForbiddenAddress> {
    let forbidden = found.iter().find(|found| !is_allowed(found.ip()));
    match forbidden {
        None => Ok(found),
        Some(forbidden) => Err(ForbiddenAddress {
            host: host.to_owned(),
            address: forbidden.ip(),
        }),
    }
}
