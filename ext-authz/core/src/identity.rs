//! How the SPIFFE ID of a workload is made of what was proven about it: a path with attributes in braces,
//! `ns/{k8s.namespace}/sa/{k8s.serviceAccount}`. Not for SVIDs, which bring their own ID.

use alloc::{borrow::ToOwned, string::String, vec, vec::Vec};
use core::fmt;

use thiserror::Error;

use crate::{
    attestation::ProviderKind,
    attributes::{AttributeValue, SPIFFE_ID, kubernetes},
    pattern::Requirement,
    spiffe_id::{InvalidSpiffeId, SpiffeId, TrustDomain, check_segment},
};

#[cfg(test)]
mod tests;

/// Longest template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 1024;

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidTemplate {
    /// The trust domain is the provider's.
    #[error("it is the path alone, without `spiffe://`, trust domain and first `/`")]
    NotAPath,
    /// Longer than [`MAX_TEMPLATE_BYTES`].
    #[error("it has {0} bytes, at most {MAX_TEMPLATE_BYTES} are read")]
    TooLong(usize),
    /// `{` without `}`, or the other way round, or nothing in between.
    #[error("the braces in `{0}` hold no attribute")]
    Braces(String),
    /// SECURITY: `{a}-{b}` would give two workloads one ID: `x-y` and `z`, `x` and `y-z`.
    #[error("`{0}` holds two attributes; a segment between two `/` can hold one")]
    TwoInOneSegment(String),
    /// What stands around the attribute cannot stand in a SPIFFE ID.
    #[error(transparent)]
    Segment(#[from] InvalidSpiffeId),
    /// No provider of the kind proves it.
    #[error("a provider of type `{kind}` proves no `{attribute}`")]
    Foreign {
        /// The attribute.
        attribute: String,
        /// The kind.
        kind: &'static str,
    },
    /// All workloads of the provider would be one.
    #[error("it holds no attribute that tells one workload of this provider from another")]
    NoAttribute,
}

/// Why a workload gets no SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotDerivable {
    /// The evidence does not prove it.
    #[error("the evidence proves no `{0}`")]
    Missing(String),
    /// It has several values.
    #[error("`{0}` has several values")]
    Several(String),
    /// It has a value that cannot stand in a path.
    #[error("the value of `{attribute}` makes no SPIFFE ID: {reason}")]
    Value {
        /// The attribute.
        attribute: String,
        /// Why not.
        reason: InvalidSpiffeId,
    },
    /// The whole is no SPIFFE ID.
    #[error(transparent)]
    Whole(#[from] InvalidSpiffeId),
}

/// The path of a SPIFFE ID, with attributes in the place of what differs from workload to workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdTemplate(Vec<Segment>);

/// What stands between two `/`: fixed text, and at most one attribute in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    before: String,
    attribute: Option<String>,
    after: String,
}

