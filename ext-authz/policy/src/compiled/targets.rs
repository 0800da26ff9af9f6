//! Which targets a host and port are: the exact host by hash, then its suffixes, the longest first.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    iter,
    sync::Arc,
};

use attache_core::{header::HeaderName, request::Host};

use crate::{
    compile::Binding,
    compiled::clients::ClientId,
    document::{Effect, HostPattern},
};

/// A target's place in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TargetId(usize);

/// How specific a host pattern is: an exact host before a suffix, a longer suffix before a shorter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostRank {
    /// With its number of labels.
    Suffix(usize),
    Exact,
}

#[derive(Debug)]
pub(super) struct TargetEntry {
    pub(super) id: TargetId,
    pub(super) rank: HostRank,
    /// What any enforced policy could inject here, those for its wider suffixes included: whichever entry is the
    /// nearest to a host knows them all.
    pub(super) injectable: Arc<[HeaderName]>,
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
    count: usize,
}

#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<Box<str>, TargetEntry>,
    suffixes: HashMap<Box<str>, TargetEntry>,
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
        let hosts = self.by_port.entry(server.port).or_default();
        let (by_host, host, rank) = match &server.host {
            HostPattern::Exact(host) => (&mut hosts.exact, host.as_str(), HostRank::Exact),
            HostPattern::Suffix(host) => {
                let labels = host.as_str().split('.').count();
                (&mut hosts.suffixes, host.as_str(), HostRank::Suffix(labels))
            }
        };
        let count = &mut self.count;
        let entry = by_host.entry(host.into()).or_insert_with(|| {
            let id = TargetId(*count);
            *count = count.saturating_add(1);
            TargetEntry {
                id,
                rank,
                injectable: Arc::default(),
                enforced: false,
                rehearsed: false,
                allowed: Vec::new(),
            }
        });
        // A dry-run policy changes nothing: neither which headers are taken out nor what a denial says.
        if !rule.is_enforced() {
            entry.rehearsed = true;
            return entry.id;
        }
        entry.enforced = true;
        if rule.effect == Effect::Allow {
            entry.allowed.push(ClientId(*client));
        }
        let header = &server.placement.header;
        if rule.credential.is_some() && !entry.injectable.contains(header) {
            let known = entry.injectable.iter();
            entry.injectable = known.chain([header]).cloned().collect();
        }
        entry.id
    }

    /// To be called once, when every binding is in.
    pub(super) fn finish(&mut self) {
        let mut shared: HashSet<Arc<[HeaderName]>> = HashSet::new();
        for hosts in self.by_port.values_mut() {
            let own = hosts.suffixes.iter();
            let own = own.map(|(suffix, entry)| (suffix.clone(), Arc::clone(&entry.injectable)));
            let suffixes: HashMap<Box<str>, _> = own.collect();
            for (host, entry) in hosts.exact.iter_mut().chain(&mut hosts.suffixes) {
                let wider = suffixes_of(host).filter_map(|suffix| suffixes.get(suffix));
                let wider = wider.flat_map(|headers| headers.iter());
                let all: BTreeSet<&HeaderName> = entry.injectable.iter().chain(wider).collect();
                let all: Arc<[HeaderName]> = all.into_iter().cloned().collect();
                let known = shared.get(&all).cloned();
                entry.injectable = known.unwrap_or_else(|| {
                    shared.insert(Arc::clone(&all));
                    all
                });
                entry.allowed.shrink_to_fit();
            }
            hosts.exact.shrink_to_fit();
        }
    }

    /// The ports that any target has.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.by_port.keys().copied()
    }

    /// Calls `found` with the port and the host of every target.
    pub(super) fn for_each<'i>(&'i self, found: &mut impl FnMut(u16, &'i str, &'i TargetEntry)) {
        for (port, hosts) in &self.by_port {
            for (host, entry) in hosts.exact.iter().chain(&hosts.suffixes) {
                found(*port, host, entry);
            }
        }
    }

    /// Every header that could be injected anywhere.
    pub(super) fn injectable(&self) -> impl Iterator<Item = &HeaderName> {
        let hosts = self.by_port.values();
        let entries = hosts.flat_map(|hosts| hosts.exact.values().chain(hosts.suffixes.values()));
        entries.flat_map(|entry| entry.injectable.iter())
    }

    /// The targets that `host` and `port` are, the most specific first.
    pub(super) fn covering<'i, 'h>(
        &'i self,
        host: &'h Host,
        port: u16,
    ) -> impl Iterator<Item = &'i TargetEntry> + use<'i, 'h> {
        self.by_port.get(&port).into_iter().flat_map(|hosts| {
            let exact = hosts.exact.get(host.as_str());
            let suffixes = suffixes_of(host.as_str());
            exact
                .into_iter()
                .chain(suffixes.filter_map(|suffix| hosts.suffixes.get(suffix)))
        })
    }
}

/// What stands after each dot: `b.example.com`, `example.com` and `com` of `a.b.example.com`.
fn suffixes_of(host: &str) -> impl Iterator<Item = &str> {
    iter::successors(after_dot(host), |suffix| after_dot(suffix))
}

fn after_dot(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, suffix)| suffix)
}
