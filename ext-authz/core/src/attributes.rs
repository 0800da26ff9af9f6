//! What a trust provider proved about a caller, under names that only that kind of provider may use
//! (`k8s.namespace`); what an issuer merely claims lives under `claims.*`.

use alloc::{borrow::Cow, collections::BTreeMap, string::String, vec::Vec};
use core::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize, Serializer};

mod by_kind;
pub mod presets;
#[cfg(test)]
mod tests;

pub use by_kind::{CLAIMS, families, fixed, is_known, is_single};

/// The workload's own SPIFFE ID, an attribute that every attestation has.
pub const SPIFFE_ID: &str = "spiffe.id";

/// What a SPIFFE trust domain proves of a workload. Only its trust providers may use these names.
pub mod spiffe {
    /// The name of the trust domain: `cluster.local`.
    pub const TRUST_DOMAIN: &str = "spiffe.trustDomain";
    /// The path of the SPIFFE ID with its leading slash: `/ns/shop/sa/payment`.
    pub const PATH: &str = "spiffe.path";

    /// All of them.
    pub const ALL: [&str; 2] = [TRUST_DOMAIN, PATH];
}

/// What is said of a caller that proves nothing. No trust provider uses these names, and only policies that
/// attach no credential may ask about them.
pub mod unproven {
    /// All of them begin with it.
    pub const PREFIX: &str = "unproven.";
    /// The address that the call comes from.
    pub const SOURCE_ADDRESS: &str = "unproven.sourceAddress";
    /// The SPIFFE ID by which a proxy names the caller, without its certificate.
    pub const PRINCIPAL: &str = "unproven.principal";
}

/// What a Kubernetes cluster proves of a pod. Only its trust providers may use these names.
pub mod kubernetes {
    /// The cluster, as its trust provider calls it.
    pub const CLUSTER: &str = "k8s.cluster";
    /// The namespace.
    pub const NAMESPACE: &str = "k8s.namespace";
    /// The ServiceAccount's name.
    pub const SERVICE_ACCOUNT: &str = "k8s.serviceAccount";
    /// The ServiceAccount's UID: another one after it was deleted and made again.
    pub const SERVICE_ACCOUNT_UID: &str = "k8s.serviceAccountUid";
    /// The pod's name, if the token is bound to a pod.
    pub const POD_NAME: &str = "k8s.podName";
    /// The pod's UID, if the token is bound to a pod.
    pub const POD_UID: &str = "k8s.podUid";
    /// The name of the pod's node, if the cluster tells it.
    pub const NODE_NAME: &str = "k8s.nodeName";

    /// All of them.
    pub const ALL: [&str; 7] = [
        CLUSTER,
        NAMESPACE,
        SERVICE_ACCOUNT,
        SERVICE_ACCOUNT_UID,
        POD_NAME,
        POD_UID,
        NODE_NAME,
    ];
}

/// The value of one attribute. A claim may hold several values; a selector then matches any one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// A single value: `production`.
    One(CompactString),
    /// A list, in the order of the token: `["admins", "payments"]`.
    Many(Vec<CompactString>),
}

impl AttributeValue {
    /// A single value.
    pub fn one(value: impl Into<CompactString>) -> Self {
        Self::One(value.into())
    }

    /// A list of values.
    pub fn many(values: impl IntoIterator<Item: Into<CompactString>>) -> Self {
        Self::Many(values.into_iter().map(Into::into).collect())
    }

    fn join(&mut self, other: &Self) {
        if self == other {
            return;
        }
        let mut all: Vec<CompactString> = Vec::new();
        for value in self.values().chain(other.values()) {
            if !all.iter().any(|known| known == value) {
                all.push(value.into());
            }
        }
        *self = Self::Many(all);
    }

    fn values(&self) -> impl Iterator<Item = &str> {
        let values = match self {
            Self::One(value) => core::slice::from_ref(value),
            Self::Many(values) => values,
        };
        values.iter().map(CompactString::as_str)
    }

    /// Whether `accept` holds for the value, or for at least one value of a list.
    pub fn any(&self, accept: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(value) => accept(value),
            Self::Many(values) => values.iter().any(|value| accept(value)),
        }
    }
}

/// As audit events print it: the value itself, or the list with `, ` between its values.
impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(value) => f.write_str(value),
            Self::Many(values) => f.write_str(&values.join(", ")),
        }
    }
}

/// Attributes by name, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, AttributeValue>")]
pub struct Attributes(Vec<(Cow<'static, str>, AttributeValue)>);

impl Attributes {
    /// No attributes.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets a single value, replacing what stood there.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: &str) {
        self.insert(name, AttributeValue::One(value.into()));
    }

    /// Sets a value, replacing what stood there.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: AttributeValue) {
        let name = name.into();
        match self.place(&name) {
            Ok(place) => {
                if let Some((_, own)) = self.0.get_mut(place) {
                    *own = value;
                }
            }
            Err(place) => self.0.insert(place, (name, value)),
        }
    }

    /// The value of the attribute `name`.
    pub fn value(&self, name: &str) -> Option<&AttributeValue> {
        let place = self.place(name).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    /// Adds what `others` hold. A name with different values has all of them then.
    pub fn join(&mut self, others: &Self) {
        for (name, value) in &others.0 {
            match self.place(name) {
                Ok(place) => {
                    if let Some((_, own)) = self.0.get_mut(place) {
                        own.join(value);
                    }
                }
                Err(place) => self.0.insert(place, (name.clone(), value.clone())),
            }
        }
    }

    /// The first `most` of those that `which` chooses.
    pub fn some(&self, most: usize, which: impl Fn(&str, &AttributeValue) -> bool) -> Self {
        let chosen = self.0.iter().filter(|(name, value)| which(name, value));
        Self(chosen.take(most).cloned().collect())
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Where a name stands, or would.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| (**own).cmp(name))
    }
}

impl From<BTreeMap<String, AttributeValue>> for Attributes {
    fn from(attributes: BTreeMap<String, AttributeValue>) -> Self {
        let attributes = attributes.into_iter();
        Self(
            attributes
                .map(|(name, value)| (name.into(), value))
                .collect(),
        )
    }
}

/// As a map.
impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
