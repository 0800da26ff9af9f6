//! The rules of a set in one row: those of a client stand together, and among them those of a target, so that
//! a decision reads memory in few places.

use super::{clients::ClientId, targets::TargetId};
use crate::rule::Rule;

#[derive(Debug)]
pub(super) struct RuleIndex {
    rules: Box<[Bound]>,
    /// Where the rules of each client begin, and at last where those of the last client end.
    begins: Box<[u32]>,
}

#[derive(Debug)]
pub(super) struct Bound {
    pub(super) target: TargetId,
    pub(super) rule: Rule,
}

impl RuleIndex {
    /// Rules of one client and target keep their order.
    pub(super) fn build(mut rules: Vec<(ClientId, Bound)>, client_count: usize) -> Self {
        rules.sort_by_key(|(client, bound)| (*client, bound.target));
        let mut begins = Vec::with_capacity(client_count.saturating_add(1));
        let count = u32::try_from(rules.len()).unwrap_or(u32::MAX);
        for (place, (client, _)) in (0..count).zip(&rules) {
            if begins.len() <= client.index() {
                begins.resize(client.index().saturating_add(1), place);
            }
        }
        begins.resize(client_count.saturating_add(1), count);
        Self {
            rules: rules.into_iter().map(|(_, bound)| bound).collect(),
            begins: begins.into(),
        }
    }

    /// What is said about the client on the target.
    pub(super) fn of(&self, client: ClientId, target: TargetId) -> &[Bound] {
        let place = |client: usize| self.begins.get(client).copied().unwrap_or_default() as usize;
        let (begin, end) = (
            place(client.index()),
            place(client.index().saturating_add(1)),
        );
        let rules = self.rules.get(begin..end).unwrap_or_default();
        let first = rules.partition_point(|it| it.target < target);
        let rules = rules.get(first..).unwrap_or_default();
        let count = rules.partition_point(|it| it.target == target);
        rules.get(..count).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ClientId, TargetId, &Rule)> {
        let ends = self.begins.iter().skip(1);
        let clients = (0..u32::MAX).map(ClientId);
        let clients = clients.zip(self.begins.iter().zip(ends));
        let clients =
            clients.flat_map(|(client, (begin, end))| (*begin..*end).map(move |_rule| client));
        clients
            .zip(&self.rules)
            .map(|(client, bound)| (client, bound.target, &bound.rule))
    }
}
