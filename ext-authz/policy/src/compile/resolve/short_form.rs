//! What a CredentialPolicy means: the short form of an access policy with its credential provider.

use std::sync::Arc;

use attache_core::attestation::ProviderKind;

use super::{Binding, names_of::NamesOf};
use crate::{
    compile::{
        directory::{Client, Directory},
        names::{Found, From, report_several},
    },
    document::{
        Action, CredentialPolicy, Effect, Kind, PolicyMode, ServerWorkload, audience_endpoint,
    },
    name::{QualifiedName, Reference},
    problem::{Code, Spot, quoted},
    rule::{Accepts, Rule, Terms},
};

/// Where a CredentialPolicy leads to.
enum Target {
    Named,
    Implied(ServerWorkload),
}

impl Directory<'_> {
    pub(super) fn credential_policy(
        &mut self,
        name: &QualifiedName,
        spot: Spot,
        policy: &mut CredentialPolicy,
    ) -> Option<Binding> {
        let from = From {
            kind: Kind::CredentialPolicy,
            name,
            report: self.report,
        };
        let implied;
        let named = policy.target_service.as_ref();
        let server = match named.and_then(|reference| self.target_service(from, reference, policy))
        {
            Some(Target::Implied(workload)) => {
                implied = self.server(workload);
                Some(&implied)
            }
            Some(Target::Named) => named.and_then(|it| match self.servers.find(it, name) {
                Found::One(server) => server,
                Found::Several(_) | Found::Nothing => None,
            }),
            None => None,
        };
        let identity = policy.workload_identity.as_ref();
        let identity = identity.and_then(|reference| self.workload_identity(from, reference));
        let ((client, proven_by), server) = (identity?, server?);
        let all = [Action::all()];
        let [everything] = &all;
        let providers: Vec<_> = self.proving(proven_by).collect();
        let credential = Arc::new(policy.credential_provider.take()?);
        let terms = self.shared.terms(Terms {
            effect: Effect::Allow,
            mode: PolicyMode::Enforce,
            tls: server.workload.tls,
            accepts: Accepts::These(self.shared.providers.shared(providers)),
            conditions: Box::default(),
            placements: self.placements(server, Some(&credential)),
            credential: Some(credential),
            actions: [self.action(server, Effect::Allow, everything)?].into(),
        });
        let names = NamesOf::policy(name, Effect::Allow, client, server).with(&all);
        Some(Binding {
            client: client.id,
            target: server.target,
            server: Arc::clone(&server.workload),
            rule: Rule::new(terms, names),
            kind: from.kind,
            spot,
        })
    }

    fn workload_identity(
        &self,
        from: From<'_>,
        reference: &Reference,
    ) -> Option<(&Client, ProviderKind)> {
        let client = self.meant(&self.clients, reference, Kind::WorkloadIdentity, from)?;
        let Some(proven_by) = client.proven_by else {
            let name = quoted(&reference.name);
            let message = format!("{name} is a ClientWorkload, not a WorkloadIdentity");
            let way_out = Some("write an AccessPolicy for a ClientWorkload".to_owned());
            from.refuse(reference, Code::WrongKindReference, message, way_out);
            return None;
        };
        Some((client, proven_by))
    }

    /// The ServerWorkload of that name, or the host of the audience.
    fn target_service(
        &self,
        from: From<'_>,
        reference: &Reference,
        policy: &CredentialPolicy,
    ) -> Option<Target> {
        match self.servers.find(reference, from.name) {
            Found::One(_) => return Some(Target::Named),
            Found::Several(names) => {
                report_several(reference, Kind::ServerWorkload, &names, from);
                return None;
            }
            Found::Nothing => {}
        }
        let kind = &policy.credential_provider.as_ref()?.kind;
        let name = quoted(&reference.name);
        let suggestion = self.servers.suggestion(reference, from);
        let Some(audience) = kind.token_plan().and_then(|plan| plan.audiences.first()) else {
            let message = format!("no ServerWorkload named {name}");
            let way_out = suggestion
                .or_else(|| Some("write a ServerWorkload of that name with its host".to_owned()));
            from.refuse(reference, Code::DanglingReference, message, way_out);
            return None;
        };
        let Some((host, port, tls)) = audience_endpoint(audience) else {
            let message = format!(
                "no ServerWorkload named {name}, and the audience {} is not a URL that says where it is",
                quoted(audience)
            );
            let way_out = suggestion
                .or_else(|| Some("write a ServerWorkload of that name with its host".to_owned()));
            from.refuse(reference, Code::DanglingReference, message, way_out);
            return None;
        };
        if suggestion.is_some() {
            let host = host.as_str();
            let message =
                format!("no ServerWorkload named {name}; {host}:{port} is taken from the audience");
            let place = reference.place(&from.label());
            self.report
                .warning(place, Code::LikelyMisspelled, message, suggestion);
        }
        ServerWorkload::implied(&reference.name, host, port, tls).map(Target::Implied)
    }
}
