//! Where a call comes from: the peer of Envoy's connection, or what the proxies of ours before it wrote into
//! `x-forwarded-for`. What a client can write there itself is never taken.

use std::net::IpAddr;

use compact_str::{CompactString, ToCompactString as _};

/// The header in which each proxy appends the peer that it saw.
const FORWARDED: &str = "x-forwarded-for";

/// The caller's address. Behind `trusted_hops` proxies it is that many from the right of `x-forwarded-for`;
/// if there are fewer, or what stands there is no address, it is not known.
pub(crate) fn address(
    peer: Option<(&str, u32)>,
    headers: &[(&str, &[u8])],
    trusted_hops: usize,
) -> Option<IpAddr> {
    let Some(before) = trusted_hops.checked_sub(1) else {
        return peer.and_then(|(address, _)| parse(address));
    };
    // Several fields are one list, in their order (RFC 9110 §5.3).
    let fields = headers.iter().rev();
    let entries = fields
        .filter(|(name, _)| *name == FORWARDED)
        .flat_map(|(_, value)| value.rsplit(|byte| *byte == b','));
    let entry = entries.into_iter().nth(before)?;
    parse(str::from_utf8(entry).ok()?.trim_ascii())
}

/// `address:port` for the audit event.
pub(crate) fn text(address: &str, port: u32) -> CompactString {
    let (before, after) = if address.contains(':') {
        ("[", "]:")
    } else {
        ("", ":")
    };
    let port = port.to_compact_string();
    let mut text = CompactString::default();
    text.extend([before, address, after, &port]);
    text
}

/// One spelling: a listener for both families tells IPv4 addresses as `::ffff:192.0.2.1`.
fn parse(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests;
