//! Policies that can never apply, as far as it is certain: because another one always wins, or because no
//! provider that they name can prove their client. Warnings all: a deny that stops everything for a while
//! must not be refused for what it stops.

use std::collections::HashMap;

use attache_core::request::{Host, PathPrefix};

use crate::{
    compile::{Binding, Meaning},
    document::{Effect, HostPattern, MethodSet, TrustProvider},
    problem::{Code, Report},
    rule::{Accepts, Rule},
    selector::Selector,
};

/// How many policies of one target each policy is compared with, so that the cost stays linear.
const MAX_COMPARED: usize = 64;

/// The enforced policies of each target.
type Targets<'b> = HashMap<(HostPattern, u16), Vec<&'b Binding>>;

/// Reports them.
pub(super) fn report_shadowed(meaning: &Meaning, report: &Report) {
    let enforced = || {
        let bindings = meaning.bindings.iter();
        bindings.filter(|binding| binding.rule.is_enforced())
    };
    let (mut denies, mut allows) = (Targets::new(), Targets::new());
    for binding in enforced() {
        let targets = match binding.rule.effect {
            Effect::Deny => &mut denies,
            Effect::Allow => &mut allows,
        };
        targets.entry(binding.target()).or_default().push(binding);
    }
    for binding in enforced() {
        if report_unprovable(binding, meaning, report) || binding.rule.effect == Effect::Deny {
            continue;
        }
        let shadow = |by: &&&Binding| by.shadows(binding, &meaning.selectors);
        let hosts = (!denies.is_empty()).then(|| wider(&binding.server.host));
        let denied = hosts
            .into_iter()
            .flatten()
            .filter_map(|host| denies.get(&(host, binding.server.port)))
            .find_map(|denies| denies.iter().take(MAX_COMPARED).find(shadow));
        let equals = allows.get(&binding.target());
        let equals = equals.into_iter().flatten().take(MAX_COMPARED);
        let message = if let Some(deny) = denied {
            let (policy, place) = (&deny.rule.policy, &deny.place);
            format!("never applies: {policy} ({place}) denies every call that it allows")
        } else if let Some(allow) = equals.into_iter().find(shadow) {
            let (policy, place) = (&allow.rule.policy, &allow.place);
            format!("never applies: {policy} ({place}) already allows every call that it allows")
        } else {
            continue;
        };
        let way_out = Some("remove it, or narrow the other policy".to_owned());
        report.warning(binding.place.clone(), Code::Shadowed, message, way_out);
    }
}

/// Whether it is reported that no provider which the policy names can prove its client.
fn report_unprovable(binding: &Binding, meaning: &Meaning, report: &Report) -> bool {
    let named = binding.rule.accepts.named();
    let Some(selector) = meaning.selectors.get(binding.client) else {
        return false;
    };
    let naming_of = |name: &str| {
        let mut providers = meaning.trust_providers.iter();
        providers
            .find(|provider| provider.name == name)
            .map(TrustProvider::naming)
    };
    let namings: Option<Vec<_>> = named.iter().map(|name| naming_of(name)).collect();
    let Some(namings) = namings.filter(|namings| !namings.is_empty()) else {
        return false;
    };
    if namings.iter().any(|naming| selector.is_provable_by(naming)) {
        return false;
    }
    let message = "never applies: none of its trust providers can prove what its client asks for";
    let way_out = "name a provider of the type that proves these attributes: k8s.* is proven by \
        kubernetes-service-account, claims.* by oidc, github.* by github-actions, and so on";
    let (place, way_out) = (binding.place.clone(), Some(way_out.to_owned()));
    report.warning(place, Code::NeverApplies, message, way_out);
    true
}

/// The host itself, and every suffix that it lies below.
fn wider(host: &HostPattern) -> impl Iterator<Item = HostPattern> {
    let text = match host {
        HostPattern::Exact(host) | HostPattern::Suffix(host) => host.as_str(),
    };
    let below = text
        .match_indices('.')
        .filter_map(|(at, _)| text.get(at.saturating_add(1)..));
    let suffixes = below.filter_map(|suffix| Host::parse(suffix).ok().map(HostPattern::Suffix));
    std::iter::once(host.clone()).chain(suffixes)
}

impl Binding {
    fn target(&self) -> (HostPattern, u16) {
        (self.server.host.clone(), self.server.port)
    }

    /// Whether this one decides every call that `other`, an allow of the same target or of a narrower one,
    /// is about.
    fn shadows(&self, other: &Self, selectors: &[Selector]) -> bool {
        let (rule, shadowed) = (&self.rule, &other.rule);
        let mut own_conditions = rule.conditions.iter();
        let holds_wherever_it_does =
            own_conditions.all(|own| shadowed.conditions.iter().any(|it| it.name == own.name));
        let decides = match rule.effect {
            Effect::Deny => true,
            // Of equals the first by name is told.
            Effect::Allow => {
                rule.policy < shadowed.policy
                    && rule.conditions.len() == shadowed.conditions.len()
                    && rule.grants_same_as(shadowed)
            }
        };
        let same_callers = || {
            let pair = (selectors.get(other.client), selectors.get(self.client));
            self.client == other.client
                || matches!(pair, (Some(narrow), Some(wide)) if narrow.implies(wide))
        };
        decides
            && holds_wherever_it_does
            && rule.accepts.include(&shadowed.accepts)
            && same_callers()
            && rule.reaches_all_of(shadowed)
    }
}

impl Accepts {
    fn include(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::Anyone, _) | (Self::Nobody, Self::Nobody) => true,
            (Self::These(_), Self::These(others)) => others.iter().all(|name| self.includes(name)),
            (Self::All(own), Self::All(theirs)) => {
                own.iter().all(|name| others.includes(name))
                    && theirs.iter().all(|name| self.includes(name))
            }
            (Self::These(_) | Self::All(_) | Self::Nobody, _) => false,
        }
    }
}

impl Rule {
    /// Whether every call of `other` is a call of this, and by a prefix that outranks or equals its own.
    fn reaches_all_of(&self, other: &Self) -> bool {
        let reaches = |prefix: &PathPrefix, method: Option<&str>| {
            self.actions.iter().any(|action| {
                let methods = match (&action.methods, method) {
                    (MethodSet::Any, _) => true,
                    (MethodSet::These(_), None) => false,
                    (MethodSet::These(_), Some(method)) => action.methods.contains(method),
                };
                let mut prefixes = action.prefixes.iter();
                methods
                    && prefixes.any(|own| match self.effect {
                        Effect::Deny => own.encloses(prefix),
                        Effect::Allow => own == prefix,
                    })
            })
        };
        other.actions.iter().all(|action| {
            let mut prefixes = action.prefixes.iter();
            prefixes.all(|prefix| match &action.methods {
                MethodSet::Any => reaches(prefix, None),
                MethodSet::These(methods) => {
                    methods.iter().all(|method| reaches(prefix, Some(method)))
                }
            })
        })
    }
}
