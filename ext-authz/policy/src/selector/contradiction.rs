//! What of a selector no caller can ever meet, as far as it is certain.

use attache_core::{
    attributes::{SPIFFE_ID, kubernetes},
    spiffe_id::SpiffeId,
};

use super::{CLAIMS, Condition};
use crate::{
    name,
    problem::{Code, quoted},
    yaml::At,
};

/// What every attribute that a cluster proves begins with.
pub(super) const KUBERNETES: &str = "k8s.";

/// Refuses an entry whose conditions cannot hold together.
pub(super) fn check(at: &At<'_>, conditions: &[Condition]) -> Option<()> {
    let by_cluster = first_of(conditions, KUBERNETES);
    let by_issuer = first_of(conditions, CLAIMS);
    if let (Some(one), Some(other)) = (by_cluster, by_issuer) {
        let message = format!(
            "no caller has both: {} is proven by clusters alone, {} by oidc issuers alone",
            one.attribute, other.attribute
        );
        let way_out = "write two entries of the list; one that holds is enough";
        return at.refuse_with(Code::ContradictorySelector, message, way_out);
    }
    let Some(ids) = conditions
        .iter()
        .find(|condition| condition.attribute == SPIFFE_ID)
    else {
        return Some(());
    };
    let agrees = |id: &str| match (by_cluster, by_issuer) {
        (Some(_), _) => is_of_account(id, conditions),
        (None, Some(_)) => pod(id).is_none(),
        (None, None) => true,
    };
    let Some(exact) = ids.exact_values() else {
        return Some(());
    };
    if exact.iter().any(|id| agrees(id)) {
        return Some(());
    }
    let message = format!(
        "no caller has both: the SPIFFE ID {} and the other attributes are of different workloads",
        quoted(exact.first().copied().unwrap_or_default())
    );
    let way_out = "leave one of them out: the SPIFFE ID of a pod is \
        spiffe://<trust domain>/ns/<namespace>/sa/<service account>";
    at.refuse_with(Code::ContradictorySelector, message, way_out)
}

/// Refuses an exact value that Kubernetes gives to nothing.
pub(crate) fn check_value(attribute: &str, at: &At<'_>) -> Option<()> {
    let text = at.text()?;
    let is_possible = match attribute {
        kubernetes::NAMESPACE => name::is_label,
        kubernetes::SERVICE_ACCOUNT | kubernetes::POD_NAME | kubernetes::NODE_NAME => {
            name::is_subdomain
        }
        _ => return Some(()),
    };
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

fn first_of<'c>(conditions: &'c [Condition], prefix: &str) -> Option<&'c Condition> {
    conditions
        .iter()
        .find(|condition| condition.attribute.starts_with(prefix))
}

/// Whether the ID is that of a pod whose namespace and account the other conditions accept.
fn is_of_account(id: &str, conditions: &[Condition]) -> bool {
    let Some((namespace, account)) = pod(id) else {
        return false;
    };
    let accepts = |attribute: &str, value: &str| {
        let mut asked = conditions.iter();
        let asked = asked.find(|condition| condition.attribute == attribute);
        asked.is_none_or(|asked| asked.patterns.iter().any(|pattern| pattern.matches(value)))
    };
    accepts(kubernetes::NAMESPACE, &namespace) && accepts(kubernetes::SERVICE_ACCOUNT, &account)
}

/// Namespace and ServiceAccount of a pod's SPIFFE ID.
pub(super) fn pod(id: &str) -> Option<(String, String)> {
    let id = SpiffeId::parse(id).ok()?;
    let (namespace, account) = id.path().strip_prefix("/ns/")?.split_once("/sa/")?;
    let whole = !namespace.contains('/') && !account.contains('/');
    whole.then(|| (namespace.to_owned(), account.to_owned()))
}
