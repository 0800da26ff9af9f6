//! Which targets a host and port are: the exact host by hash, then its suffixes, the longest first.

use std::{collections::BTreeSet, iter};

use attache_core::request::Host;
use smallvec::SmallVec;

use super::{exchange::any_below, table::Table};
use crate::{
    compile::{Binding, HostPort},
    compiled::clients::ClientId,
    document::{Carrier, Effect, HostPattern},
    hash::Map,
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

/// A target that a host is, without what calls do not ask of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Covering {
    pub(super) gate: Gate,
    pub(super) rank: HostRank,
}

/// What each call asks of a target. It stands beside the host by which it is found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    pub(super) id: TargetId,
    /// In [`TargetIndex::injectable`].
    injectable: u32,
    /// Whether an enforced policy is about it.
    pub(super) enforced: bool,
    /// Whether a dry-run policy is about it.
    pub(super) rehearsed: bool,
}

#[derive(Debug)]
pub(super) struct TargetEntry {
    pub(super) host: HostPattern,
    pub(super) port: u16,
    /// Of a domain: a host that lies below it, and that no policy names.
    pub(super) any_below: Option<Box<Host>>,
    /// Those that an enforced policy allows something here, in the order of their policies.
    pub(super) allowed: SmallVec<[ClientId; 4]>,
}

#[derive(Debug)]
pub(super) struct TargetIndex {
    by_port: Map<u16, Hosts>,
    /// By [`TargetId`].
    entries: Box<[TargetEntry]>,
    /// What any enforced policy could inject, [`ANYWHERE`] and into a target, those for its wider suffixes included,
    /// each such set once: whichever target is the nearest to a host knows them all.
    injectable: Box<[Box<[Carrier]>]>,
}

#[derive(Debug, Default)]
struct Hosts {
    exact: Table<Gate>,
    suffixes: Table<Gate>,
}

/// The place of what could be injected into any target at all. SECURITY: a target that was not told its own has all of
/// it taken out, and lets nothing through that a client sent in place of a credential.
const ANYWHERE: u32 = 0;

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
        let mut by_port = hosts_by_port(&targets, &said);
        let injectable = injectable_by_set(&targets, &said, &mut by_port);
        let entries = targets.into_iter().zip(said);
        let entries = entries.map(|((host, port), mut said)| {
            said.allowed.sort_unstable();
            let any_below = match &host {
                HostPattern::Exact(_) => None,
                HostPattern::Suffix(domain) => Some(Box::new(any_below(domain))),
            };
            TargetEntry {
                any_below,
                host,
                port,
                allowed: said.allowed.iter().map(|(_, client)| *client).collect(),
            }
        });
        Self {
            entries: entries.collect(),
            by_port,
            injectable,
        }
    }

    /// The ports that any target has.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.by_port.keys().copied()
    }

    pub(super) fn entry(&self, target: TargetId) -> Option<&TargetEntry> {
        self.entries.get(target.index())
    }

    /// Every place that something could be injected into anywhere, in order.
    pub(super) fn injectable(&self) -> &[Carrier] {
        self.injectable_by(ANYWHERE)
    }

    /// What any enforced policy could inject where `covering` is the nearest target.
    pub(super) fn injectable_at(&self, covering: &Covering) -> &[Carrier] {
        self.injectable_by(covering.gate.injectable)
    }

    fn injectable_by(&self, place: u32) -> &[Carrier] {
        let carriers = self.injectable.get(place as usize);
        carriers.map_or(&[], |carriers| carriers)
    }

    /// The targets that `host` and `port` are, the most specific first.
    pub(super) fn covering<'i, 'h>(
        &'i self,
        host: &'h Host,
        port: u16,
    ) -> impl Iterator<Item = Covering> + use<'i, 'h> {
        self.by_port.get(&port).into_iter().flat_map(|hosts| {
            let exact = hosts.exact.get(host.as_str().as_bytes());
            let exact = exact.map(|gate| Covering {
                gate: *gate,
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
            .filter_map(|covering| self.entry(covering.gate.id))
    }
}

/// Those that any policy is about, without what could be injected there.
fn hosts_by_port(targets: &[HostPort], said: &[Said<'_>]) -> Map<u16, Hosts> {
    let known = targets.iter().zip((0..u32::MAX).map(TargetId).zip(said));
    let known = known.filter(|(_, (_, said))| said.enforced || said.rehearsed);
    // A table that grows is copied again and again.
    let mut counts: Map<u16, usize> = Map::default();
    for ((_, port), _) in known.clone() {
        let count = counts.entry(*port).or_default();
        *count = count.saturating_add(1);
    }
    let room = |(port, count): (u16, usize)| {
        let hosts = Hosts {
            exact: Table::with_room(count),
            suffixes: Table::default(),
        };
        (port, hosts)
    };
    let mut by_port: Map<u16, Hosts> = counts.into_iter().map(room).collect();
    for ((host, port), (id, said)) in known {
        if let Some(hosts) = by_port.get_mut(port) {
            let gate = Gate {
                id,
                injectable: ANYWHERE,
                enforced: said.enforced,
                rehearsed: said.rehearsed,
            };
            hosts
                .by_kind_of(host)
                .insert(host.as_str().as_bytes(), gate);
        }
    }
    by_port
}

/// What could be injected into the targets, as [`TargetIndex::injectable`] has it; each target is told its place
/// in that.
fn injectable_by_set(
    targets: &[HostPort],
    said: &[Said<'_>],
    by_port: &mut Map<u16, Hosts>,
) -> Box<[Box<[Carrier]>]> {
    let anywhere: BTreeSet<&Carrier> = said
        .iter()
        .flat_map(|said| &said.carriers)
        .copied()
        .collect();
    let mut sets: Vec<Box<[Carrier]>> = vec![anywhere.into_iter().cloned().collect()];
    let mut places: Map<Carriers<'_>, u32> = Map::default();
    for ((host, port), own) in targets.iter().zip(said) {
        let Some(hosts) = by_port.get_mut(port) else {
            continue;
        };
        let wider = hosts.above(host.as_str());
        let wider = wider.filter_map(|covering| said.get(covering.gate.id.index()));
        let mut all: Carriers<'_> = own.carriers.clone();
        all.extend(wider.flat_map(|said| said.carriers.iter().copied()));
        all.sort_unstable();
        all.dedup();
        let place = *places.entry(all).or_insert_with_key(|all| {
            sets.push(all.iter().copied().cloned().collect());
            u32::try_from(sets.len().saturating_sub(1)).unwrap_or(ANYWHERE)
        });
        if let Some(gate) = hosts.by_kind_of(host).get_mut(host.as_str().as_bytes()) {
            gate.injectable = place;
        }
    }
    sets.into()
}

impl Hosts {
    /// Where such a host stands.
    const fn by_kind_of(&mut self, host: &HostPattern) -> &mut Table<Gate> {
        match host {
            HostPattern::Exact(_) => &mut self.exact,
            HostPattern::Suffix(_) => &mut self.suffixes,
        }
    }

    /// The suffixes that `host` lies below, the longest first.
    fn above<'i, 'h>(&'i self, host: &'h str) -> impl Iterator<Item = Covering> + use<'i, 'h> {
        let suffixes = (!self.suffixes.is_empty()).then(|| suffixes_of(host));
        let covering = |suffix: &str| {
            Some(Covering {
                gate: *self.suffixes.get(suffix.as_bytes())?,
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
