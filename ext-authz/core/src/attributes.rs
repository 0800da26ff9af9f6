//! What a trust provider proved about a caller, under names that only that kind of provider may use
//! (`k8s.namespace`); what an issuer merely claims lives under `claims.*`.

use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use serde::{Deserialize, Serialize};

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
    One(String),
    /// A list, in the order of the token: `["admins", "payments"]`.
    Many(Vec<String>),
}

impl AttributeValue {
    fn join(&mut self, other: &Self) {
        if self == other {
            return;
        }
        let mut all: Vec<String> = Vec::new();
        for value in self.values().chain(other.values()) {
            if !all.iter().any(|known| known == value) {
                all.push(value.to_string());
            }
        }
        *self = Self::Many(all);
    }

    fn values(&self) -> impl Iterator<Item = &str> {
        let values = match self {
            Self::One(value) => core::slice::from_ref(value),
            Self::Many(values) => values,
        };
        values.iter().map(String::as_str)
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attributes(BTreeMap<String, AttributeValue>);

impl Attributes {
    /// No attributes.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets a single value, replacing what stood there.
    pub fn set(&mut self, name: &str, value: &str) {
        self.insert(name, AttributeValue::One(value.to_string()));
    }

    /// Sets a value, replacing what stood there.
    pub fn insert(&mut self, name: &str, value: AttributeValue) {
        self.0.insert(name.to_string(), value);
    }

    /// The value of the attribute `name`.
    pub fn value(&self, name: &str) -> Option<&AttributeValue> {
        self.0.get(name)
    }

    /// Adds what `others` hold. A name with different values has all of them then.
    pub fn join(&mut self, others: &Self) {
        for (name, value) in others.iter() {
            match self.0.get_mut(name) {
                None => self.insert(name, value.clone()),
                Some(own) => own.join(value),
            }
        }
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}
