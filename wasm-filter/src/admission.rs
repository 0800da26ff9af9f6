//! What the application behind the proxy sees of its caller: who it is, and never what a client wrote in that place.

use attache_core::header::HeaderName;

use crate::{
    config::TokenAfter,
    host::Host,
    message::{Headers, Protected},
};

/// Where the application finds who calls.
const SPIFFE_ID: &str = "x-attache-spiffe-id";
/// The filter state `wasm.attache.spiffe_id`, for Envoy's RBAC and access log.
const SPIFFE_ID_STATE: &str = "attache.spiffe_id";

/// How requests are let in.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Where the token stands.
    pub(crate) header: HeaderName,
    /// What becomes of it.
    token: TokenAfter,
    /// What never reaches the application as a client wrote it.
    pub(crate) protected: Protected,
}

impl Admission {
    /// Of requests with their token in `header`.
    pub(crate) fn new(header: HeaderName, token: TokenAfter) -> Self {
        Self {
            protected: Protected::new(vec![header.clone()]),
            header,
            token,
        }
    }

    /// Removes what a client may not say from the request that runs, and says who calls.
    pub(crate) fn admit<H: Host>(
        &self,
        host: &H,
        headers: &Headers<'_>,
        caller: &str,
    ) -> Option<()> {
        let own = self.header.as_str().as_bytes();
        for name in headers.survey().protected() {
            // The token's own header is the configuration's matter; another spelling of it never passes.
            if name != own || self.token == TokenAfter::Strip {
                host.remove_header(name).ok()?;
            }
        }
        host.set_header(SPIFFE_ID, caller.as_bytes()).ok()?;
        host.set_state(SPIFFE_ID_STATE, caller.as_bytes()).ok()
    }
}
