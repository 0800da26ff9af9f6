//! Selectors over attested attributes: AND within an entry, OR between entries and between the values
//! of one attribute.

pub(crate) mod contradiction;
mod relation;

use attache_core::{
    attestation::Attestation,
    attributes::{AttributeValue, SPIFFE_ID, kubernetes},
    decision::Mismatch,
    spiffe_id::SpiffeId,
};

use crate::{
    problem::{Code, did_you_mean, quoted},
    yaml::At,
};

/// Whatever an issuer claims; the name of the claim follows.
const CLAIMS: &str = "claims.";

/// What providers prove under names that are theirs alone.
const PROVEN: [&str; 7] = [
    kubernetes::NAMESPACE,
    kubernetes::SERVICE_ACCOUNT,
    kubernetes::SERVICE_ACCOUNT_UID,
    kubernetes::POD_NAME,
    kubernetes::POD_UID,
    kubernetes::NODE_NAME,
    SPIFFE_ID,
];

/// What the name of an attribute matches, as a regular expression (ECMA-262).
pub(crate) fn attribute_pattern() -> String {
    let proven: Vec<String> = PROVEN.iter().map(|name| name.replace('.', "\\.")).collect();
    format!("^({}|{}.+)$", proven.join("|"), CLAIMS.replace('.', "\\."))
}

/// Which workloads are meant.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) entries: Vec<Entry>,
}

/// Holds if all its conditions hold.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// In the order as written, never empty.
    pub(crate) conditions: Vec<Condition>,
}

/// Holds if the attribute has one of the values.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) attribute: String,
    pub(crate) patterns: Vec<Pattern>,
}

/// A value, or a value with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Exact(String),
    Glob(String),
}

impl Entry {
    pub(crate) fn lower(at: &At<'_>) -> Option<Self> {
        let conditions = at.entries(Condition::lower)?;
        if conditions.is_empty() {
            let message = "the entry names no attribute and would match every caller";
            let way_out = "name what the caller must be, such as `k8s.namespace: shop`";
            return at.refuse_with(Code::Empty, message, way_out);
        }
        contradiction::check(at, &conditions)?;
        Some(Self { conditions })
    }

    /// Gives back the room that reading left over.
    pub(crate) fn shrink(&mut self) {
        self.conditions.shrink_to_fit();
        for condition in &mut self.conditions {
            condition.patterns.shrink_to_fit();
        }
    }

    pub(crate) fn matches(&self, attestation: &Attestation) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.matches(attestation))
    }

    /// How many conditions fail, and the first of them.
    pub(crate) fn mismatches(&self, attestation: &Attestation) -> (usize, Option<&Condition>) {
        let mut failing = self
            .conditions
            .iter()
            .filter(|condition| !condition.matches(attestation));
        let first = failing.next();
        (
            failing.count().saturating_add(usize::from(first.is_some())),
            first,
        )
    }
}

impl Condition {
    fn lower(key: &At<'_>, at: &At<'_>) -> Option<Self> {
        let attribute = attribute_name(key)?;
        let patterns = at.one_or_some(|at| Pattern::lower(attribute, at))?;
        Some(Self {
            attribute: attribute.to_owned(),
            patterns,
        })
    }

    pub(crate) fn matches(&self, attestation: &Attestation) -> bool {
        let accepted = |value: &str| self.patterns.iter().any(|pattern| pattern.matches(value));
        // SECURITY: the SPIFFE ID is the attestation's own, whatever attributes it carries.
        if self.attribute == SPIFFE_ID {
            return accepted(attestation.spiffe_id().as_str());
        }
        attestation
            .attributes()
            .value(&self.attribute)
            .is_some_and(|value| value.any(accepted))
    }

    /// What was asked for and what was proven.
    pub(crate) fn mismatch(&self, attestation: &Attestation) -> Mismatch {
        let actual = match self.attribute.as_str() {
            SPIFFE_ID => Some(attestation.spiffe_id().as_str().to_owned()),
            name => attestation
                .attributes()
                .value(name)
                .map(AttributeValue::to_string),
        };
        let texts: Vec<&str> = self.patterns.iter().map(Pattern::as_str).collect();
        Mismatch {
            attribute: self.attribute.clone(),
            expected: texts.join(" or "),
            actual,
        }
    }

    /// The values, if none has a `*`.
    pub(crate) fn exact_values(&self) -> Option<Vec<&str>> {
        self.patterns.iter().map(Pattern::exact).collect()
    }
}

impl Pattern {
    fn lower(attribute: &str, at: &At<'_>) -> Option<Self> {
        let text = at.text()?;
        let glob = text.contains('*');
        if glob && text.bytes().all(|byte| byte == b'*') {
            let message = format!("{} matches every value", quoted(text));
            let way_out = "name the values, or leave the attribute out";
            return at.refuse_with(Code::MatchesEverything, message, way_out);
        }
        if attribute == SPIFFE_ID {
            let beginning = text.split('*').next().unwrap_or_default();
            let checked = if glob {
                is_beginning(beginning)
            } else {
                SpiffeId::parse(text).is_ok()
            };
            if !checked {
                let message = format!("{} is not a SPIFFE ID", quoted(text));
                let way_out = "write spiffe://trust.domain/path; `*` may stand after `spiffe://`";
                return at.refuse_with(Code::InvalidValue, message, way_out);
            }
        }
        if !glob {
            contradiction::check_value(attribute, at)?;
        }
        let text = text.to_owned();
        Some(if glob {
            Self::Glob(text)
        } else {
            Self::Exact(text)
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Glob(text) => text,
        }
    }

    fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(text) => Some(text),
            Self::Glob(_) => None,
        }
    }

    pub(crate) fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => text == value,
            Self::Glob(text) => glob_matches(text, value),
        }
    }
}

/// Reads the name of an attribute that some kind of trust provider proves.
pub(crate) fn attribute_name<'a>(key: &At<'a>) -> Option<&'a str> {
    let attribute = key.text()?;
    let known = PROVEN.contains(&attribute)
        || attribute
            .strip_prefix(CLAIMS)
            .is_some_and(|claim| !claim.is_empty());
    if !known {
        let message = format!(
            "no trust provider proves an attribute {}",
            quoted(attribute)
        );
        let way_out = did_you_mean(attribute, PROVEN)
            .unwrap_or_else(|| format!("known are {} and claims.<name>", PROVEN.join(", ")));
        return key.refuse_with(Code::UnknownAttribute, message, way_out);
    }
    Some(attribute)
}

fn is_beginning(text: &str) -> bool {
    text.starts_with("spiffe://")
}

/// `*` stands for any run of characters, the empty one too. Each part between stars is taken at its
/// first occurrence, so the cost is linear in practice and never exponential.
fn glob_matches(glob: &str, value: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = value.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}
