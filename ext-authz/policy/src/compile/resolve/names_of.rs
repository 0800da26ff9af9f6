//! The names that a rule has beside its terms.

use crate::{
    compile::directory::{Client, Server},
    document::{Action, Effect},
    name::QualifiedName,
};

/// Room for nearly all of them.
const USUAL: usize = 128;

/// The names of a policy: its own, and what `policy_matched` says of each action.
pub(super) struct NamesOf<'n> {
    policy: &'n QualifiedName,
    effect: Effect,
    client: &'n str,
    server: &'n str,
}

impl<'n> NamesOf<'n> {
    pub(super) fn policy(
        policy: &'n QualifiedName,
        effect: Effect,
        client: &'n Client,
        server: &'n Server,
    ) -> Self {
        Self {
            policy,
            effect,
            client: &client.name,
            server: server.workload.name.as_str(),
        }
    }

    /// With the names of `actions`, as a rule keeps them.
    pub(super) fn with(&self, actions: &[Action]) -> String {
        let QualifiedName { namespace, name } = self.policy;
        let mut names = String::with_capacity(USUAL);
        if let Some(namespace) = namespace {
            names.extend([namespace.as_str(), "/"]);
        }
        names.push_str(name);
        let effect = self.effect.name();
        for action in actions {
            let matched = [
                effect,
                ":",
                self.client,
                ":",
                self.server,
                ":",
                &action.name,
            ];
            names.push('\n');
            names.extend(matched);
        }
        names
    }
}
