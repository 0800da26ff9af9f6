//! Which attributes of a caller any policy asks about, or a trust provider before it vouches for the caller. An audit
//! event keeps those, so that the access can be explained later, and no others.

use attache_core::attributes;

use crate::{
    compile::Binding, condition::Test, document::TrustProvider, hash::Set, selector::Selector,
};

/// The names that selectors have, and the texts that stand in expressions: an expression can look up an
/// attribute by such a text alone.
pub(super) fn about(
    selectors: &[Selector],
    bindings: &[Binding],
    trust_providers: &[TrustProvider],
) -> Set<Box<str>> {
    let mut names = Set::default();
    let entries = selectors.iter().flat_map(|selector| &selector.entries);
    for condition in entries.flat_map(|entry| &entry.conditions) {
        add(&mut names, &condition.attribute);
    }
    let vouching = trust_providers.iter();
    let vouching = vouching.flat_map(|provider| provider.only.iter().flatten());
    for requirement in vouching {
        add(&mut names, &requirement.attribute);
    }
    let conditions = bindings.iter().flat_map(|binding| &binding.rule.conditions);
    for condition in conditions {
        if let Test::Expression(expression) = &condition.test {
            let quoted = expression.source().split(['"', '\'']);
            quoted.for_each(|text| add(&mut names, text));
        }
    }
    names
}

fn add(names: &mut Set<Box<str>>, name: &str) {
    // The SPIFFE ID, of which those of `spiffe.*` are parts, stands in the event already.
    let is_attribute = || attributes::is_known(name) && !name.starts_with("spiffe.");
    if !names.contains(name) && is_attribute() {
        names.insert(name.into());
    }
}
