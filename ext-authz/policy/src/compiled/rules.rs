//! The rules of a set in one row: those of a client stand together, and among them those of a target, so that
//! a decision reads memory in few places.

use std::sync::Arc;

use super::{clients::ClientId, targets::TargetId};
use crate::rule::Rule;

#[derive(Debug)]
pub(super) struct RuleIndex {
    rules: Box<[Bound]>,
    begins: Begins,
}

/// A rule as it is read: two lines of a processor's cache, which are fetched together.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Bound {
    pub(super) target: TargetId,
    /// How many rules of its client there are from here on.
    left: u32,
    pub(super) rule: Rule,
}

const _: () = assert!(size_of::<Bound>() == 128, "a rule is two lines");

/// Where the rules of each client begin, and at last where those of the last client end.
#[derive(Clone, Debug)]
pub(super) struct Begins(Arc<[u32]>);

/// Where the rules of a client begin, or [`NOWHERE`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin(u32);

/// Of a client without rules.
const NOWHERE: u32 = u32::MAX;

impl Begins {
    /// `clients`: that of each rule.
    pub(super) fn count(clients: impl Iterator<Item = ClientId>, client_count: usize) -> Self {
        let mut begins = vec![0_u32; client_count.saturating_add(1)];
        for client in clients {
            if let Some(after) = begins.get_mut(client.index().saturating_add(1)) {
                *after = after.saturating_add(1);
            }
        }
        let mut sum = 0_u32;
        for begin in &mut begins {
            sum = sum.saturating_add(*begin);
            *begin = sum;
        }
        Self(begins.into())
    }

    pub(super) fn of(&self, client: ClientId) -> Begin {
        let (begin, end) = (self.at(client.index()), self.end(client));
        Begin(if begin < end { begin } else { NOWHERE })
    }

    fn end(&self, client: ClientId) -> u32 {
        self.at(client.index().saturating_add(1))
    }

    fn at(&self, client: usize) -> u32 {
        self.0.get(client).copied().unwrap_or(NOWHERE)
    }
}

impl RuleIndex {
    /// Rules of one client and target keep their order. `begins` counts these rules.
    pub(super) fn build(mut rules: Vec<(ClientId, TargetId, Rule)>, begins: Begins) -> Self {
        rules.sort_by_key(|(client, target, _)| (*client, *target));
        let rules = rules.into_iter().zip(0_u32..);
        let rules = rules.map(|((client, target, rule), place)| Bound {
            target,
            left: begins.end(client).saturating_sub(place),
            rule,
        });
        Self {
            rules: rules.collect(),
            begins,
        }
    }

    /// What is said about the client on the target.
    pub(super) fn of(&self, client: ClientId, target: TargetId) -> &[Bound] {
        self.from(self.begins.of(client), target)
    }

    /// What is said on the target about the client whose rules begin there.
    pub(super) fn from(&self, begin: Begin, target: TargetId) -> &[Bound] {
        let rules = self.rules.get(begin.0 as usize..).unwrap_or_default();
        let count = rules.first().map_or(0, |first| first.left as usize);
        let rules = rules.get(..count).unwrap_or_default();
        let first = rules.partition_point(|it| it.target < target);
        let rules = rules.get(first..).unwrap_or_default();
        let count = rules.partition_point(|it| it.target == target);
        rules.get(..count).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ClientId, TargetId, &Rule)> {
        let ends = self.begins.0.iter().skip(1);
        let clients = (0..u32::MAX).map(ClientId);
        let clients = clients.zip(self.begins.0.iter().zip(ends));
        let clients =
            clients.flat_map(|(client, (begin, end))| (*begin..*end).map(move |_rule| client));
        clients
            .zip(&self.rules)
            .map(|(client, bound)| (client, bound.target, &bound.rule))
    }
}

#[cfg(test)]
mod tests;
