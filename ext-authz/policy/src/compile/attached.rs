//! What a policy attaches: its credential provider, and where on its server the credential goes.

use std::sync::Arc;

use crate::{
    compile::{
        directory::{Directory, Server},
        names::From,
    },
    document::{AccessPolicy, Authentication, CredentialKind, CredentialProvider, Kind, Placement},
    problem::Code,
};

impl Directory<'_> {
    /// The credential provider, with the policy's own lifetime if it has one.
    pub(super) fn credential(
        &self,
        policy: &AccessPolicy,
        from: From<'_>,
    ) -> Option<Option<Arc<CredentialProvider>>> {
        let Some(reference) = policy.credential_provider.as_ref()? else {
            return Some(None);
        };
        let wanted = Kind::CredentialProvider;
        let provider = self.meant(&self.credentials, reference, wanted, from)?;
        let Some(ttl) = policy.ttl? else {
            return Some(Some(Arc::clone(provider)));
        };
        let lasting = self.shared.lasting(provider, ttl);
        if lasting.is_none() {
            let of = provider.kind.provider_type().name();
            let message = format!(
                "`ttl: {}s` is nothing that a credential of type {of} can be asked for",
                ttl.as_secs()
            );
            let way_out = Some("remove `ttl`".to_owned());
            from.refuse(reference, Code::ConflictingFields, message, way_out);
        }
        lasting.map(Some)
    }

    /// Where the credential of a policy goes on its server.
    pub(super) fn placements(
        &self,
        server: &Server,
        credential: Option<&CredentialProvider>,
    ) -> Arc<[Placement]> {
        let authentication = &server.workload.authentication;
        match (authentication, credential.map(|it| &it.kind)) {
            (_, None) => self.nowhere(),
            (Authentication::ProviderHeaders, Some(CredentialKind::StaticHeaders(headers))) => {
                self.shared.placements.shared(headers.placements())
            }
            // Where they do not fit each other, `carried` tells it.
            (Authentication::Placed(_) | Authentication::ProviderHeaders, Some(_)) => {
                Arc::clone(&server.placements)
            }
        }
    }
}
