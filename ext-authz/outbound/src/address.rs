//! Where a connection may go. A name is checked when it is connected to, by the addresses that it has then:
//! what it had when the configuration was read says nothing about them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use thiserror::Error;
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

/// An address that is not called.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{host} is {address}, {kind}; only the configuration can allow it (`outbound.allow_networks`)"
)]
pub struct ForbiddenAddress {
    host: String,
    address: IpAddr,
    kind: &'static str,
}

/// Which addresses may be called. By default public and private ones, for clusters have private ones; not
/// this machine itself, its links, metadata services, and addresses of nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    networks: Vec<IpNet>,
    proxy: Proxy,
}

/// Whether `HTTPS_PROXY` and its relatives count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Straight to the target.
    #[default]
    None,
    /// They do. SECURITY: then the proxy resolves the names of targets, and their addresses are its business; what
    /// is checked here is its own address, and the addresses that stand in URLs.
    Environment,
}

impl Reach {
    /// Besides, addresses in one of `networks`, which the operator lists.
    pub const fn with(networks: Vec<IpNet>) -> Self {
        let proxy = Proxy::None;
        Self { networks, proxy }
    }

    /// The same through the proxy of the environment, or not.
    #[must_use]
    pub fn through(self, proxy: Proxy) -> Self {
        Self { proxy, ..self }
    }

    /// Whether calls go through the proxy of the environment.
    pub const fn proxy(&self) -> Proxy {
        self.proxy
    }

    /// Besides, this machine itself.
    #[must_use]
    pub fn and_loopback(mut self) -> Self {
        let loopback = [
            IpNet::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8),
            IpNet::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
        ];
        self.networks.extend(loopback.into_iter().flatten());
        self
    }

    /// Whether `address` may be called.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.refused(address).is_none()
    }

    /// Checks a URL whose host is an address; a name is checked when it is resolved.
    pub(crate) fn check(&self, url: &Url) -> Result<(), ForbiddenAddress> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        self.check_all(url.host_str().unwrap_or_default(), [address])
    }

    /// Checks what a name resolved to: one forbidden address forbids the name, for which of them is connected
    /// to is not known yet.
    pub(crate) fn check_all(
        &self,
        host: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), ForbiddenAddress> {
        let mut refused = addresses
            .into_iter()
            .filter_map(|address| Some((address, self.refused(address)?)));
        match refused.next() {
            None => Ok(()),
            Some((address, kind)) => Err(ForbiddenAddress {
                host: host.to_owned(),
                address,
                kind,
            }),
        }
    }

    /// What an address that may not be called is.
    fn refused(&self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        // SECURITY: no listing makes sense of these: unspecified ones are this machine by another name.
        if is_nobodys(address) {
            return Some("an address of nobody");
        }
        if self.networks.iter().any(|net| net.contains(&address)) {
            return None;
        }
        // SECURITY: metadata services give credentials to whoever asks.
        if METADATA.contains(&address) {
            return Some("an address of a metadata service");
        }
        if address.is_loopback() {
            return Some("an address of this machine");
        }
        match address {
            IpAddr::V4(address) if address.is_link_local() => Some("an address of this link"),
            IpAddr::V4(_) => None,
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                Some("an address of this link")
            }
            // RFC 8215: whoever runs a translator there says where in it the IPv4 address stands.
            IpAddr::V6(address) if matches!(address.segments(), [0x64, 0xff9b, 1, ..]) => {
                Some("an address of a translator of this site")
            }
            IpAddr::V6(address) => self.refused(translated(address)?.into()),
        }
    }
}

fn is_nobodys(address: IpAddr) -> bool {
    if address.is_unspecified() || address.is_multicast() {
        return true;
    }
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            address.is_broadcast() || first == 0
        }
        IpAddr::V6(_) => false,
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
