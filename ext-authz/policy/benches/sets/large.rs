//! Sets of documents of any size, as text, in files of about four megabytes.

use std::fmt::Write as _;

use attache_policy::Source;

const MAX_FILE_BYTES: usize = 4_000_000;

const COMMON: &str = "apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: cluster}
spec:
  type: kubernetes-service-account
  issuer: https://cluster.example
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: token}
spec: {type: oidc-token, audience: api}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: other-token}
spec: {type: oidc-token, audience: other}
";

/// `size` policies, each with a client and a server of its own.
pub(super) fn documents(size: usize) -> Vec<Source> {
    files(size, |text, index| {
        let namespace = index % 1000;
        let _ = write!(
            text,
            "---
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata:
  name: app-{index}
spec:
  match:
    - k8s.namespace: team-{namespace}
      k8s.serviceAccount: app-{index}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata:
  name: svc-{index}
spec:
  host: svc-{index}.example.com
  paths: [/v1]
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata:
  name: app-{index}-to-svc-{index}
spec:
  effect: allow
  client: app-{index}
  server: svc-{index}
  trustProviders: [cluster]
  credentialProvider: token
  actions: [read, write]
"
        );
    })
}

/// What `write` adds for each index below `size`.
pub(super) fn files(size: usize, write: impl Fn(&mut String, usize)) -> Vec<Source> {
    let mut text = String::from(COMMON);
    let mut sources = Vec::new();
    let mut end = |text: &mut String| {
        let name = format!("{}.yaml", sources.len());
        let text = std::mem::take(text).into_bytes();
        sources.push(Source { name, text });
    };
    for index in 0..size {
        write(&mut text, index);
        if text.len() > MAX_FILE_BYTES {
            end(&mut text);
        }
    }
    if !text.is_empty() {
        end(&mut text);
    }
    sources
}
