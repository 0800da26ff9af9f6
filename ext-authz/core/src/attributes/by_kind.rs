//! Which kind of trust provider proves which attributes: no kind proves what is another's.

use super::{
    SPIFFE_ID, kubernetes,
    presets::{AWS, Form, GITHUB, GITLAB, Mapped, TERRAFORM},
    spiffe,
};
use crate::{attestation::ProviderKind, jwt::Algorithm};

/// Whatever an issuer claims; the name of the claim follows.
pub const CLAIMS: &str = "claims.";

/// The tables of all platforms.
const PRESETS: [&[Mapped]; 4] = [GITHUB, GITLAB, TERRAFORM, AWS];

impl ProviderKind {
    /// The table that a platform's attributes are read by; empty for the other kinds.
    pub const fn mapped(self) -> &'static [Mapped] {
        match self {
            Self::GithubActions => GITHUB,
            Self::Gitlab => GITLAB,
            Self::TerraformCloud => TERRAFORM,
            Self::AwsLambdaOidc => AWS,
            Self::KubernetesServiceAccount | Self::Oidc | Self::SpiffeJwt | Self::SpiffeX509 => &[],
        }
    }

    /// The algorithms that a provider of this kind allows unless it is told otherwise.
    pub const fn usual_algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::AwsLambdaOidc => &[Algorithm::Rs256, Algorithm::Es384],
            Self::KubernetesServiceAccount
            | Self::Oidc
            | Self::GithubActions
            | Self::Gitlab
            | Self::TerraformCloud
            | Self::SpiffeJwt
            | Self::SpiffeX509 => &[Algorithm::Rs256, Algorithm::Es256],
        }
    }

    /// Whether a provider of this kind can prove `attribute`. All prove [`SPIFFE_ID`].
    pub fn proves(self, attribute: &str) -> bool {
        let of_svid = || spiffe::ALL.contains(&attribute);
        attribute == SPIFFE_ID
            || match self {
                Self::KubernetesServiceAccount => kubernetes::ALL.contains(&attribute),
                Self::Oidc => is_claim(attribute),
                Self::SpiffeJwt => of_svid() || is_claim(attribute),
                Self::SpiffeX509 => of_svid(),
                Self::GithubActions | Self::Gitlab | Self::TerraformCloud | Self::AwsLambdaOidc => {
                    self.mapped().iter().any(|row| row.names(attribute))
                }
            }
    }

    /// The attribute that an issuer's own name for a workload (`sub`) becomes, where there is one.
    pub const fn subject(self) -> Option<&'static str> {
        match self {
            Self::Oidc => Some("claims.sub"),
            Self::GithubActions => Some("github.subject"),
            Self::Gitlab => Some("gitlab.subject"),
            Self::TerraformCloud => Some("terraform.subject"),
            Self::AwsLambdaOidc => Some("aws.roleArn"),
            Self::KubernetesServiceAccount | Self::SpiffeJwt | Self::SpiffeX509 => None,
        }
    }
}

impl Mapped {
    /// Whether `attribute` is this one, or one of this family.
    pub fn names(&self, attribute: &str) -> bool {
        match self.form {
            Form::One | Form::List => attribute == self.attribute,
            Form::Members | Form::Prefixed => attribute
                .strip_prefix(self.attribute)
                .is_some_and(|rest| !rest.is_empty()),
        }
    }
}

/// All attributes with a fixed name.
pub fn fixed() -> impl Iterator<Item = &'static str> {
    let mapped = PRESETS.into_iter().flatten();
    let mapped = mapped.filter(|row| matches!(row.form, Form::One | Form::List));
    kubernetes::ALL
        .into_iter()
        .chain([SPIFFE_ID])
        .chain(spiffe::ALL)
        .chain(mapped.map(|row| row.attribute))
}

/// What the names of all others begin with.
pub fn families() -> impl Iterator<Item = &'static str> {
    let mapped = PRESETS.into_iter().flatten();
    let mapped = mapped.filter(|row| matches!(row.form, Form::Members | Form::Prefixed));
    core::iter::once(CLAIMS).chain(mapped.map(|row| row.attribute))
}

/// Whether a provider of some kind can prove `attribute`.
pub fn is_known(attribute: &str) -> bool {
    ProviderKind::ALL
        .into_iter()
        .any(|kind| kind.proves(attribute))
}

/// Whether one piece of evidence proves at most one value of `attribute`.
pub fn is_single(attribute: &str) -> bool {
    let is_list = |row: &&Mapped| row.form == Form::List && row.attribute == attribute;
    // What a token must have, once (RFC 7519 §4.1.2).
    let is_single_claim = attribute == "claims.sub" || attribute == "claims.iss";
    (is_single_claim || !is_claim(attribute))
        && !PRESETS.into_iter().flatten().any(|row| is_list(&row))
}

fn is_claim(attribute: &str) -> bool {
    attribute
        .strip_prefix(CLAIMS)
        .is_some_and(|claim| !claim.is_empty())
}
