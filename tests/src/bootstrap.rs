//! The bootstraps in `envoy/`, taken as they are: a test changes addresses and file names, by text that
//! must stand there, and nothing else.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result, ensure};
use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value};

use crate::{authority::IdentityFiles, workspace};

/// The names of all bootstraps.
pub const ALL: [&str; 4] = [
    "egress-gateway.yaml",
    "sidecar.yaml",
    "egress-mtls.yaml",
    "egress-spiffe.yaml",
];

/// The names of those with the filter in Envoy; they have no ext_authz.
pub const WITH_FILTER: [&str; 2] = ["filter-inbound.yaml", "filter-outbound.yaml"];

/// Where the bootstraps expect the authorities that targets are verified against.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where the bootstraps expect Attaché's socket.
const SOCKET: &str = "/run/attache/ext_authz.sock";

/// A bootstrap, perhaps with substitutions.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    name: String,
    text: String,
}

impl Bootstrap {
    /// Reads `envoy/NAME`.
    pub fn read(name: &str) -> Result<Self> {
        Self::at(&workspace::root().join("envoy").join(name))
    }

    /// Reads a bootstrap that stands elsewhere.
    pub fn at(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().context("a bootstrap has a name")?;
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            text,
        })
    }

    /// `egress-gateway.yaml`, with Attaché on `socket` and its two targets where they really are.
    pub fn egress_gateway(
        socket: &Path,
        roots: &Path,
        stripe: SocketAddr,
        internal: SocketAddr,
    ) -> Result<Self> {
        Self::read("egress-gateway.yaml")?
            .listening_anywhere("127.0.0.1", 10000)?
            .replace(SOCKET, &text(socket))?
            .replace(SYSTEM_ROOTS, &text(roots))?
            .leading_to("api.stripe.com", 443, stripe)?
            .leading_to("internal-data-api.prod.svc.cluster.local", 443, internal)
    }

    /// `sidecar.yaml`, with Attaché on `socket` and its target where it really is.
    pub fn sidecar(socket: &Path, roots: &Path, stripe: SocketAddr) -> Result<Self> {
        Self::read("sidecar.yaml")?
            .listening_anywhere("127.0.0.1", 15001)?
            .replace(SOCKET, &text(socket))?
            .replace(SYSTEM_ROOTS, &text(roots))?
            .leading_to("api.stripe.com", 443, stripe)
    }

    /// `egress-mtls.yaml`, with Attaché at `attache`, Envoy's own certificate, and the authority (also
    /// the targets') in `roots`.
    pub fn egress_mtls(
        attache: SocketAddr,
        envoy: &IdentityFiles,
        roots: &Path,
        stripe: SocketAddr,
    ) -> Result<Self> {
        Self::read("egress-mtls.yaml")?
            .listening_anywhere("127.0.0.1", 10000)?
            .leading_to("attache.internal", 9443, attache)?
            .replace("/etc/attache/tls/envoy.crt", &text(&envoy.certificate))?
            .replace("/etc/attache/tls/envoy.key", &text(&envoy.key))?
            .replace("/etc/attache/tls/attache-ca.crt", &text(roots))?
            .replace(SYSTEM_ROOTS, &text(roots))?
            .leading_to("api.stripe.com", 443, stripe)
    }

    /// `egress-spiffe.yaml` for the workloads of `domain`, which `bundle` vouches for, with Envoy's own
    /// certificate; the rest as with the gateway.
    pub fn egress_spiffe(
        socket: &Path,
        roots: &Path,
        [stripe, internal]: [SocketAddr; 2],
        (domain, bundle): (&str, &Path),
        own: &IdentityFiles,
    ) -> Result<Self> {
        Self::read("egress-spiffe.yaml")?
            .listening_anywhere("127.0.0.1", 10443)?
            .replace(SOCKET, &text(socket))?
            .replace(SYSTEM_ROOTS, &text(roots))?
            .replace("/etc/attache/tls/gateway.crt", &text(&own.certificate))?
            .replace("/etc/attache/tls/gateway.key", &text(&own.key))?
            .replace("/etc/attache/tls/cluster.local.crt", &text(bundle))?
            .replace("- name: cluster.local\n", &format!("- name: {domain}\n"))?
            .leading_to("api.stripe.com", 443, stripe)?
            .leading_to("internal-data-api.prod.svc.cluster.local", 443, internal)
    }

    /// `filter-inbound.yaml` with the filter in `wasm`, the edge on `socket`, the service's certificate, and the
    /// application where it really is.
    pub fn filter_inbound(
        wasm: &Path,
        socket: &Path,
        own: &IdentityFiles,
        application: SocketAddr,
    ) -> Result<Self> {
        let anywhere =
            |address, port| format!("socket_address: {{ address: {address}, port_value: {port} }}");
        Self::read("filter-inbound.yaml")?
            .replace(&anywhere("0.0.0.0", 15006), &anywhere("127.0.0.1", 0))?
            .replace(crate::filter::IN_BOOTSTRAPS, &text(wasm))?
            .replace(SOCKET, &text(socket))?
            .replace("/etc/attache/tls/service.crt", &text(&own.certificate))?
            .replace("/etc/attache/tls/service.key", &text(&own.key))?
            .leading_to("127.0.0.1", 8080, application)
    }

    /// The same with the edge's policies about `https://orders.example` in the place of the rules that stand there.
    pub fn judged_by_the_edge(self) -> Result<Self> {
        let start = self.text.find("\"allow\": [").context("no rules")?;
        let rules = self.text.get(start..).unwrap_or_default();
        let end = "\n                        ]";
        let length = rules.find(end).context("no end of the rules")?;
        let rules = rules.get(..length.saturating_add(end.len()));
        let rules = rules.context("no rules")?.to_owned();
        self.replace(
            &rules,
            "\"judge\": { \"target\": \"https://orders.example\" }",
        )
    }

    /// `filter-outbound.yaml` with the filter in `wasm`, the edge on `socket`, and its target where it really is.
    pub fn filter_outbound(
        wasm: &Path,
        socket: &Path,
        roots: &Path,
        stripe: SocketAddr,
    ) -> Result<Self> {
        Self::read("filter-outbound.yaml")?
            .listening_anywhere("127.0.0.1", 15001)?
            .replace(crate::filter::IN_BOOTSTRAPS, &text(wasm))?
            .replace(SOCKET, &text(socket))?
            .replace(SYSTEM_ROOTS, &text(roots))?
            .leading_to("api.stripe.com", 443, stripe)
    }

    /// Puts `new` in the place of `old`, which must occur.
    pub fn replace(mut self, old: &str, new: &str) -> Result<Self> {
        ensure!(
            self.text.contains(old),
            "envoy/{} does not contain `{old}`",
            self.name
        );
        self.text = self.text.replace(old, new);
        Ok(self)
    }

    /// Puts `value` in the place of what `pointer` (RFC 6901) names, which must be there.
    pub fn put(mut self, pointer: &str, value: Value) -> Result<Self> {
        let mut settings = self.settings()?;
        let place = settings.pointer_mut(pointer);
        *place.with_context(|| format!("nothing at {pointer} in envoy/{}", self.name))? = value;
        // JSON is YAML, too.
        self.text = settings.to_string();
        Ok(self)
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text, with the substitutions made so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the text says.
    pub fn settings(&self) -> Result<Value> {
        let documents = Yaml::load_from_str(&self.text)?;
        let [document] = documents.as_slice() else {
            anyhow::bail!("envoy/{} is not one YAML document", self.name)
        };
        json(document).with_context(|| format!("envoy/{} cannot be read", self.name))
    }

    fn listening_anywhere(self, address: &str, port: u16) -> Result<Self> {
        let listener =
            |port| format!("socket_address: {{ address: {address}, port_value: {port} }}");
        self.replace(&listener(port), &listener(0))
    }

    fn leading_to(self, host: &str, port: u16, address: SocketAddr) -> Result<Self> {
        self.replace(
            &format!("socket_address: {{ address: {host}, port_value: {port} }}"),
            &format!(
                "socket_address: {{ address: {}, port_value: {} }}",
                address.ip(),
                address.port()
            ),
        )
    }
}

/// The documents of a YAML text.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    Yaml::load_from_str(text)?.iter().map(json).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn json(yaml: &Yaml<'_>) -> Result<Value> {
    Ok(match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(flag)) => Value::from(*flag),
        Yaml::Value(Scalar::Integer(number)) => Value::from(*number),
        Yaml::Value(Scalar::FloatingPoint(number)) => Value::from(f64::from(*number)),
        Yaml::Value(Scalar::String(text)) => Value::from(text.as_ref()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(json).collect::<Result<_>>()?),
        Yaml::Mapping(members) => {
            let mut object = Map::new();
            for (key, value) in members {
                let key = key.as_str().context("a key is not a string")?;
                object.insert(key.to_owned(), json(value)?);
            }
            Value::Object(object)
        }
        Yaml::Representation(..) | Yaml::Tagged(..) | Yaml::Alias(_) | Yaml::BadValue => {
            anyhow::bail!("{yaml:?} has no place in a bootstrap")
        }
    })
}
