//! Policy sets of any size, and the workloads that call under them.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Result;
use envoy_types::{
    ext_authz::v3::pb::{CheckRequest, HeaderValue},
    pb::envoy::{
        config::core::v3::{
            Address, HeaderMap, SocketAddress, address::Address as Kind,
            socket_address::PortSpecifier,
        },
        service::auth::v3::{
            AttributeContext,
            attribute_context::{HttpRequest, Peer, Request},
        },
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    client::EVIDENCE,
    cluster::{self, Cluster},
};

/// Policies in one file.
const FILE: usize = 1_000;

/// The path of each call.
pub const PATH: &str = "/v1/charges?limit=10";

/// Writes `size` policies into `directory`, as [`files`] has them.
pub fn write(directory: &Path, size: usize, reached: &str) -> Result<()> {
    for (name, text) in files(size, reached)? {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// The files of `size` policies by name, each policy with a client workload and a server workload of its own.
/// `reached` is `, tls: plaintext-allowed` for targets in plaintext, and empty for TLS.
pub fn files(size: usize, reached: &str) -> Result<Vec<(String, String)>> {
    let provider = "apiVersion: attache.dev/v1\nkind: CredentialProvider\nmetadata: { name: token }\n\
                    spec: { type: oidc-token, audience: \"https://svc.example.com\", ttl: 3600 }\n";
    let mut files = vec![("provider.yaml".to_owned(), provider.to_owned())];
    for first in (0..size).step_by(FILE) {
        let mut text = String::new();
        for index in first..size.min(first + FILE) {
            policy(&mut text, index, reached)?;
        }
        files.push((format!("policies-{first}.yaml"), text));
    }
    Ok(files)
}

fn policy(text: &mut String, index: usize, reached: &str) -> Result<()> {
    write!(
        text,
        "\
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: {{ name: team-{index} }}
spec:
  match:
    - k8s.namespace: team-{index}
---
apiVersion: attache.dev/v1
kind: ServerWorkload
metadata: {{ name: svc-{index} }}
spec: {{ host: {host}{reached} }}
---
apiVersion: attache.dev/v1
kind: AccessPolicy
metadata: {{ name: team-{index}-svc-{index} }}
spec:
  effect: allow
  client: team-{index}
  server: svc-{index}
  trustProviders: [cluster]
  credentialProvider: token
  actions: [read]
---
",
        host = host(index)
    )?;
    Ok(())
}

/// The target of policy `index`.
pub fn host(index: usize) -> String {
    format!("svc-{index}.example.com")
}

/// What a workload is allowed to call, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// What its policy names.
    Own,
    /// What the policy of another names.
    Others,
}

/// The calls of `workloads` workloads, spread over a set of `size` policies, each with a real token.
pub fn calls(
    cluster: &Cluster,
    size: usize,
    workloads: usize,
    target: Target,
) -> Result<Vec<CheckRequest>> {
    (0..workloads)
        .map(|workload| {
            let policy = workload * size / workloads.max(1);
            let token = token(
                cluster,
                &format!("team-{policy}"),
                &format!("app-{workload}"),
            )?;
            let named = match target {
                Target::Own => policy,
                Target::Others => (policy + 1) % size,
            };
            Ok(call(&host(named), "https", &token))
        })
        .collect()
}

/// A ServiceAccount's token that outlives the run.
pub fn token(cluster: &Cluster, namespace: &str, account: &str) -> Result<String> {
    cluster.sign(&claims(cluster.issuer(), namespace, account))
}

/// Its claims.
pub fn claims(issuer: &str, namespace: &str, account: &str) -> Value {
    let mut claims = cluster::pod_claims(issuer, namespace, account);
    claims["exp"] = json!(Timestamp::now().as_second() + 4 * 3600);
    claims
}

/// A call as Envoy tells of it behind our bootstraps, an ordinary client's headers included.
pub fn call(host: &str, scheme: &str, token: &str) -> CheckRequest {
    let headers = [
        (":authority", host),
        (":method", "GET"),
        (":path", PATH),
        (":scheme", "http"),
        ("user-agent", "python-requests/2.32.3"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("x-request-id", "6f0d2d0e-5e4e-4a3c-9d6b-0f1c2b3a4d5e"),
        ("x-forwarded-proto", "http"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        ),
        (EVIDENCE, token),
    ];
    let headers = headers.into_iter().map(|(key, value)| HeaderValue {
        key: key.to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    });
    let vouched = ("attache.target".to_owned(), format!("{scheme}://{host}"));
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer("10.1.2.3", 41_234)),
            destination: Some(peer("10.1.2.4", 10_000)),
            request: Some(Request {
                http: Some(HttpRequest {
                    id: "1234567890123456789".to_owned(),
                    method: "GET".to_owned(),
                    path: PATH.to_owned(),
                    host: host.to_owned(),
                    scheme: "http".to_owned(),
                    protocol: "HTTP/1.1".to_owned(),
                    header_map: Some(HeaderMap {
                        headers: headers.collect(),
                    }),
                    ..HttpRequest::default()
                }),
                ..Request::default()
            }),
            context_extensions: [vouched].into(),
            ..AttributeContext::default()
        }),
    }
}

fn peer(address: &str, port: u32) -> Peer {
    let socket = SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..SocketAddress::default()
    };
    Peer {
        address: Some(Address {
            address: Some(Kind::SocketAddress(socket)),
        }),
        ..Peer::default()
    }
}
