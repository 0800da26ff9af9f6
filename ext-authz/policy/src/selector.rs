//! Selectors over attested attributes: AND within an entry, OR between entries and between the values
//! of one attribute.

pub(crate) mod contradiction;
mod relation;

use std::borrow::Cow;

pub(crate) use attache_core::pattern::Pattern;
use attache_core::{
    attestation::Attestation,
    attributes::{self, AttributeValue, Attributes, SPIFFE_ID, spiffe, unproven},
    decision::Mismatch,
    spiffe_id::SpiffeId,
};
use smallvec::SmallVec;

use crate::{
    problem::{Code, did_you_mean, quoted},
    yaml::At,
};

/// What the name of an attribute matches, as a regular expression (ECMA-262).
pub(crate) fn attribute_pattern() -> String {
    let fixed: Vec<String> = attributes::fixed().map(literal).collect();
    let families: Vec<String> = attributes::families()
        .map(|family| format!("{}.+", literal(family)))
        .collect();
    format!("^({}|{})$", fixed.join("|"), families.join("|"))
}

/// What the name of an attribute that a selector asks about matches.
pub(crate) fn selector_pattern() -> String {
    let unproven = UNPROVEN.map(literal).join("|");
    format!("{}|^({unproven})$", attribute_pattern())
}

/// What is said of callers that show no evidence.
const UNPROVEN: [&str; 2] = [unproven::SOURCE_ADDRESS, unproven::PRINCIPAL];

/// Whether nobody proves attributes of that name.
fn is_unproven(attribute: &str) -> bool {
    attribute.starts_with(unproven::PREFIX)
}

fn literal(name: &str) -> String {
    name.replace('.', "\\.")
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Condition {
    pub(crate) attribute: Cow<'static, str>,
    pub(crate) patterns: SmallVec<[Pattern; 1]>,
}

impl Selector {
    /// Whether it asks for what nobody proves, in every entry or in none.
    pub(crate) fn is_unproven(&self) -> bool {
        self.entries.iter().any(Entry::is_unproven)
    }
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

    pub(crate) fn matches(&self, attestation: &Attestation) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.matches(attestation))
    }

    /// Whether it asks for what nobody proves, in every condition or in none.
    pub(crate) fn is_unproven(&self) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.any(|condition| is_unproven(&condition.attribute))
    }

    /// Whether it holds of what is said of a caller and not proven.
    pub(crate) fn is_said_of(&self, said: &Attributes) -> bool {
        self.conditions.iter().all(|condition| {
            let value = said.value(&condition.attribute);
            is_unproven(&condition.attribute) && value.is_some_and(|value| condition.accepts(value))
        })
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
        let patterns = at.few(|at| pattern(attribute, at))?;
        Some(Self {
            attribute: own_name(attribute),
            patterns,
        })
    }

    pub(crate) fn matches(&self, attestation: &Attestation) -> bool {
        // SECURITY: the SPIFFE ID is the attestation's own, whatever attributes it carries.
        if self.attribute == SPIFFE_ID {
            let mut proofs = attestation.proofs();
            return proofs.any(|proof| self.accepts_text(proof.spiffe_id.as_str()));
        }
        let value = attestation.attributes().value(&self.attribute);
        value.is_some_and(|value| self.accepts(value))
    }

    fn accepts(&self, value: &AttributeValue) -> bool {
        value.any(|value| self.accepts_text(value))
    }

    fn accepts_text(&self, value: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(value))
    }

    /// What was asked for and what was proven.
    pub(crate) fn mismatch(&self, attestation: &Attestation) -> Mismatch {
        let actual = match &*self.attribute {
            SPIFFE_ID => Some(attestation.spiffe_id().as_str().to_owned()),
            name => attestation
                .attributes()
                .value(name)
                .map(AttributeValue::to_string),
        };
        let texts: Vec<&str> = self.patterns.iter().map(Pattern::as_str).collect();
        Mismatch {
            attribute: self.attribute.to_string(),
            expected: texts.join(" or "),
            actual,
        }
    }

    /// Whether no value has a `*`.
    pub(crate) fn is_exact(&self) -> bool {
        self.patterns
            .iter()
            .all(|pattern| pattern.exact().is_some())
    }

    /// The values, if none has a `*`.
    pub(crate) fn exact_values(&self) -> Option<SmallVec<[&str; 1]>> {
        self.patterns.iter().map(Pattern::exact).collect()
    }
}

/// Reads a pattern for the values of `attribute`.
fn pattern(attribute: &str, at: &At<'_>) -> Option<Pattern> {
    let text = at.text()?;
    let glob = text.contains('*');
    if glob && has_every_value(attribute, text) {
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
    if glob {
        contradiction::check_glob(attribute, at)?;
    } else {
        contradiction::check_value(attribute, at)?;
    }
    Some(Pattern::parse(text))
}

/// Whether a glob says no more than every value of `attribute` does.
fn has_every_value(attribute: &str, glob: &str) -> bool {
    let said = match attribute {
        SPIFFE_ID => glob.strip_prefix("spiffe://").unwrap_or(glob),
        _ => glob,
    };
    let is_path = attribute == SPIFFE_ID || attribute == spiffe::PATH;
    said.bytes()
        .all(|byte| byte == b'*' || (is_path && byte == b'/'))
}

/// What to write in place of an attribute that nobody proves.
pub(crate) fn instead_of(attribute: &str) -> String {
    did_you_mean(attribute, attributes::fixed()).unwrap_or_else(|| known_beside(attribute))
}

/// The attributes of the name space that was meant, or all name spaces.
fn known_beside(attribute: &str) -> String {
    let space = attribute.split('.').next().unwrap_or_default();
    let within = |name: &&str| name.split('.').next() == Some(space);
    let fixed: Vec<&str> = attributes::fixed().filter(within).collect();
    if !fixed.is_empty() {
        return format!("known are {}", fixed.join(", "));
    }
    "write k8s.*, spiffe.*, github.*, gitlab.*, terraform.*, aws.* or claims.<name>, as docs/trust.md \
     lists them"
        .to_owned()
}

/// Reads the name of an attribute that some kind of trust provider proves.
pub(crate) fn attribute_name<'a>(key: &At<'a>) -> Option<&'a str> {
    let attribute = key.text()?;
    if UNPROVEN.contains(&attribute) {
        return Some(attribute);
    }
    known_attribute(key, attribute)
}

/// `attribute`, which stands in `at`, if some kind of trust provider proves it.
pub(crate) fn known_attribute<'n>(at: &At<'_>, attribute: &'n str) -> Option<&'n str> {
    if !attributes::is_known(attribute) {
        let message = format!(
            "no trust provider proves an attribute {}",
            quoted(attribute)
        );
        let way_out = instead_of(attribute);
        return at.refuse_with(Code::UnknownAttribute, message, way_out);
    }
    Some(attribute)
}

/// The name to be kept: nearly all are known before anything is read.
pub(crate) fn own_name(attribute: &str) -> Cow<'static, str> {
    let known = attributes::fixed().find(|known| *known == attribute);
    known.map_or_else(|| Cow::Owned(attribute.to_owned()), Cow::Borrowed)
}

fn is_beginning(text: &str) -> bool {
    text.starts_with("spiffe://")
}
