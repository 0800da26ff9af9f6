//! What a caller shows of itself. Nothing here is believed yet: `trust` verifies it, and the issuer
//! verifies it again before it mints.

use crate::secret::Secret;

/// Evidence as it came off the wire or out of the pod's file.
#[derive(Clone)]
pub enum Evidence {
    /// A JWT in compact form, unverified.
    Token(Secret),
}
