//! Who stands at the other end of Envoy's connection, and for whom it speaks: the certificate that Envoy
//! verified, and what proxies of ours forward in `x-forwarded-client-cert`.
//!
//! Nothing here is proof. `trust` verifies each certificate again, and the pipeline holds what it proves
//! against the name that stands here.

use attache_core::{certificate::CertificateChain, decision::DenyReason, spiffe_id::SpiffeId};
use tracing::debug;

use crate::{
    pem,
    settings::PeerRule,
    xfcc::{self, Element},
};

#[cfg(test)]
mod tests;

/// What Envoy says of the peer of a connection. Both are empty without mutual TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer<'a> {
    /// `source.principal`: its name. Envoy takes a DNS name or the subject where there is no URI name.
    pub principal: &'a str,
    /// `source.certificate`: its leaf, PEM, percent-encoded.
    pub certificate: &'a str,
}

/// A certificate with the name that it must turn out to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) chain: CertificateChain,
    pub(crate) named: SpiffeId,
}

/// For whom a connection speaks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// The caller's certificate.
    pub(crate) caller: Option<Shown>,
    /// The proxy's by which it came. SECURITY: before it is proven, `caller` is nobody's word.
    pub(crate) proxy: Option<Shown>,
    /// The caller's name where no certificate comes with it. It proves nothing, and may contradict.
    pub(crate) said: Option<SpiffeId>,
    /// The same, if it may be named so. SECURITY: before `proxy` is proven, if there is one, it does not count.
    pub(crate) named: Option<SpiffeId>,
}

/// Reads what Envoy says of its peer, and what the lines of `x-forwarded-client-cert` add.
///
/// A peer that is no proxy speaks for itself alone, whatever it writes into the header.
pub(crate) fn read<'a>(
    rule: &PeerRule,
    peer: Peer<'_>,
    forwarded: impl Iterator<Item = &'a [u8]>,
) -> Result<Spoken, DenyReason> {
    if peer.principal.is_empty() && peer.certificate.is_empty() {
        // SECURITY: a peer that nobody verified; the header is its own word.
        return Ok(Spoken::default());
    }
    let principal = SpiffeId::parse(peer.principal).map_err(|invalid| {
        debug!(%invalid, "source.principal");
        DenyReason::PeerMismatch
    })?;
    let elements = xfcc::parse(forwarded).map_err(|invalid| {
        debug!(%invalid, "x-forwarded-client-cert");
        DenyReason::ForwardedMalformed
    })?;
    let shown = shown(peer.certificate, &principal, elements.last())?;
    if rule.proxies.contains(&principal) {
        return forwarded_by(rule, shown, &elements);
    }
    let said = shown.is_none().then_some(principal);
    Ok(Spoken {
        caller: shown,
        proxy: None,
        named: said.clone().filter(|said| rule.may_name(said)),
        said,
    })
}

/// The peer's certificate. Envoy's own element of the header, the last, may hold it with its chain.
///
/// SECURITY: the element adds to the leaf that Envoy shows, and does not stand in for it: where Envoy appends
/// none, the last element is the client's word.
fn shown(
    certificate: &str,
    principal: &SpiffeId,
    last: Option<&Element>,
) -> Result<Option<Shown>, DenyReason> {
    if certificate.is_empty() {
        return Ok(None);
    }
    let leaf = pem::certificates(certificate, 1).map_err(|invalid| {
        debug!(%invalid, "source.certificate");
        DenyReason::PeerMismatch
    })?;
    let own = last.filter(|element| element.uri() == Some(principal.as_str()));
    let written = own.and_then(Element::certificates);
    let longer = written.filter(|chain| chain.leaf() == leaf.leaf());
    Ok(Some(Shown {
        chain: longer.cloned().unwrap_or(leaf),
        named: principal.clone(),
    }))
}

/// The caller that a proxy speaks of: from the right, the first element that is not about a proxy.
fn forwarded_by(
    rule: &PeerRule,
    proxy: Option<Shown>,
    elements: &[Element],
) -> Result<Spoken, DenyReason> {
    let about_proxy = |element: &&Element| {
        let mut proxies = rule.proxies.iter();
        proxies.any(|proxy| element.uri() == Some(proxy.as_str()))
    };
    let mut from_the_right = elements.iter().rev();
    let Some(element) = from_the_right.find(|element| !about_proxy(element)) else {
        // SECURITY: a proxy whose client showed no certificate never lends it its own name.
        return Ok(Spoken {
            proxy,
            ..Spoken::default()
        });
    };
    let written_by = |by: &String| rule.written_by.contains(by);
    if !rule.written_by.is_empty() && !element.by.iter().any(written_by) {
        return Err(DenyReason::ForwardedNotVouched);
    }
    let named = element.uri().and_then(|uri| SpiffeId::parse(uri).ok());
    let named = named.ok_or(DenyReason::ForwardedNotVouched)?;
    let caller = proxy.is_some().then(|| element.certificates()).flatten();
    let caller = caller.map(|chain| Shown {
        chain: chain.clone(),
        named: named.clone(),
    });
    let said = caller.is_none().then_some(named);
    // SECURITY: a proxy that shows no certificate is not proven, and names nobody.
    let unproven = said.clone().filter(|_| proxy.is_some());
    Ok(Spoken {
        caller,
        proxy,
        named: unproven.filter(|named| rule.may_name(named)),
        said,
    })
}

impl PeerRule {
    fn may_name(&self, id: &SpiffeId) -> bool {
        self.names_unproven.iter().any(|prefix| prefix.covers(id))
    }
}
