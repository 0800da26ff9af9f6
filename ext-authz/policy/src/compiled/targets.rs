//! Which targets a host and port are: the exact host by hash, then its suffixes, the longest first.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    iter,
    sync::Arc,
};

use attache_core::request::Host;

use crate::{
    compile::Binding,
    compiled::clients::ClientId,
    document::{Carrier, Effect, HostPattern},
    rule::Accepts,
};

/// A target's place in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TargetId(u32);

/// How specific a host pattern is: an exact host before a suffix, a longer suffix before a shorter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostRank {
    /// With its number of labels.
    Suffix(usize),
    Exact,
}

/// A target that a host is, without what decisions do not read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Covering {
    pub(super) id: TargetId,
    pub(super) rank: HostRank,
}

#[derive(Debug)]
pub(super) struct TargetEntry {
    pub(super) id: TargetId,
    pub(super) rank: HostRank,
    /// What any enforced policy could inject here, those for its wider suffixes included: whichever entry is the
    /// nearest to a host knows them all.
    pub(super) injectable: Arc<[Carrier]>,
    /// Whether an enforced policy is about it.
    pub(super) enforced: bool,
    /// Whether a dry-run policy is about it.
    pub(super) rehearsed: bool,
    /// Those that an enforced policy allows something here, in the order of their policies.
    pub(super) allowed: Vec<ClientId>,
}

#[derive(Debug, Default)]
pub(super) struct TargetIndex {
    by_port: HashMap<u16, Hosts>,
    entries: Vec<TargetEntry>,
}

#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<Box<str>, TargetId>,
    suffixes: HashMap<Box<str>, TargetId>,
}

impl TargetIndex {
    /// The target of `binding`, made if it is new.
    pub(super) fn insert(&mut self, binding: &Binding) -> TargetId {
        let Binding {
            client,
            server,
            rule,
            ..
        } = binding;
        let id = self.id_of(&server.host, server.port);
        let Some(entry) = self.entries.get_mut(id.place()) else {
            return id;
        };
        // A dry-run policy changes nothing: neither which headers are taken out nor what a denial says.
        if !rule.is_enforced() {
            entry.rehearsed = true;
            return id;
        }
        entry.enforced = true;
        if rule.effect == Effect::Allow && !matches!(rule.accepts, Accepts::Nobody) {
            entry.allowed.push(ClientId(*client));
        }
        for carrier in rule.placements.iter().map(|placement| &placement.carrier) {
            if !entry.injectable.contains(carrier) {
                let known = entry.injectable.iter();
                entry.injectable = known.chain([carrier]).cloned().collect();
            }
        }
        id
    }

    /// The place of a host and port, which is made if it is new.
    fn id_of(&mut self, host: &HostPattern, port: u16) -> TargetId {
        let hosts = self.by_port.entry(port).or_default();
        let (by_host, host, rank) = match host {
            HostPattern::Exact(host) => (&mut hosts.exact, host.as_str(), HostRank::Exact),
            HostPattern::Suffix(host) => (
                &mut hosts.suffixes,
                host.as_str(),
                suffix_rank(host.as_str()),
            ),
        };
        if let Some(known) = by_host.get(host) {
            return *known;
        }
        let id = TargetId(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        by_host.insert(host.into(), id);
        self.entries.push(TargetEntry {
            id,
            rank,
            injectable: Arc::default(),
            enforced: false,
            rehearsed: false,
            allowed: Vec::new(),
        });
        id
    }

    /// To be called once, when every binding is in.
    pub(super) fn finish(&mut self) {
        let mut shared: HashSet<Arc<[Carrier]>> = HashSet::new();
        let own = self
            .entries
            .iter()
            .map(|entry| Arc::clone(&entry.injectable));
        let own: Vec<Arc<[Carrier]>> = own.collect();
        for hosts in self.by_port.values_mut() {
            hosts.exact.shrink_to_fit();
            for (host, id) in hosts.exact.iter().chain(&hosts.suffixes) {
                let Some(entry) = self.entries.get_mut(id.place()) else {
                    continue;
                };
                let wider = suffixes_of(host).filter_map(|suffix| hosts.suffixes.get(suffix));
                let wider = wider.filter_map(|id| own.get(id.place()));
                let wider = wider.flat_map(|places| places.iter());
                let all: BTreeSet<&Carrier> = entry.injectable.iter().chain(wider).collect();
                let all: Arc<[Carrier]> = all.into_iter().cloned().collect();
                let known = shared.get(&all).cloned();
                entry.injectable = known.unwrap_or_else(|| {
                    shared.insert(Arc::clone(&all));
                    all
                });
                entry.allowed.shrink_to_fit();
            }
        }
        self.entries.shrink_to_fit();
    }

    /// The ports that any target has.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.by_port.keys().copied()
    }

    /// Calls `found` with the port and the host of every target.
    pub(super) fn for_each<'i>(&'i self, found: &mut impl FnMut(u16, &'i str, &'i TargetEntry)) {
        for (port, hosts) in &self.by_port {
            for (host, id) in hosts.exact.iter().chain(&hosts.suffixes) {
                if let Some(entry) = self.entries.get(id.place()) {
                    found(*port, host, entry);
                }
            }
        }
    }

    /// Every place that something could be injected into anywhere.
    pub(super) fn injectable(&self) -> impl Iterator<Item = &Carrier> {
        let entries = self.entries.iter();
        entries.flat_map(|entry| entry.injectable.iter())
    }

    /// The targets that `host` and `port` are, the most specific first.
    pub(super) fn covering<'i, 'h>(
        &'i self,
        host: &'h Host,
        port: u16,
    ) -> impl Iterator<Item = Covering> + use<'i, 'h> {
        self.by_port.get(&port).into_iter().flat_map(|hosts| {
            let exact = hosts.exact.get(host.as_str()).map(|id| Covering {
                id: *id,
                rank: HostRank::Exact,
            });
            let suffixes = suffixes_of(host.as_str()).filter_map(|suffix| {
                Some(Covering {
                    id: *hosts.suffixes.get(suffix)?,
                    rank: suffix_rank(suffix),
                })
            });
            exact.into_iter().chain(suffixes)
        })
    }

    /// All that is known of those targets.
    pub(super) fn entries_covering<'i, 'h>(
        &'i self,
        host: &'h Host,
        port: u16,
    ) -> impl Iterator<Item = &'i TargetEntry> + use<'i, 'h> {
        self.covering(host, port)
            .filter_map(|covering| self.entries.get(covering.id.place()))
    }
}

impl TargetId {
    const fn place(self) -> usize {
        self.0 as usize
    }
}

fn suffix_rank(suffix: &str) -> HostRank {
    HostRank::Suffix(suffix.split('.').count())
}

/// What stands after each dot: `b.example.com`, `example.com` and `com` of `a.b.example.com`.
fn suffixes_of(host: &str) -> impl Iterator<Item = &str> {
    iter::successors(after_dot(host), |suffix| after_dot(suffix))
}

fn after_dot(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, suffix)| suffix)
}
