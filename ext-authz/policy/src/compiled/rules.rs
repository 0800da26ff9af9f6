//! The rules of a set in one row: those of a client stand together, and among them those of a target, so that
//! a decision reads memory in few places.

use super::{clients::ClientId, targets::TargetId};
use crate::rule::Rule;

#[derive(Debug)]
pub(super) struct RuleIndex {
    rules: Box<[Rule]>,
    /// The target of each rule.
    targets: Box<[TargetId]>,
    /// Where the rules of each client begin, and at last where those of the last client end.
    begins: Box<[usize]>,
}

impl RuleIndex {
    /// Rules of one client and target keep their order.
    pub(super) fn build(mut rules: Vec<(ClientId, TargetId, Rule)>, client_count: usize) -> Self {
        rules.sort_by_key(|(client, target, _)| (*client, *target));
        let mut begins = Vec::with_capacity(client_count.saturating_add(1));
        for (place, (client, ..)) in rules.iter().enumerate() {
            if begins.len() <= client.0 {
                begins.resize(client.0.saturating_add(1), place);
            }
        }
        begins.resize(client_count.saturating_add(1), rules.len());
        Self {
            targets: rules.iter().map(|(_, target, _)| *target).collect(),
            rules: rules.into_iter().map(|(.., rule)| rule).collect(),
            begins: begins.into(),
        }
    }

    /// What is said about the client on the target.
    pub(super) fn of(&self, client: ClientId, target: TargetId) -> &[Rule] {
        let place = |client: usize| self.begins.get(client).copied().unwrap_or_default();
        let (begin, end) = (place(client.0), place(client.0.saturating_add(1)));
        let targets = self.targets.get(begin..end).unwrap_or_default();
        let first = begin.saturating_add(targets.partition_point(|it| *it < target));
        let after = begin.saturating_add(targets.partition_point(|it| *it <= target));
        self.rules.get(first..after).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ClientId, TargetId, &Rule)> {
        let ends = self.begins.iter().skip(1);
        let clients = self.begins.iter().zip(ends).enumerate();
        let clients = clients
            .flat_map(|(client, (begin, end))| (*begin..*end).map(move |_rule| ClientId(client)));
        let rules = self.targets.iter().zip(&self.rules);
        clients
            .zip(rules)
            .map(|(client, (target, rule))| (client, *target, rule))
    }
}
