//! A caller of whom nothing was verified, for questions of the kind "what if".

use attache_core::{
    attestation::{Agreement, Attestation, Proven},
    request::Request,
};

use super::Explanation;
use crate::{compiled::Compiled, context::Context};

/// A caller as somebody describes it.
///
/// SECURITY: the attestation never leaves this module, so that no grant, and no credential, can come of what
/// was only supposed.
#[derive(Debug)]
pub struct Supposed(Attestation);

impl Supposed {
    /// A caller of whom `proven` would have been proven.
    #[expect(
        clippy::disallowed_methods,
        reason = "it is explained and never acted upon; the attestation does not leave this module"
    )]
    pub fn caller(proven: Proven) -> Self {
        Self(Attestation::attested(proven))
    }

    /// A caller of whom all of these would have been proven; `None` if they cannot be about one call.
    #[expect(
        clippy::disallowed_methods,
        reason = "it is explained and never acted upon; the attestation does not leave this module"
    )]
    pub fn together(proven: Vec<Proven>) -> Option<Self> {
        let mut attested = proven.into_iter().map(Attestation::attested);
        let first = attested.next()?;
        let others: Vec<Attestation> = attested.collect();
        // What agreed when it was proven is not judged again by the listener's own rule.
        first
            .together(&others, Agreement::NamedByPolicy)
            .ok()
            .map(Self)
    }

    pub(super) const fn attestation(&self) -> &Attestation {
        &self.0
    }

    /// Explains one call of this caller: the decision, and at most `limit` policies.
    pub fn explain(
        &self,
        policies: &Compiled,
        request: &Request<'_>,
        context: &Context<'_>,
        limit: usize,
    ) -> Explanation {
        policies.explain(&self.0, request, context, limit)
    }
}
