//! What a policy attaches: its credential provider, and where on its server the credential goes.

use std::sync::Arc;

use crate::{
    compile::directory::Directory,
    document::{
        AccessPolicy, Authentication, CredentialKind, CredentialProvider, Kind, Placement,
        ServerWorkload,
    },
    name::QualifiedName,
    problem::Code,
};

impl Directory<'_> {
    /// The credential provider, with the policy's own lifetime if it has one.
    pub(super) fn credential(
        &self,
        policy: &AccessPolicy,
        from: &QualifiedName,
    ) -> Option<Option<Arc<CredentialProvider>>> {
        let Some(reference) = policy.credential_provider.as_ref()? else {
            return Some(None);
        };
        let wanted = Kind::CredentialProvider;
        let provider =
            self.credentials
                .resolve(reference, wanted, from, &self.kinds, self.report)?;
        let Some(ttl) = policy.ttl? else {
            return Some(Some(provider));
        };
        let Some(kind) = provider.kind.lasting(ttl) else {
            let of = provider.kind.provider_type().name();
            let message = format!(
                "`ttl: {}s` is nothing that a credential of type {of} can be asked for",
                ttl.as_secs()
            );
            let way_out = Some("remove `ttl`".to_owned());
            let place = reference.place.clone();
            self.report
                .error_with(place, Code::ConflictingFields, message, way_out);
            return None;
        };
        if kind == provider.kind {
            return Some(Some(provider));
        }
        let CredentialProvider {
            name, hosts, place, ..
        } = &*provider;
        Some(Some(Arc::new(CredentialProvider {
            name: name.clone(),
            hosts: hosts.clone(),
            kind,
            place: place.clone(),
        })))
    }

    /// Where the credential of a policy goes on its server.
    pub(super) fn placements(
        &self,
        server: &ServerWorkload,
        credential: Option<&CredentialProvider>,
    ) -> Arc<[Placement]> {
        let placements = match (&server.authentication, credential.map(|it| &it.kind)) {
            (_, None) => Vec::new(),
            (Authentication::Placed(places), Some(_)) => places.clone(),
            (Authentication::ProviderHeaders, Some(CredentialKind::StaticHeaders(headers))) => {
                headers.placements()
            }
            // Told by `carried`.
            (Authentication::ProviderHeaders, Some(_)) => Vec::new(),
        };
        self.shared.placements.shared(placements)
    }
}
