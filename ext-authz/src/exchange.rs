//! Gives `control` the pipeline of this process's edge, without either knowing the other.

use std::{future::Future, pin::Pin, sync::Arc};

use attache_control::{
    Exchange,
    token::{Asked, Exchanged, Given, NotGiven},
};
use attache_edge::{
    exchange::{HandedOut, NotHandedOut, Wanted},
    pipeline::Edge,
};

/// The edge in this process.
pub(crate) struct LocalEdge(pub(crate) Arc<Edge>);

impl Exchange for LocalEdge {
    fn exchange(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Exchanged> + Send + '_>> {
        let wanted = Wanted {
            evidence: asked.evidence,
            audience: asked.audience,
            target: asked.resource,
            source: asked.source,
        };
        let edge = Arc::clone(&self.0);
        Box::pin(async move {
            // A task of its own: when the workload stops waiting, the access is still recorded.
            let deciding = tokio::spawn(async move { edge.hand_out(&wanted).await });
            let Ok(HandedOut {
                decision_id,
                outcome,
            }) = deciding.await
            else {
                return broken();
            };
            let outcome = outcome
                .map(|(token, expires_in)| Given { token, expires_in })
                .map_err(|refusal| not_given(&refusal));
            Exchanged {
                decision_id,
                outcome,
            }
        })
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

fn broken() -> Exchanged {
    let (code, sentence) = (
        "credential-unavailable",
        "the credential could not be obtained",
    );
    Exchanged {
        decision_id: String::new(),
        outcome: Err(NotGiven::Unavailable(code, sentence)),
    }
}