impl IdTemplate {
    /// Reads a template of a provider of `kind`.
    pub fn parse(text: &str, kind: ProviderKind) -> Result<Self, InvalidTemplate> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(InvalidTemplate::TooLong(text.len()));
        }
        if text.contains("://") || text.starts_with('/') {
            return Err(InvalidTemplate::NotAPath);
        }
        let segments: Result<Vec<_>, _> = text.split('/').map(Segment::parse).collect();
        let template = Self(segments?);
        let foreign = |name: &&str| *name == SPIFFE_ID || !kind.proves(name);
        if let Some(attribute) = template.attributes().find(foreign) {
            return Err(InvalidTemplate::Foreign {
                attribute: attribute.to_owned(),
                kind: kind.name(),
            });
        }
        // The cluster is the same for all its pods.
        if template
            .attributes()
            .all(|name| name == kubernetes::CLUSTER)
        {
            return Err(InvalidTemplate::NoAttribute);
        }
        Ok(template)
    }

    /// `ns/{k8s.namespace}/sa/{k8s.serviceAccount}`.
    pub fn of_pods() -> Self {
        Self(vec![
            Segment::fixed("ns"),
            Segment::whole(kubernetes::NAMESPACE),
            Segment::fixed("sa"),
            Segment::whole(kubernetes::SERVICE_ACCOUNT),
        ])
    }

    /// The attributes, in their order.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter_map(|segment| segment.attribute.as_deref())
    }

    /// The same with `value` in the place of `attribute`, which has it for all workloads.
    #[must_use]
    pub fn with(&self, attribute: &str, value: &str) -> Self {
        let mut filled = self.clone();
        for segment in &mut filled.0 {
            if segment.attribute.as_deref() == Some(attribute) {
                segment.attribute = None;
                segment.before.push_str(value);
                segment.before.push_str(&segment.after);
                segment.after.clear();
            }
        }
        filled
    }

    /// The SPIFFE ID of a workload with these attributes.
    pub fn spiffe_id<'v>(
        &self,
        domain: &TrustDomain,
        value: impl Fn(&str) -> Option<&'v AttributeValue>,
    ) -> Result<SpiffeId, NotDerivable> {
        let segments: Result<Vec<_>, _> = self
            .0
            .iter()
            .map(|segment| segment.filled(&value))
            .collect();
        let segments = segments?;
        Ok(SpiffeId::of(domain, segments.iter().map(String::as_str))?)
    }

    /// Whether both can yield one path. Certain if it says no.
    pub fn can_meet(&self, other: &Self) -> bool {
        let mut pairs = self.0.iter().zip(&other.0);
        self.0.len() == other.0.len() && pairs.all(|(one, two)| one.can_meet(two))
    }
}

impl fmt::Display for IdTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            f.write_str(&segment.before)?;
            if let Some(attribute) = &segment.attribute {
                write!(f, "{{{attribute}}}")?;
            }
            f.write_str(&segment.after)?;
        }
        Ok(())
    }
}

impl Segment {
    fn fixed(text: &str) -> Self {
        Self {
            before: text.to_owned(),
            attribute: None,
            after: String::new(),
        }
    }

    fn whole(attribute: &str) -> Self {
        Self {
            before: String::new(),
            attribute: Some(attribute.to_owned()),
            after: String::new(),
        }
    }

    fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let braces = || InvalidTemplate::Braces(text.to_owned());
        let Some((before, rest)) = text.split_once('{') else {
            check_segment(text)?;
            return Ok(Self::fixed(text));
        };
        let (attribute, after) = rest.split_once('}').ok_or_else(braces)?;
        if attribute.is_empty() || attribute.contains('{') || before.contains('}') {
            return Err(braces());
        }
        if after.contains('{') {
            return Err(InvalidTemplate::TwoInOneSegment(text.to_owned()));
        }
        // With a letter in the attribute's place, so that what is around it may be empty or a dot.
        check_segment(&[before, "x", after].concat())?;
        Ok(Self {
            before: before.to_owned(),
            attribute: Some(attribute.to_owned()),
            after: after.to_owned(),
        })
    }

    fn filled<'v>(
        &self,
        value: impl Fn(&str) -> Option<&'v AttributeValue>,
    ) -> Result<String, NotDerivable> {
        let Some(attribute) = &self.attribute else {
            return Ok(self.before.clone());
        };
        let value = match value(attribute) {
            None => return Err(NotDerivable::Missing(attribute.clone())),
            Some(AttributeValue::Many(_)) => return Err(NotDerivable::Several(attribute.clone())),
            Some(AttributeValue::One(value)) => value,
        };
        // SECURITY: the value by itself, so that none is empty and none brings a `/`.
        check_segment(value).map_err(|reason| NotDerivable::Value {
            attribute: attribute.clone(),
            reason,
        })?;
        Ok([self.before.as_str(), value, self.after.as_str()].concat())
    }

    fn can_meet(&self, other: &Self) -> bool {
        match (&self.attribute, &other.attribute) {
            (None, None) => self.before == other.before,
            (None, Some(_)) => other.accepts(&self.before),
            (Some(_), None) => self.accepts(&other.before),
            (Some(_), Some(_)) => {
                let (one, two) = (&self.before, &other.before);
                let beginnings = one.starts_with(two.as_str()) || two.starts_with(one.as_str());
                let (one, two) = (&self.after, &other.after);
                beginnings && (one.ends_with(two.as_str()) || two.ends_with(one.as_str()))
            }
        }
    }

    fn accepts(&self, text: &str) -> bool {
        text.strip_prefix(self.before.as_str())
            .and_then(|rest| rest.strip_suffix(self.after.as_str()))
            .is_some_and(|value| !value.is_empty())
    }
}

