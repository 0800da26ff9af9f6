//! Tokens of ServiceAccounts by TokenRequest: `kubernetes-token`.

use std::time::Duration;

use attache_core::{attestation::Attestation, claims::UnavailableClaim};

use super::{parameter::Parameter, token};
use crate::{
    document::{SecretReference, Specification, endpoint},
    problem::Code,
    yaml::Fields,
};

/// The API server makes none that is shorter.
pub(crate) const LEAST_TTL: Duration = Duration::from_secs(600);
/// Least and longest lifetime, in seconds.
pub(crate) const TTL_SECONDS: std::ops::RangeInclusive<u64> = 600..=86_400;
/// Lifetime unless the document says otherwise.
const USUAL_TTL: Duration = Duration::from_secs(3600);

/// A ServiceAccount's token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KubernetesToken<T = Parameter> {
    /// Whom to ask.
    pub api_server: ApiServer,
    /// The ServiceAccount's namespace.
    pub namespace: T,
    /// Its name.
    pub service_account: T,
    /// Whom the token is for; `None` is the API server.
    pub audience: Option<String>,
    /// The lifetime that is asked for; the server may give another.
    pub ttl: Duration,
}

/// An API server, and how the edge logs in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ApiServer {
    /// That of the cluster that the edge runs in, with the pod's own token.
    InCluster,
    /// Another one.
    At {
        /// Its origin.
        url: String,
        /// Certificates that it is verified with, instead of the system's.
        ca_file: Option<SecretReference>,
        /// The edge's token.
        token: SecretReference,
    },
}

impl KubernetesToken {
    pub(super) fn lower(fields: Specification<'_, '_>) -> Option<Self> {
        let api_server = ApiServer::lower(fields);
        let namespace = fields.required("namespace", Parameter::lower);
        let service_account = fields.required("serviceAccount", Parameter::lower);
        let audience = fields.optional("audience", token::audience);
        let ttl = fields.or("ttl", USUAL_TTL, |at| at.duration(TTL_SECONDS));
        Some(Self {
            api_server: api_server?,
            namespace: namespace?,
            service_account: service_account?,
            audience: audience?,
            ttl: ttl?,
        })
    }

    /// The same for one caller.
    pub(super) fn expand(
        &self,
        caller: &Attestation,
    ) -> Result<KubernetesToken<String>, UnavailableClaim> {
        Ok(KubernetesToken {
            api_server: self.api_server.clone(),
            namespace: self.namespace.expand_path("namespace", caller)?,
            service_account: self.service_account.expand_path("serviceAccount", caller)?,
            audience: self.audience.clone(),
            ttl: self.ttl,
        })
    }
}

impl ApiServer {
    fn lower(fields: &mut Fields<'_>) -> Option<Self> {
        let in_cluster = fields.optional("inCluster", |at| match at.boolean()? {
            true => Some(()),
            false => at.refuse_with(
                Code::InvalidValue,
                "`false` says nothing",
                "write `apiServer` and `token` instead",
            ),
        });
        let url = fields.optional("apiServer", endpoint::origin);
        let ca_file = fields.optional("caFile", SecretReference::lower_file);
        let token = fields.optional("token", SecretReference::lower);
        match (in_cluster?, url?, ca_file?, token?) {
            (Some(()), None, None, None) => Some(Self::InCluster),
            (None, Some(url), ca_file, Some(token)) => Some(Self::At {
                url,
                ca_file,
                token,
            }),
            _ => {
                let message = "it is not said which API server to ask, and how";
                let way_out = "write `inCluster: true`, or `apiServer` and `token`";
                let at = fields.at();
                at.refuse_with(Code::ConflictingFields, message, way_out)
            }
        }
    }

    pub(super) fn secrets(&self) -> Vec<&SecretReference> {
        match self {
            Self::InCluster => Vec::new(),
            Self::At { token, ca_file, .. } => {
                let mut secrets = vec![token];
                secrets.extend(ca_file);
                secrets
            }
        }
    }
}
