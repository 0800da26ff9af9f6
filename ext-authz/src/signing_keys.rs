//! The issuer's keys for the metrics: the edge knows no issuer, so this program tells it.

use std::sync::Arc;

use attache_core::jwt::Algorithm;
use attache_edge::metrics::{SigningKey, SigningKeys};
use attache_issuer::Issuer;

/// The keys of the issuer in this process.
pub(crate) struct LocalKeys(pub(crate) Arc<Issuer>);

impl SigningKeys for LocalKeys {
    fn keys(&self) -> Vec<SigningKey> {
        let told = self.0.keys().keys.into_iter();
        let kept = told.filter(|key| key.state.is_kept());
        let key = kept.filter_map(|key| {
            Some(SigningKey {
                algorithm: Algorithm::from_name(&key.algorithm)?.name(),
                state: key.state.name(),
                signs_since: key.active_at.filter(|_| key.retired_at.is_none()),
                next: key.next.map(|next| (next.state.name(), next.at)),
            })
        });
        key.collect()
    }

    fn sign(&self) -> bool {
        self.0.signs()
    }
}
