//! The kinds of segments. Each has a budget of its own, so that whatever strangers send never takes the
//! place of what was granted.

use attache_core::event::{Event, Mode, Outcome};

/// One kind of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Accesses that a policy granted, and that were carried out so.
    Permitted,
    /// Accesses that went on without a grant: observed ones, and those that no policy matches.
    Passed,
    /// Accesses that were denied, and those that met a fault.
    Denied,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Permitted, Self::Passed, Self::Denied];

    /// Where an event belongs.
    ///
    /// SECURITY: only a grant that was enforced counts as a permit, for it takes a proven caller. Anybody
    /// can make the edge pass or observe a request.
    pub fn of(event: &Event) -> Self {
        match (event.mode, event.outcome) {
            (Mode::Observe, _) => Self::Passed,
            (Mode::Enforce, Outcome::Denied | Outcome::Error) => Self::Denied,
            (Mode::Enforce, Outcome::Permitted) if is_granted(event) => Self::Permitted,
            (Mode::Enforce, Outcome::Permitted) => Self::Passed,
        }
    }

    /// How the names of its files begin.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Passed => "passed",
            Self::Denied => "denied",
        }
    }
}

fn is_granted(event: &Event) -> bool {
    let matched = event.policy_matched.as_deref();
    matched.is_some_and(|matched| matched.starts_with("allow:")) && event.code.is_none()
}

/// Something that each family has.
#[derive(Default)]
pub(super) struct PerFamily<T> {
    permitted: T,
    passed: T,
    denied: T,
}

impl<T> PerFamily<T> {
    pub(super) const fn of(&mut self, family: Family) -> &mut T {
        match family {
            Family::Permitted => &mut self.permitted,
            Family::Passed => &mut self.passed,
            Family::Denied => &mut self.denied,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        [&self.permitted, &self.passed, &self.denied].into_iter()
    }
}

#[cfg(test)]
mod tests;
