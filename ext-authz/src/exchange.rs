//! Gives `control` the pipeline of this process's edge, without either knowing the other.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use attache_control::{
    Exchange,
    token::{Asked, Exchanged, Given, NotGiven},
};
use attache_edge::{
    exchange::{self, HandedOut, NotHandedOut, Wanted},
    pipeline::Edge,
};
use axum::http::HeaderMap;

/// The edge in this process.
pub(crate) struct LocalEdge {
    pub(crate) edge: Arc<Edge>,
    /// Proxies of ours before the token endpoint; `None` if nobody said.
    pub(crate) trusted_hops: Option<usize>,
}

impl Exchange for LocalEdge {
    fn exchange(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Exchanged> + Send + '_>> {
        let wanted = Wanted {
            evidence: asked.evidence,
            audience: asked.audience,
            target: asked.resource,
            source: asked.source,
            origin: asked.origin,
        };
        Box::pin(async move {
            let HandedOut {
                decision_id,
                outcome,
            } = self.edge.hand_out(&wanted).await;
            let outcome = outcome
                .map(|(token, expires_in)| Given { token, expires_in })
                .map_err(|refusal| not_given(&refusal));
            Exchanged {
                decision_id: decision_id.into(),
                outcome,
            }
        })
    }

    fn origin(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let headers = headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        exchange::origin(peer, &headers, self.trusted_hops?)
    }
}

const fn not_given(refusal: &NotHandedOut) -> NotGiven {
    let (code, sentence) = (refusal.code(), refusal.sentence());
    match refusal {
        NotHandedOut::Evidence(_) => NotGiven::Evidence(code, sentence),
        NotHandedOut::Target(_) => NotGiven::Target(code, sentence),
        NotHandedOut::Unavailable(_) => NotGiven::Unavailable(code, sentence),
    }
}
