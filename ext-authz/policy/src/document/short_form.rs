//! `WorkloadIdentity` and `CredentialPolicy`, the short forms of the published quick start.

use attache_core::{
    attestation::ProviderKind,
    attributes::{SPIFFE_ID, kubernetes},
    spiffe_id::SpiffeId,
};
use smallvec::smallvec;

use crate::{
    document::{CredentialProvider, Specification},
    name::{self, QualifiedName, Reference},
    problem::{Code, Place, quoted},
    selector::{Condition, Entry, Pattern, Selector, contradiction, own_name},
    yaml::{At, Fields},
};

/// A client workload that any provider of one kind proves.
pub(crate) struct WorkloadIdentity {
    pub(crate) proven_by: ProviderKind,
    pub(crate) selector: Selector,
    /// Of `spec.attestation.type`.
    pub(crate) place: Place,
}

/// A policy that allows everything on one target, with its own credential provider. What was refused is
/// `None`; the rest is still checked against the other documents.
pub(crate) struct CredentialPolicy {
    pub(crate) workload_identity: Option<Reference>,
    pub(crate) target_service: Option<Reference>,
    pub(crate) credential_provider: Option<CredentialProvider>,
}

impl WorkloadIdentity {
    pub(super) fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        fields.required("attestation", |at| {
            let mut fields = at.fields()?;
            let kind = fields.required("type", |at| Some((at.one_of(&kinds())?, at.place())));
            let Some((proven_by, place)) = kind else {
                fields.leave_rest();
                return None;
            };
            let conditions = match proven_by {
                ProviderKind::KubernetesServiceAccount => service_account(&mut fields),
                ProviderKind::SpiffeJwt | ProviderKind::SpiffeX509 => {
                    fields.required("spiffeId", spiffe_id).map(|id| vec![id])
                }
                ProviderKind::Oidc
                | ProviderKind::GithubActions
                | ProviderKind::Gitlab
                | ProviderKind::TerraformCloud
                | ProviderKind::AwsLambdaOidc => fields.required("claims", claims),
            };
            let selector = Selector {
                entries: vec![Entry {
                    conditions: conditions?,
                }],
            };
            Some(Self {
                proven_by,
                selector,
                place,
            })
        })
    }
}

/// What the short form is written for. A ClientWorkload is for all kinds.
pub(crate) const IDENTITY_KINDS: [ProviderKind; 4] = [
    ProviderKind::KubernetesServiceAccount,
    ProviderKind::Oidc,
    ProviderKind::SpiffeJwt,
    ProviderKind::SpiffeX509,
];

fn kinds() -> [(&'static str, ProviderKind); 4] {
    IDENTITY_KINDS.map(|kind| (kind.name(), kind))
}

impl CredentialPolicy {
    pub(super) fn lower(fields: Specification<'_, '_>, name: &QualifiedName) -> Self {
        let workload_identity = fields.required("workloadIdentity", name::reference);
        let target_service = fields.required("targetService", name::reference);
        let credential_provider = fields.required("credentialProvider", |at| {
            CredentialProvider::lower(&mut at.fields()?, format!("{name}#credentialProvider"))
        });
        Self {
            workload_identity,
            target_service,
            credential_provider,
        }
    }
}

fn service_account(fields: &mut Fields<'_>) -> Option<Vec<Condition>> {
    let namespace = fields.required("namespace", |at| exact(kubernetes::NAMESPACE, at));
    let account = fields.required("serviceAccount", |at| {
        exact(kubernetes::SERVICE_ACCOUNT, at)
    });
    Some(vec![namespace?, account?])
}

fn claims(at: &At<'_>) -> Option<Vec<Condition>> {
    let conditions = at.entries(|claim, at| exact(&format!("claims.{}", claim.text()?), at))?;
    if conditions.is_empty() {
        let message = "no claim is named, and every caller of the issuer would match";
        let way_out = "name what the caller must be, such as `repository: acme/shop`";
        return at.refuse_with(Code::Empty, message, way_out);
    }
    Some(conditions)
}

fn spiffe_id(at: &At<'_>) -> Option<Condition> {
    if let Err(error) = SpiffeId::parse(at.text()?) {
        let way_out = "write spiffe://trust.domain/path";
        return at.refuse_with(Code::InvalidValue, error.to_string(), way_out);
    }
    exact(SPIFFE_ID, at)
}

/// A short form has exact values alone; `*` has no meaning of its own in it.
fn exact(attribute: &str, at: &At<'_>) -> Option<Condition> {
    let value = at.text()?;
    if value.contains('*') {
        let message = format!("{} is a pattern", quoted(value));
        let way_out = "write the value; patterns are for ClientWorkload";
        return at.refuse_with(Code::InvalidValue, message, way_out);
    }
    contradiction::check_value(attribute, at)?;
    Some(Condition {
        attribute: own_name(attribute),
        patterns: smallvec![Pattern::Exact(value.to_owned())],
    })
}
