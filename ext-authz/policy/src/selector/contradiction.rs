//! What of a selector no caller can ever meet, as far as it is certain.

use attache_core::{attestation::ProviderKind, attributes::kubernetes};

use super::{Condition, Entry, is_unproven};
use crate::{
    name,
    problem::{Code, quoted},
    yaml::At,
};

/// Refuses an entry whose conditions cannot hold together: no kind of trust provider proves them all.
pub(super) fn check(at: &At<'_>, conditions: &[Condition]) -> Option<()> {
    let proves_all = |kind: &ProviderKind| {
        conditions
            .iter()
            .all(|condition| kind.proves(&condition.attribute))
    };
    if ProviderKind::ALL.iter().any(proves_all) {
        return Some(());
    }
    let unproven = |condition: &&Condition| is_unproven(&condition.attribute);
    let count = conditions.iter().filter(unproven).count();
    if count == conditions.len() {
        return Some(());
    }
    if count > 0 {
        let message = "no caller has both: `unproven.*` is about callers that show no evidence";
        return at.refuse_with(Code::ContradictorySelector, message, SEPARATE);
    }
    let (one, other) = foreign_pair(conditions)?;
    let message = format!(
        "no caller has both: {one} is proven by {}, {other} by {}",
        provers(one),
        provers(other)
    );
    let way_out = "write two entries of the list; one that holds is enough";
    at.refuse_with(Code::ContradictorySelector, message, way_out)
}

/// Refuses a list of which some entries are about what is proven and some about what is not.
pub(crate) fn check_proof(at: &At<'_>, entries: &[Entry]) -> Option<()> {
    let mut unproven = entries.iter().map(Entry::is_unproven);
    let first = unproven.next();
    if unproven.all(|other| Some(other) == first) {
        return Some(());
    }
    let message = "`unproven.*` is about callers that show no evidence, the other entries are not";
    at.refuse_with(Code::ContradictorySelector, message, SEPARATE)
}

const SEPARATE: &str = "write two ClientWorkloads, and a policy for each";

/// Two attributes that no kind proves both of.
fn foreign_pair(conditions: &[Condition]) -> Option<(&str, &str)> {
    let names = || conditions.iter().map(|condition| &*condition.attribute);
    let both = |one, other| {
        let mut kinds = ProviderKind::ALL.into_iter();
        kinds.any(|kind| kind.proves(one) && kind.proves(other))
    };
    names().find_map(|one| Some((one, names().find(|other| !both(one, other))?)))
}

/// The kinds of trust providers that prove an attribute.
pub(crate) fn provers(attribute: &str) -> String {
    let kinds = ProviderKind::ALL.into_iter();
    let kinds = kinds.filter(|kind| kind.proves(attribute));
    let names: Vec<&str> = kinds.map(ProviderKind::name).collect();
    names.join(" or ")
}

/// Refuses an exact value that Kubernetes gives to nothing.
pub(crate) fn check_value(attribute: &str, at: &At<'_>) -> Option<()> {
    match attribute {
        kubernetes::NAMESPACE => check_name(at, name::is_label),
        kubernetes::SERVICE_ACCOUNT | kubernetes::POD_NAME | kubernetes::NODE_NAME => {
            check_name(at, name::is_subdomain)
        }
        _ => Some(()),
    }
}

/// Refuses a glob that has a sign which stands in no name of Kubernetes.
pub(crate) fn check_glob(attribute: &str, at: &At<'_>) -> Option<()> {
    match attribute {
        kubernetes::NAMESPACE => check_name(at, |glob| has_only(glob, b"*-")),
        kubernetes::SERVICE_ACCOUNT | kubernetes::POD_NAME | kubernetes::NODE_NAME => {
            check_name(at, |glob| has_only(glob, b"*-."))
        }
        _ => Some(()),
    }
}

fn has_only(glob: &str, others: &[u8]) -> bool {
    let inside =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || others.contains(&byte);
    glob.bytes().all(inside)
}

fn check_name(at: &At<'_>, is_possible: impl Fn(&str) -> bool) -> Option<()> {
    let text = at.text()?;
    if is_possible(text) {
        return Some(());
    }
    let message = format!("Kubernetes gives nothing the name {}", quoted(text));
    let folded = text.to_ascii_lowercase().replace('_', "-");
    let way_out = if is_possible(&folded) {
        format!("did you mean {}?", quoted(&folded))
    } else {
        "write a name of a-z, 0-9 and `-`".to_owned()
    };
    at.refuse_with(Code::ContradictorySelector, message, way_out)
}
