//! What tests expect of policies and trust providers that do not exist: such a case could only ever fail, or, worse,
//! be one that nobody looks at any more.

use crate::{
    compile::{Binding, directory::Directory},
    document::PolicyTest,
    hash::Set,
    problem::{Code, Place, did_you_mean, quoted},
};

/// As many names as are compared with one that nothing has.
const MANY: usize = 10_000;

/// Reports each name that no policy has, and each that no trust provider has.
pub(super) fn report_dangling(directory: &Directory<'_>, bindings: &[Binding]) {
    if directory.tests.is_empty() {
        return;
    }
    let names = |binding: &'_ Binding| {
        let rule = &binding.rule;
        let matched = (0..rule.actions.len()).map(|action| rule.matched(action).to_owned());
        matched.collect::<Vec<_>>()
    };
    let matched: Set<String> = bindings.iter().flat_map(names).collect();
    // What a refused policy would be called is not known.
    let all_known = !directory.report.has_errors();
    for test in &directory.tests {
        for case in &test.cases {
            let policy = case
                .expect
                .policy
                .as_ref()
                .zip(case.expect.policy_place.as_ref());
            if let Some((policy, place)) = policy
                && !is_name_of(directory, test, policy, |names, namespace, name| {
                    names.policies.kind_of(namespace, name).is_some()
                })
                && !matched.contains(policy)
                && (all_known || !policy.contains(':'))
            {
                let rules = bindings.iter().map(|binding| binding.rule.policy());
                let known = rules.chain(matched.iter().map(String::as_str));
                report(directory, place, "policy", policy, known);
            }
            let provider = case
                .trust_provider
                .as_ref()
                .zip(case.provider_place.as_ref());
            if let Some((provider, place)) = provider
                && !is_name_of(directory, test, provider, |names, namespace, name| {
                    names.providers.kind_of(namespace, name).is_some()
                })
            {
                let known = directory.trust_providers.iter();
                let known = known.map(|provider| provider.name.as_str());
                report(directory, place, "TrustProvider", provider, known);
            }
        }
    }
}

/// Whether `written` is a name, in the namespace of the test or of all.
fn is_name_of<'r>(
    directory: &Directory<'r>,
    test: &PolicyTest,
    written: &str,
    exists: impl Fn(&Directory<'r>, Option<&str>, &str) -> bool,
) -> bool {
    match written.split_once('/') {
        Some((namespace, name)) => exists(directory, Some(namespace), name),
        None => {
            let own = test.name.namespace.as_deref();
            exists(directory, own, written) || exists(directory, None, written)
        }
    }
}

fn report<'n>(
    directory: &Directory<'_>,
    place: &Place,
    what: &str,
    written: &str,
    known: impl Iterator<Item = &'n str>,
) {
    let message = format!("no {what} named {}", quoted(written));
    let near = directory
        .report
        .may_compare(MANY)
        .then(|| did_you_mean(written, known));
    let way_out = near.flatten().unwrap_or_else(|| match what {
        "policy" => "write the name of a policy document, or `<effect>:<client>:<server>:<action>`"
            .to_owned(),
        _ => format!("write that {what}, or name another"),
    });
    let place = place.clone();
    directory
        .report
        .error_with(place, Code::DanglingReference, message, Some(way_out));
}
