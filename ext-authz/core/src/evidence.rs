//! What a caller shows of itself. Nothing here is believed yet: `trust` verifies it, and the issuer
//! verifies it again before it mints.

use alloc::{borrow::ToOwned as _, sync::Arc, vec::Vec};

use crate::{attestation::Agreement, certificate::CertificateChain, secret::Secret};

#[cfg(test)]
mod tests;

/// Most pieces of evidence of one call.
pub const MAX_PIECES: usize = 4;

/// Evidence as it came off the wire or out of the pod's file.
#[derive(Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A JWT in compact form, unverified.
    Token(Secret),
    /// X.509 certificates, unverified. That the caller holds the key is the word of whoever ended its TLS.
    Certificate(CertificateChain),
    /// Several pieces, which must all be accepted and must agree.
    Several(Several),
}

/// Evidence where it stands, as a request's header: most is looked at, and known.
#[derive(Clone, Copy)]
pub enum EvidenceRef<'e> {
    /// As in [`Evidence::Token`].
    Token(&'e str),
    /// As in [`Evidence::Certificate`].
    Certificate(&'e CertificateChain),
    /// As in [`Evidence::Several`].
    Several(&'e Several),
}

/// Two or more pieces of evidence of one call.
#[derive(Clone, PartialEq, Eq)]
pub struct Several {
    pieces: Arc<[Evidence]>,
    agreement: Agreement,
}

impl Evidence {
    /// All the evidence of one call, in the order in which the listener looks for it: one piece is itself.
    /// `None` where there is none, or more than [`MAX_PIECES`].
    pub fn together(mut pieces: Vec<Self>, agreement: Agreement) -> Option<Self> {
        if let [Self::Token(_) | Self::Certificate(_)] = pieces.as_slice() {
            return pieces.pop();
        }
        // Pieces are flat: whoever verifies them need not go deeper.
        let flat = pieces.into_iter().flat_map(|piece| match piece {
            Self::Several(several) => several.pieces.to_vec(),
            Self::Token(_) | Self::Certificate(_) => alloc::vec![piece],
        });
        let pieces: Vec<Self> = flat.collect();
        match pieces.len() {
            0 | 1 => pieces.into_iter().next(),
            2..=MAX_PIECES => Some(Self::Several(Several {
                pieces: pieces.into(),
                agreement,
            })),
            _ => None,
        }
    }
}

impl EvidenceRef<'_> {
    /// To be kept. What is no longer used of it is wiped.
    pub fn to_evidence(self) -> Evidence {
        match self {
            Self::Token(token) => Evidence::Token(Secret::new(token.to_owned())),
            Self::Certificate(chain) => Evidence::Certificate(chain.clone()),
            Self::Several(several) => Evidence::Several(several.clone()),
        }
    }
}

impl<'e> From<&'e Evidence> for EvidenceRef<'e> {
    fn from(evidence: &'e Evidence) -> Self {
        match evidence {
            Evidence::Token(token) => Self::Token(token.expose()),
            Evidence::Certificate(chain) => Self::Certificate(chain),
            Evidence::Several(several) => Self::Several(several),
        }
    }
}

impl Several {
    /// At least two, none of which is itself several.
    pub fn pieces(&self) -> &[Evidence] {
        &self.pieces
    }

    /// When they agree.
    pub const fn agreement(&self) -> Agreement {
        self.agreement
    }
}
