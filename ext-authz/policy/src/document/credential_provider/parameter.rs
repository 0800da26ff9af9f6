//! Parameters of a provider that may name attributes of the caller in braces: `kv/{k8s.namespace}/db`.

use attache_core::{
    attestation::Attestation,
    claims::{Template, UnavailableClaim},
};

use super::claims;
use crate::yaml::At;

/// A text with attributes of the caller. What it comes to is found for each caller, before anything is asked of
/// a provider; the text and those attributes are parts of the key that the credential is kept under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parameter(Template);

impl Parameter {
    pub(super) fn lower(at: &At<'_>) -> Option<Self> {
        at.text()?;
        claims::template(at).map(Self)
    }

    /// The text for this caller. An attribute that is not proven makes none: a provider must not be asked for
    /// something wider. `field` is what messages call it.
    pub fn expand(
        &self,
        field: &str,
        attestation: &Attestation,
    ) -> Result<String, UnavailableClaim> {
        self.0.text(field, attestation)
    }

    /// The same where the text is a path or a name in one: no attribute leads to another.
    pub(super) fn expand_path(
        &self,
        field: &str,
        attestation: &Attestation,
    ) -> Result<String, UnavailableClaim> {
        self.0.path(field, attestation)
    }

    /// The attributes that it reads.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.attributes()
    }
}