/// Whom a trust provider vouches for, and under which names.
#[derive(Clone, Copy, Debug)]
pub struct Naming<'p> {
    /// Its qualified name.
    pub provider: &'p str,
    /// Its kind.
    pub kind: ProviderKind,
    /// The trust domain of its SPIFFE IDs.
    pub trust_domain: &'p TrustDomain,
    /// How they are made; `None` for what its kind does by itself.
    pub template: Option<&'p IdTemplate>,
    /// `k8s.cluster` of all its workloads.
    pub cluster: Option<&'p str>,
    /// What workloads must fulfil, by [`vouched_for`](crate::pattern::vouched_for).
    pub only: &'p [Vec<Requirement>],
    /// The qualified names of providers whose workloads it says are the same where their SPIFFE IDs are.
    pub shares_with: &'p [String],
}

impl Naming<'_> {
    /// The template in force, with what is the same for all its workloads in its place. `None` where IDs are
    /// the SVIDs' own, or come from the subject.
    pub fn template(&self) -> Option<IdTemplate> {
        let template = match (self.template, self.kind) {
            (Some(template), _) => template.clone(),
            (None, ProviderKind::KubernetesServiceAccount) => IdTemplate::of_pods(),
            (None, _) => return None,
        };
        Some(match self.cluster {
            Some(cluster) => template.with(kubernetes::CLUSTER, cluster),
            None => template,
        })
    }

    /// Whether one SPIFFE ID can come from both. Certain if it says no.
    pub fn can_meet(&self, other: &Self) -> bool {
        if self.trust_domain != other.trust_domain {
            return false;
        }
        match (self.shapes(), other.shapes()) {
            (Some(one), Some(two)) => one
                .iter()
                .any(|one| two.iter().any(|two| one.can_meet(two))),
            // A workload may well have a JWT-SVID and an X.509-SVID; it is the same one then.
            (None, None) => false,
            (None, Some(_)) | (Some(_), None) => true,
        }
    }

    /// Whether one SPIFFE ID can come from both, and not both say that it is one workload then.
    ///
    /// SECURITY: both must say so. Who writes one provider cannot make it speak for the workloads of another.
    pub fn collides_with(&self, other: &Self) -> bool {
        let agreed = self.names(other) && other.names(self);
        !agreed && self.can_meet(other)
    }

    /// Whether it says that it shares identities with `other`.
    pub fn names(&self, other: &Self) -> bool {
        self.shares_with.iter().any(|name| name == other.provider)
    }

    /// Whether `id` can be that of one of its workloads. Certain if it says no.
    pub fn can_name(&self, id: &SpiffeId) -> bool {
        if id.trust_domain() != self.trust_domain.as_str() {
            return false;
        }
        let fixed = id.path().strip_prefix('/').unwrap_or_default();
        let path = IdTemplate(fixed.split('/').map(Segment::fixed).collect());
        let shapes = self.shapes();
        shapes.is_none_or(|shapes| shapes.iter().any(|shape| shape.can_meet(&path)))
    }

    /// All shapes that the paths of its SPIFFE IDs have; `None` if they may have any.
    fn shapes(&self) -> Option<Vec<IdTemplate>> {
        if let Some(template) = self.template() {
            return Some(vec![template]);
        }
        let subject = self.kind.subject()?;
        let shape = |form| {
            let fixed = ["oidc"].into_iter().chain(self.provider.split('/'));
            let mut segments: Vec<_> = fixed.chain([form]).map(Segment::fixed).collect();
            segments.push(Segment::whole(subject));
            IdTemplate(segments)
        };
        Some(vec![shape("sub"), shape("sha256")])
    }
}
