//! The names that a rule has beside its terms.

use crate::{
    compile::directory::{Client, Server},
    document::{Action, Effect},
    name::QualifiedName,
};

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
    pub(super) fn with(&self, actions: &[Action]) -> Box<str> {
        let QualifiedName { namespace, name } = self.policy;
        let effect = self.effect.name();
        let mut names = String::new();
        let lines = |add: &mut dyn FnMut(&str)| {
            if let Some(namespace) = namespace {
                add(namespace);
                add("/");
            }
            add(name);
            for action in actions {
                for part in [
                    "\n",
                    effect,
                    ":",
                    self.client,
                    ":",
                    self.server,
                    ":",
                    &action.name,
                ] {
                    add(part);
                }
            }
        };
        let mut length: usize = 0;
        lines(&mut |part| length = length.saturating_add(part.len()));
        names.reserve_exact(length);
        lines(&mut |part| names.push_str(part));
        names.into()
    }
}
