//! The providers, one file for each family, and which of them is for what.

mod stored;
mod token;

#[cfg(test)]
pub(crate) mod contract;

use std::sync::Arc;

use attache_policy::document::CredentialKind;

use crate::{mint::Mint, provider::Provide};

use stored::StoredProvider;
use token::TokenProvider;

/// All that this version has.
pub(crate) struct Providers {
    token: TokenProvider,
    stored: StoredProvider,
}

impl Providers {
    pub(crate) const fn new(mint: Arc<dyn Mint>) -> Self {
        Self {
            token: TokenProvider::new(mint),
            stored: StoredProvider,
        }
    }

    /// Changes when a key that signs our tokens is revoked.
    pub(crate) fn generation(&self) -> u64 {
        self.token.generation()
    }

    /// `iss` of our own tokens.
    pub(crate) fn issuer(&self) -> &str {
        self.token.issuer()
    }

    /// The provider of that kind; `None` if there is none yet, of whose type no document loads.
    pub(crate) fn of<T>(&self, kind: &CredentialKind<T>) -> Option<&dyn Provide> {
        match kind {
            CredentialKind::Token(_) => Some(&self.token),
            CredentialKind::ApiKey(_)
            | CredentialKind::UsernamePassword(_)
            | CredentialKind::StaticHeaders(_) => Some(&self.stored),
            CredentialKind::ClientCredentials(_)
            | CredentialKind::TokenExchange(_)
            | CredentialKind::Vault(_)
            | CredentialKind::KubernetesToken(_) => None,
        }
    }
}
