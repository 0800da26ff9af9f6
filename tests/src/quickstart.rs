//! The product's quick start as a set of policies: its two documents, byte for byte as published, and the
//! one thing that they leave to the cluster: who vouches for its pods.

use std::{fs, path::Path};

use anyhow::Result;

use crate::{cluster::Cluster, workspace};

/// The target that the quick start calls.
pub const STRIPE: &str = "api.stripe.com";
/// The second target of `egress-gateway.yaml`, which the product's sample audit event names.
pub const INTERNAL: &str = "internal-data-api.prod.svc.cluster.local";

/// The quick start's two documents, which stand in `tests/quickstart/`.
pub const DOCUMENTS: [&str; 2] = ["workload-registration.yaml", "credential-policy.yaml"];

/// The file name of the TrustProvider document.
pub const TRUST_PROVIDER: &str = "trust-provider.yaml";

/// Writes the quick start's policies into `directory`, with `cluster` as the one that vouches. Its
/// certificate comes from the authority in `ca_file`.
pub fn write(directory: &Path, cluster: &Cluster, ca_file: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    for name in DOCUMENTS {
        fs::copy(
            workspace::root().join("tests/quickstart").join(name),
            directory.join(name),
        )?;
    }
    fs::write(
        directory.join(TRUST_PROVIDER),
        trust_provider(cluster, ca_file),
    )?;
    Ok(())
}

/// The TrustProvider document for `cluster`, its keys found by discovery.
pub fn trust_provider(cluster: &Cluster, ca_file: &Path) -> String {
    format!(
        "\
apiVersion: attache.dev/v1
kind: TrustProvider
metadata:
  name: cluster
spec:
  type: kubernetes-service-account
  issuer: {}
  audience: attache
  keys: {{ discovery: true }}
  caFile: {}
",
        cluster.issuer(),
        ca_file.display()
    )
}

/// A deny that reads a header of calls of Stripe, so that no answer about them holds for all requests.
pub fn no_debugging(action: &str) -> String {
    format!(
        "\
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{ name: stripe }}
spec: {{ host: {STRIPE} }}
---
apiVersion: attache.dev/v1
kind: AccessCondition
metadata: {{ name: debugging }}
spec: {{ cel: '\"x-debug\" in request.headers' }}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{ name: no-debugging }}
spec:
  client: payment-service
  server: stripe
  effect: deny
  conditions: [debugging]
  actions: [{action}]
"
    )
}

/// Policies around the product's sample audit event: `data-pipeline` in `prod` may read the internal API.
pub const DATA_PIPELINE: &str = "\
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata:
  name: data-pipeline
spec:
  match:
    - k8s.namespace: prod
      k8s.serviceAccount: data-pipeline
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata:
  name: internal-api
spec:
  host: internal-data-api.prod.svc.cluster.local
  port: 443
  paths: [/api/v1]
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata:
  name: internal-api-token
spec:
  type: oidc-token
  audience: https://internal-data-api.prod.svc.cluster.local
  ttl: 900
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata:
  name: data-pipeline-reads
spec:
  effect: allow
  client: data-pipeline
  server: internal-api
  trustProviders: [cluster]
  credentialProvider: internal-api-token
  actions: [read]
";
