//! The providers, one file for each family, and which of them is for what.

pub(crate) mod calls;
mod kubernetes;
mod oauth2;
mod stored;
mod svid;
mod token;
pub(crate) mod vault;

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
mod drills;
#[cfg(test)]
pub(crate) mod peer;

use std::sync::Arc;

use attache_core::decision::Fault;
use attache_outbound::Reach;
use attache_policy::document::CredentialKind;

use crate::{mint::Mint, provider::Provide};

use calls::Callers;
use kubernetes::{InCluster, KubernetesProvider};
use oauth2::OauthProvider;
use stored::StoredProvider;
use svid::Prover;
use token::TokenProvider;
use vault::VaultProvider;

/// All of them.
pub(crate) struct Providers {
    token: TokenProvider,
    stored: StoredProvider,
    oauth: OauthProvider,
    vault: VaultProvider,
    kubernetes: KubernetesProvider,
}

impl Providers {
    /// Providers that call nothing but what `reach` lets them.
    pub(crate) fn new(mint: Arc<dyn Mint>, reach: Reach) -> Self {
        let callers = Arc::new(Callers::new(reach));
        let prover = Prover::new(Arc::clone(&mint));
        Self {
            token: TokenProvider::new(mint),
            stored: StoredProvider,
            oauth: OauthProvider::new(Arc::clone(&callers), prover.clone()),
            vault: VaultProvider::new(Arc::clone(&callers), prover),
            kubernetes: KubernetesProvider::new(callers, InCluster::default()),
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

    /// What a caller is told that waited in vain for a provider of that kind, of which nothing more is known.
    pub(crate) const fn late<T>(kind: &CredentialKind<T>) -> Fault {
        match kind {
            CredentialKind::Token(_) => Fault::CredentialUnavailable,
            CredentialKind::ApiKey(_)
            | CredentialKind::UsernamePassword(_)
            | CredentialKind::StaticHeaders(_) => Fault::SecretUnavailable,
            CredentialKind::ClientCredentials(_)
            | CredentialKind::TokenExchange(_)
            | CredentialKind::Vault(_)
            | CredentialKind::KubernetesToken(_) => Fault::ProviderTimeout,
        }
    }

    /// The provider of that kind.
    pub(crate) const fn of<T>(&self, kind: &CredentialKind<T>) -> &dyn Provide {
        match kind {
            CredentialKind::Token(_) => &self.token,
            CredentialKind::ApiKey(_)
            | CredentialKind::UsernamePassword(_)
            | CredentialKind::StaticHeaders(_) => &self.stored,
            CredentialKind::ClientCredentials(_) | CredentialKind::TokenExchange(_) => &self.oauth,
            CredentialKind::Vault(_) => &self.vault,
            CredentialKind::KubernetesToken(_) => &self.kubernetes,
        }
    }
}
