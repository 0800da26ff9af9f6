//! What a projected ServiceAccount token proves: namespace, account, pod and node, as the cluster's API
//! server wrote them into the `kubernetes.io` claim.

use attache_core::{
    attributes::{Attributes, kubernetes},
    jwt::RejectedToken,
};
use serde_json::{Map, Value};

use crate::provider::is_api_servers;

const CLAIM: &str = "kubernetes.io";
const MALFORMED: RejectedToken = RejectedToken::ClaimMalformed(CLAIM);

/// The pod's attributes. `cluster` is the provider's name for its cluster.
///
/// A token without the claim (a legacy one, from a Secret) is refused: it is bound to nothing.
pub(crate) fn attributes(
    claims: &Map<String, Value>,
    cluster: Option<&str>,
) -> Result<Attributes, RejectedToken> {
    refuse_api_servers_audience(claims)?;
    let claim = claims
        .get(CLAIM)
        .ok_or(RejectedToken::ClaimMissing(CLAIM))?;
    let claim = claim.as_object().ok_or(MALFORMED)?;
    let account = claim
        .get("serviceaccount")
        .and_then(Value::as_object)
        .ok_or(MALFORMED)?;
    let (namespace, name) = (text(claim, "namespace")?, text(account, "name")?);
    // SECURITY: two places of one token that name different workloads: neither is believed.
    let subject = claims.get("sub").and_then(Value::as_str);
    let subject = subject.ok_or(RejectedToken::ClaimMissing("sub"))?;
    if subject != format!("system:serviceaccount:{namespace}:{name}") {
        return Err(RejectedToken::ClaimMalformed("sub"));
    }
    // No API server writes other names; whatever an ID is made of, these can stand in it.
    for name in [namespace, name] {
        if !is_name(name) {
            return Err(MALFORMED);
        }
    }

    let mut attributes = Attributes::new();
    if let Some(cluster) = cluster {
        attributes.set(kubernetes::CLUSTER, cluster);
    }
    attributes.set(kubernetes::NAMESPACE, namespace);
    attributes.set(kubernetes::SERVICE_ACCOUNT, name);
    attributes.set(kubernetes::SERVICE_ACCOUNT_UID, text(account, "uid")?);
    // Only tokens that are bound to a pod name one.
    if let Some(pod) = object(claim, "pod")? {
        attributes.set(kubernetes::POD_NAME, text(pod, "name")?);
        attributes.set(kubernetes::POD_UID, text(pod, "uid")?);
    }
    // The API server leaves out the `uid` of a node that it does not know (any more).
    if let Some(node) = object(claim, "node")? {
        attributes.set(kubernetes::NODE_NAME, text(node, "name")?);
    }
    Ok(attributes)
}

/// RFC 1123 names, as Kubernetes gives them to namespaces and ServiceAccounts.
fn is_name(text: &str) -> bool {
    let inside = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= 253
        && bytes.iter().copied().all(inside)
        && ends(bytes.first())
        && ends(bytes.last())
}

/// SECURITY: whoever may show us a token that the API server takes too has shown us a key to the
/// cluster; we do not teach workloads to send it around.
fn refuse_api_servers_audience(claims: &Map<String, Value>) -> Result<(), RejectedToken> {
    let issuer = claims
        .get("iss")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let audiences = claims
        .get("aud")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let mut audiences = audiences.filter_map(Value::as_str);
    if audiences.any(|audience| is_api_servers(audience, issuer)) {
        return Err(RejectedToken::AudienceMismatch);
    }
    Ok(())
}

fn object<'c>(
    claim: &'c Map<String, Value>,
    name: &str,
) -> Result<Option<&'c Map<String, Value>>, RejectedToken> {
    claim
        .get(name)
        .map(|value| value.as_object().ok_or(MALFORMED))
        .transpose()
}

fn text<'c>(object: &'c Map<String, Value>, name: &str) -> Result<&'c str, RejectedToken> {
    let value = object.get(name).and_then(Value::as_str);
    value.filter(|text| !text.is_empty()).ok_or(MALFORMED)
}
