//! Which targets a host and port are: the exact host by hash, then its suffixes, the longest first.

use std::{iter, sync::Arc};

use attache_core::request::Host;
use smallvec::SmallVec;

use super::{exchange::any_below, short::Short};
use crate::{
    compile::{Binding, HostPort},
    compiled::clients::ClientId,
    document::{Carrier, Effect, HostPattern},
    hash::{Map, map_of},
    rule::Accepts,
};

/// A target's place in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TargetId(pub(crate) u32);

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
    pub(super) host: HostPattern,
    pub(super) port: u16,
    /// Of a domain: a host that lies below it, and that no policy names.
    pub(super) any_below: Option<Box<Host>>,
    /// What any enforced policy could inject here, those for its wider suffixes included: whichever entry is the
    /// nearest to a host knows them all.
    pub(super) injectable: Arc<[Carrier]>,
    /// Whether an enforced policy is about it.
    pub(super) enforced: bool,
    /// Whether a dry-run policy is about it.
    pub(super) rehearsed: bool,
    /// Those that an enforced policy allows something here, in the order of their policies.
    pub(super) allowed: SmallVec<[ClientId; 4]>,
}

#[derive(Debug)]
pub(super) struct TargetIndex {
    by_port: Map<u16, Hosts>,
    /// By [`TargetId`].
    entries: Box<[TargetEntry]>,
}

#[derive(Debug, Default)]
struct Hosts {
    exact: Map<Short, TargetId>,
    suffixes: Map<Short, TargetId>,
}

type Carriers<'b> = SmallVec<[&'b Carrier; 2]>;

/// What the policies of one target say about it.
#[derive(Default)]
struct Said<'b> {
    enforced: bool,
    rehearsed: bool,
    /// Policy and client.
    allowed: SmallVec<[(&'b str, ClientId); 2]>,
    carriers: Carriers<'b>,
}

impl TargetIndex {
    /// `targets` by [`TargetId`]. Those that no binding is about are found by nobody.
    pub(super) fn build(targets: Vec<HostPort>, bindings: &[Binding]) -> Self {
        let mut said: Vec<Said<'_>> = Vec::new();
        said.resize_with(targets.len(), Said::default);
        for binding in bindings {
            if let Some(said) = said.get_mut(binding.target.index()) {
                said.add(binding);
            }
        }
        let by_port = hosts_by_port(&targets, &said);
        let mut shared: Map<Carriers<'_>, Arc<[Carrier]>> = Map::default();
        let places = targets.iter().zip(&said);
        let injectable = places.map(|((host, port), own)| {
            let hosts = by_port.get(port);
            let wider = hosts
                .into_iter()
                .flat_map(|hosts| hosts.above(host.as_str()));
            let wider = wider.filter_map(|covering| said.get(covering.id.index()));
            let mut all: Carriers<'_> = own.carriers.clone();
            all.extend(wider.flat_map(|said| said.carriers.iter().copied()));
            all.sort_unstable();
            all.dedup();
            let owned = || all.iter().copied().cloned().collect();
            Arc::clone(shared.entry(all.clone()).or_insert_with(owned))
        });
        let injectable: Vec<_> = injectable.collect();
        let entries = targets.into_iter().zip(said).zip(injectable);
        let entries = entries.map(|(((host, port), mut said), injectable)| {
            said.allowed.sort_unstable();
            let any_below = match &host {
                HostPattern::Exact(_) => None,
                HostPattern::Suffix(domain) => Some(Box::new(any_below(domain))),
            };
            TargetEntry {
                any_below,
                host,
                port,
                injectable,
                enforced: said.enforced,
                rehearsed: said.rehearsed,
                allowed: said.allowed.iter().map(|(_, client)| *client).collect(),
            }
        });
        Self {
            entries: entries.collect(),
            by_port,
        }
    }

    /// The ports that any target has.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.by_port.keys().copied()
    }

    pub(super) fn entry(&self, target: TargetId) -> Option<&TargetEntry> {
        self.entries.get(target.index())
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
            let exact = hosts
                .exact
                .get(host.as_str().as_bytes())
                .map(|id| Covering {
                    id: *id,
                    rank: HostRank::Exact,
                });
            exact.into_iter().chain(hosts.above(host.as_str()))
        })
    }

    /// All that is known of those targets.
    pub(super) fn entries_covering<'i, 'h>(
        &'i self,
        host: &'h Host,
        port: u16,
    ) -> impl Iterator<Item = &'i TargetEntry> + use<'i, 'h> {
        self.covering(host, port)
            .filter_map(|covering| self.entry(covering.id))
    }
}

fn hosts_by_port(targets: &[HostPort], said: &[Said<'_>]) -> Map<u16, Hosts> {
    let ids = (0..u32::MAX).map(TargetId);
    let known = ids.zip(targets.iter().zip(said));
    let known = known.filter(|(_, (_, said))| said.enforced || said.rehearsed);
    let known: Vec<_> = known.map(|(id, (place, _))| (id, place)).collect();
    // A table that grows is copied again and again.
    let mut counts: Map<u16, usize> = Map::default();
    for (_, (_, port)) in &known {
        let count = counts.entry(*port).or_default();
        *count = count.saturating_add(1);
    }
    let room = |(port, count): (u16, usize)| {
        let hosts = Hosts {
            exact: map_of(count),
            suffixes: Map::default(),
        };
        (port, hosts)
    };
    let mut by_port: Map<u16, Hosts> = counts.into_iter().map(room).collect();
    for (id, (host, port)) in known {
        let Some(hosts) = by_port.get_mut(port) else {
            continue;
        };
        let by_host = match host {
            HostPattern::Exact(_) => &mut hosts.exact,
            HostPattern::Suffix(_) => &mut hosts.suffixes,
        };
        by_host.insert(Short::of(host.as_str().as_bytes()), id);
    }
    by_port
}

impl Hosts {
    /// The suffixes that `host` lies below, the longest first.
    fn above<'i, 'h>(&'i self, host: &'h str) -> impl Iterator<Item = Covering> + use<'i, 'h> {
        let suffixes = (!self.suffixes.is_empty()).then(|| suffixes_of(host));
        let covering = |suffix: &str| {
            Some(Covering {
                id: *self.suffixes.get(suffix.as_bytes())?,
                rank: suffix_rank(suffix),
            })
        };
        suffixes.into_iter().flatten().filter_map(covering)
    }
}

impl<'b> Said<'b> {
    fn add(&mut self, binding: &'b Binding) {
        let rule = &binding.rule;
        // A dry-run policy changes nothing: neither which headers are taken out nor what a denial says.
        if !rule.is_enforced() {
            self.rehearsed = true;
            return;
        }
        self.enforced = true;
        if rule.effect == Effect::Allow && !matches!(rule.accepts, Accepts::Nobody) {
            self.allowed.push((rule.policy(), binding.client));
        }
        for carrier in rule.placements.iter().map(|placement| &placement.carrier) {
            if !self.carriers.contains(&carrier) {
                self.carriers.push(carrier);
            }
        }
    }
}

impl TargetEntry {
    pub(super) fn rank(&self) -> HostRank {
        match &self.host {
            HostPattern::Exact(_) => HostRank::Exact,
            HostPattern::Suffix(host) => suffix_rank(host.as_str()),
        }
    }
}

impl TargetId {
    pub(crate) const fn index(self) -> usize {
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
