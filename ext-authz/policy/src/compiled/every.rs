//! Every rule of a set beside what it is about, for explanations: decisions never walk the whole set.

use std::collections::HashSet;

use attache_core::{attestation::Attestation, request::Host};

use super::{
    Compiled,
    targets::{HostRank, TargetId},
};
use crate::{rule::Rule, selector::Entry};

/// One rule, its client and its target.
#[derive(Clone, Copy)]
pub(crate) struct Bound<'a> {
    pub(crate) rule: &'a Rule,
    /// Of the client's selector.
    pub(crate) entries: &'a [Entry],
    /// Whether the caller is the client.
    pub(crate) is_client: bool,
    /// The target's host, or the domain that it lies below.
    pub(crate) host: &'a str,
    pub(crate) rank: HostRank,
    pub(crate) port: u16,
    /// Whether the host asked for is the target's, whatever the port.
    pub(crate) covers_host: bool,
}

impl Compiled {
    /// Calls `found` for every rule. Whether client and host match is asked of the index that decisions
    /// are made with.
    pub(crate) fn for_every_rule<'a>(
        &'a self,
        attestation: &Attestation,
        host: &Host,
        found: &mut impl FnMut(Bound<'a>),
    ) {
        let mut clients = HashSet::new();
        self.clients.for_each_match(attestation, &mut |candidate| {
            clients.insert(candidate.client);
        });
        let mut covering: HashSet<TargetId> = HashSet::new();
        for port in self.targets.ports() {
            covering.extend(
                self.targets
                    .covering(host, port)
                    .map(|target| target.gate.id),
            );
        }
        for (client, target, rule) in self.rules.iter() {
            let Some(entry) = self.targets.entry(target) else {
                continue;
            };
            found(Bound {
                rule,
                entries: self.clients.entries_of(client),
                is_client: clients.contains(&client)
                    && self.is_client_of(rule, client, attestation),
                host: entry.host.as_str(),
                rank: entry.rank(),
                port: entry.port,
                covers_host: covering.contains(&target),
            });
        }
    }
}
