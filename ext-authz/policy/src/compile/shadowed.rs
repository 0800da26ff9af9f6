//! Policies that can never apply, as far as it is certain: because another one always wins, or because no
//! provider that they name can prove their client. Warnings all: a deny that stops everything for a while
//! must not be refused for what it stops.

use attache_core::{
    identity::Naming,
    request::{Host, PathPrefix},
};

use crate::{
    compile::{Binding, HostPort, Meaning},
    document::{Effect, HostPattern, MethodSet, TrustProvider},
    hash::Map,
    problem::{Code, Report},
    rule::{Accepts, Rule},
    selector::Selector,
};

/// How many policies of one target each policy is compared with, so that the cost stays linear.
const MAX_COMPARED: usize = 64;

/// The enforced denies of each target.
type Denies<'b> = Map<&'b HostPort, Vec<&'b Binding>>;

/// Reports them.
pub(super) fn report_shadowed(meaning: &Meaning, report: &Report) {
    let mut provable = Provable {
        meaning,
        namings: Map::default(),
    };
    let mut denies = Denies::default();
    let mut allows = Vec::new();
    for binding in &meaning.bindings {
        if !provable.is_so(binding) {
            report_unprovable(binding, report);
        } else if !binding.rule.is_enforced() {
            // It is told what would come of it.
        } else if binding.rule.effect == Effect::Allow {
            allows.push(binding);
        }
        if binding.rule.is_enforced()
            && binding.rule.effect == Effect::Deny
            && let Some(target) = meaning.targets.get(binding.target.index())
        {
            denies.entry(target).or_default().push(binding);
        }
    }
    allows.sort_by_key(|binding| binding.target);
    for equals in allows.chunk_by(|one, other| one.target == other.target) {
        let Some(first) = equals.first() else {
            continue;
        };
        let denied = denied(first, meaning, &denies);
        if equals.len() == 1 && denied.is_empty() {
            continue;
        }
        for binding in equals {
            report_shadow(binding, &denied, equals, &meaning.selectors, report);
        }
    }
}

/// The denies of the target of `binding` and of those that it lies below.
fn denied<'b>(binding: &Binding, meaning: &Meaning, denies: &Denies<'b>) -> Vec<&'b Binding> {
    let target = meaning.targets.get(binding.target.index());
    let Some((host, port)) = target.filter(|_| !denies.is_empty()) else {
        return Vec::new();
    };
    let found = wider(host).filter_map(|host| denies.get(&(host, *port)));
    let found = found.flat_map(|denies| denies.iter().take(MAX_COMPARED));
    found.copied().collect()
}

fn report_shadow(
    binding: &Binding,
    denied: &[&Binding],
    equals: &[&Binding],
    selectors: &[Selector],
    report: &Report,
) {
    let shadow = |by: &&&Binding| by.shadows(binding, selectors);
    let message = if let Some(deny) = denied.iter().find(shadow) {
        let (policy, spot) = (deny.rule.policy(), &deny.spot);
        format!("never applies: {policy} ({spot}) denies every call that it allows")
    } else if let Some(allow) = equals.iter().take(MAX_COMPARED).find(shadow) {
        let (policy, spot) = (allow.rule.policy(), &allow.spot);
        format!("never applies: {policy} ({spot}) already allows every call that it allows")
    } else {
        return;
    };
    let way_out = Some("remove it, or narrow the other policy".to_owned());
    report.warning(binding.place(), Code::Shadowed, message, way_out);
}

/// Whether the providers that a policy names can prove its client.
struct Provable<'m> {
    meaning: &'m Meaning,
    /// Of each list of providers, which many policies share; `None` if one of them is not known.
    namings: Map<usize, Option<Vec<Naming<'m>>>>,
}

impl<'m> Provable<'m> {
    /// Also if it is not known.
    fn is_so(&mut self, binding: &'m Binding) -> bool {
        let meaning = self.meaning;
        let named = binding.rule.accepts.named();
        let Some(selector) = meaning.selectors.get(binding.client.index()) else {
            return true;
        };
        let naming_of = |name: &str| {
            let mut providers = meaning.trust_providers.iter();
            providers
                .find(|provider| provider.name == name)
                .map(TrustProvider::naming)
        };
        let namings = self.namings.entry(named.as_ptr().addr());
        let namings = namings.or_insert_with(|| named.iter().map(|name| naming_of(name)).collect());
        let Some(namings) = namings.as_ref().filter(|namings| !namings.is_empty()) else {
            return true;
        };
        namings.iter().any(|naming| selector.is_provable_by(naming))
    }
}

fn report_unprovable(binding: &Binding, report: &Report) {
    let message = "never applies: none of its trust providers can prove what its client asks for";
    let way_out = "name a provider of the type that proves these attributes: k8s.* is proven by \
        kubernetes-service-account, claims.* by oidc, github.* by github-actions, and so on";
    let way_out = Some(way_out.to_owned());
    report.warning(binding.place(), Code::NeverApplies, message, way_out);
}

/// The host itself, and every suffix that it lies below.
fn wider(host: &HostPattern) -> impl Iterator<Item = HostPattern> {
    let text = host.as_str();
    let below = text
        .match_indices('.')
        .filter_map(|(at, _)| text.get(at.saturating_add(1)..));
    let suffixes = below.filter_map(|suffix| Host::parse(suffix).ok().map(HostPattern::Suffix));
    std::iter::once(host.clone()).chain(suffixes)
}

impl Binding {
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
                rule.policy() < shadowed.policy()
                    && rule.conditions.len() == shadowed.conditions.len()
                    && rule.grants_same_as(shadowed)
            }
        };
        let same_callers = || {
            let pair = (
                selectors.get(other.client.index()),
                selectors.get(self.client.index()),
            );
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
