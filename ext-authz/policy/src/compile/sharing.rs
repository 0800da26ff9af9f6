//! Trust providers that share SPIFFE IDs because both say so, and those that would by surprise.

use attache_core::attestation::ProviderKind;

use crate::{
    compile::{directory::Directory, names::From},
    document::{Kind, TrustProvider},
    name::QualifiedName,
    problem::{Code, quoted},
};

impl Directory<'_> {
    /// Resolves what providers say of each other, and reports those that could yield one SPIFFE ID unless both
    /// say that it is one workload then.
    pub(super) fn relate_providers(&mut self) {
        let partners = self.trust_providers.iter().map(|one| self.partners_of(one));
        let partners: Vec<Option<Vec<String>>> = partners.collect();
        let unclear: Vec<bool> = partners.iter().map(Option::is_none).collect();
        for (provider, partners) in self.trust_providers.iter_mut().zip(partners) {
            provider.shares_identities_with = partners.unwrap_or_default();
        }
        let mut earlier: Vec<&TrustProvider> = Vec::with_capacity(self.trust_providers.len());
        // What a refused statement would have said is not known, and so not told.
        let clear = self.trust_providers.iter().zip(unclear);
        for provider in clear.filter_map(|(provider, unclear)| (!unclear).then_some(provider)) {
            let mut others = earlier.iter();
            if let Some(other) = others.find(|other| collide_unsaid(provider, other)) {
                self.report_same_ids(provider, other);
            }
            for other in &earlier {
                self.check_mutual(provider, other);
                self.check_mutual(other, provider);
            }
            earlier.push(provider);
        }
    }

    /// The qualified names of those that it names; `None` if one is not found.
    fn partners_of(&self, provider: &TrustProvider) -> Option<Vec<String>> {
        let (kind, name) = (Kind::TrustProvider, QualifiedName::of_text(&provider.name));
        let from = From {
            kind,
            name: &name,
            report: self.report,
        };
        let found = self.distinct(&self.providers, &provider.partners, kind, from)?;
        let own = found.iter().zip(&provider.partners);
        for (_, reference) in own.filter(|(name, _)| ***name == *provider.name) {
            let message = format!("{} is this provider itself", quoted(&reference.name));
            let way_out = Some("name others".to_owned());
            from.refuse(reference, Code::ConflictingFields, message, way_out);
        }
        Some(found.iter().map(|name| name.to_string()).collect())
    }

    /// SECURITY: whoever writes one provider must not make it speak for the workloads of another alone.
    fn check_mutual(&self, provider: &TrustProvider, other: &TrustProvider) {
        let (own, others) = (provider.naming(), other.naming());
        if !own.names(&others) {
            return;
        }
        let mut named = provider.shares_identities_with.iter();
        let place = named
            .position(|name| *name == other.name)
            .and_then(|position| provider.partners.get(position))
            .map_or_else(
                || provider.place.clone(),
                |written| {
                    written.place(&format!("{} {}", Kind::TrustProvider.name(), provider.name))
                },
            );
        if provider.trust_domain != other.trust_domain {
            let message = format!(
                "the trust provider {} has the trust domain {}, so that no SPIFFE ID is of both",
                quoted(&other.name),
                quoted(other.trust_domain.as_str())
            );
            let way_out = Some("give both one `trustDomain`, or leave it out".to_owned());
            self.report
                .error_with(place, Code::ConflictingFields, message, way_out);
        } else if !others.names(&own) {
            let message = format!(
                "the trust provider {} does not say that it shares identities with {} ({})",
                quoted(&other.name),
                quoted(&provider.name),
                other.place
            );
            let way_out = format!(
                "if one SPIFFE ID is one workload, write `sharesIdentitiesWith: [{}]` there too; else leave it out",
                provider.name
            );
            self.report
                .error_with(place, Code::ProviderCollision, message, Some(way_out));
        }
    }

    fn report_same_ids(&self, provider: &TrustProvider, earlier: &TrustProvider) {
        let message = format!(
            "the trust provider {} has the trust domain {} too, and both could yield one SPIFFE ID",
            quoted(&earlier.name),
            quoted(provider.trust_domain.as_str())
        );
        let apart = if provider.kind == ProviderKind::KubernetesServiceAccount {
            "a `spiffeId` such as c/{k8s.cluster}/ns/{k8s.namespace}/sa/{k8s.serviceAccount}"
        } else {
            "a `spiffeId` that begins differently"
        };
        let way_out = format!(
            "give each a `trustDomain` of its own, or {apart}; or, if one SPIFFE ID is one workload, name each in the `sharesIdentitiesWith` of the other"
        );
        self.report_collision(provider, earlier, &message, &way_out);
    }
}

/// Whether one SPIFFE ID can come from both, and neither says a word of it.
fn collide_unsaid(one: &TrustProvider, other: &TrustProvider) -> bool {
    let (one, other) = (one.naming(), other.naming());
    let unsaid = !one.names(&other) && !other.names(&one);
    unsaid && one.collides_with(&other)
}
