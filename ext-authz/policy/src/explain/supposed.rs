//! A caller of whom nothing was verified, for questions of the kind "what if".

use attache_core::{
    attestation::{Attestation, Proven},
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
