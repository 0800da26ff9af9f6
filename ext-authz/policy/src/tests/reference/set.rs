//! Random policy sets as values, and the same sets as documents.

use proptest::{prelude::*, sample::subsequence};

/// One policy with everything it refers to.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) deny: bool,
    pub(super) dry_run: bool,
    pub(super) client: usize,
    pub(super) server: usize,
    pub(super) providers: Vec<&'static str>,
    /// Whether each of the providers must have proven the caller.
    pub(super) all: bool,
    /// Places in `CONDITIONS`.
    pub(super) conditions: Vec<usize>,
    pub(super) credential: Option<&'static str>,
    pub(super) ttl: Option<u64>,
    pub(super) actions: Vec<Action>,
}

#[derive(Clone, Debug)]
pub(super) struct Action {
    pub(super) name: &'static str,
    pub(super) methods: Vec<&'static str>,
    pub(super) paths: Vec<&'static str>,
}

pub(super) struct Server {
    pub(super) host: &'static str,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) paths: &'static [&'static str],
    pub(super) header: &'static str,
    /// Whether capitals, and dots and spaces at the end of a segment, make no other path.
    pub(super) folds: bool,
}

/// Each client: OR of AND of an attribute with its values.
pub(super) type Match = &'static [&'static [(&'static str, &'static [&'static str])]];

pub(super) const CLIENTS: [Match; 9] = [
    &[&[("k8s.namespace", &["shop"])]],
    &[&[
        ("k8s.namespace", &["shop", "bank"]),
        ("k8s.serviceAccount", &["web"]),
    ]],
    &[&[("k8s.serviceAccount", &["w*"])]],
    &[
        &[("claims.groups", &["admins"])],
        &[("k8s.serviceAccount", &["job"])],
    ],
    &[&[("spiffe.id", &["spiffe://cluster.local/ns/*/sa/job"])]],
    &[&[("claims.groups", &["a*s"]), ("claims.team", &["red", "b*"])]],
    &[&[("k8s.serviceAccount", &["*b", "j*"])]],
    &[&[("k8s.namespace", &["*o*"])]],
    &[
        &[
            ("k8s.serviceAccount", &["*eb", "job"]),
            ("k8s.namespace", &["*a*", "shop"]),
        ],
        &[("claims.groups", &["*taf*", "admins"])],
    ],
];

const fn server(
    host: &'static str,
    port: u16,
    tls: bool,
    paths: &'static [&'static str],
    header: &'static str,
) -> Server {
    Server {
        host,
        port,
        tls,
        paths,
        header,
        folds: false,
    }
}

pub(super) const SERVERS: [Server; 8] = [
    server("api.example.corp", 443, true, &["/"], "authorization"),
    server("api.example.corp", 443, true, &["/v1", "/v2"], "x-key"),
    Server {
        folds: true,
        ..server("api.example.corp", 443, true, &["/"], "x-key")
    },
    server("*.example.corp", 443, true, &["/"], "x-key"),
    server("*.corp", 443, false, &["/", "/v1/x"], "authorization"),
    server("api.example.corp", 8443, false, &["/v1"], "authorization"),
    server("*.b.example.corp", 443, true, &["/v1"], "authorization"),
    server("10.0.0.1", 443, false, &["/"], "x-other"),
];

/// Each condition's `spec`; [`super::evaluator::holds`] says what it means.
pub(super) const CONDITIONS: [&str; 9] = [
    "time: {timeZone: Europe/Berlin, windows: [{days: [mon, tue, wed, thu, fri], from: '08:00', to: '18:00'}]}",
    "time: {timeZone: America/New_York, windows: [{days: [sat], from: '22:00', to: '01:30'}, {days: [sun], from: '01:45', to: '02:30'}]}",
    "time: {timeZone: Europe/Berlin, windows: [{days: [sun], from: '02:15', to: '02:45'}], notAfter: 2026-12-01}",
    "time: {timeZone: UTC, notBefore: 2026-03-29, notAfter: 2026-10-25}",
    "source: {ranges: [10.0.0.0/8, '2001:db8::/32']}",
    "geography: {countries: [DE, FR]}",
    "cel: 'attributes[\"claims.team\"] == \"red\"'",
    "cel: 'request.headers[\"x-env\"] == \"prod\" || request.query.contains(\"debug\")'",
    "cel: 'request.method == \"GET\" && source.startsWith(\"10.\") && request.path.matches(\"^/v[12]\")'",
];

/// More prefixes below one than a scope names exceptions.
pub(super) const MANY: [&str; 20] = [
    "/v2/e00",
    "/v2/e01",
    "/v2/e02",
    "/v2/e03",
    "/v2/e04",
    "/v2/e05",
    "/v2/e06",
    "/v2/e07",
    "/v2/e08",
    "/v2/e09",
    "/v2/e10",
    "/v2/e11",
    "/v2/e12",
    "/v2/e13",
    "/v2/e14",
    "/v2/e15",
    "/v2/e16/a",
    "/v2/e17",
    "/v2/e18",
    "/v2/e19",
];

/// Stands for every method.
pub(super) const ANY: &str = "*";

impl Action {
    const fn new(name: &'static str, methods: Vec<&'static str>, paths: Vec<&'static str>) -> Self {
        Self {
            name,
            methods,
            paths,
        }
    }

    fn written(&self) -> String {
        match self.name {
            "read" | "write" | "all" => self.name.to_owned(),
            name => format!(
                "{{name: {name}, methods: {:?}, paths: {:?}}}",
                self.methods, self.paths
            ),
        }
    }
}

fn action() -> impl Strategy<Value = Action> {
    let methods = subsequence(vec!["GET", "POST", "PURGE"], 1..=3);
    let paths = subsequence(vec!["/", "/v1", "/v1/x", "/v1/x/y", "/v2/z", "/v2"], 1..=3);
    let read = vec!["GET", "HEAD", "OPTIONS"];
    let write = vec!["POST", "PUT", "PATCH", "DELETE"];
    prop_oneof![
        2 => Just(Action::new("read", read, vec!["/"])),
        2 => Just(Action::new("write", write, vec!["/"])),
        2 => Just(Action::new("all", vec![ANY], vec!["/"])),
        4 => (methods.clone(), paths).prop_map(|(methods, paths)| Action::new("own", methods, paths)),
        1 => methods.prop_map(|methods| Action::new("many", methods, MANY.to_vec())),
    ]
}

fn policy(index: usize) -> impl Strategy<Value = Policy> {
    let credential = prop::option::weighted(0.7, prop_oneof![6 => Just("one"), 1 => Just("two")]);
    let parts = (
        (prop::bool::weighted(0.2), prop::bool::weighted(0.2)),
        0..CLIENTS.len(),
        prop_oneof![1 => 0..4_usize, 1 => 0..SERVERS.len()],
        (
            subsequence(vec!["cluster", "forge"], 0..=2),
            prop::bool::weighted(0.3),
        ),
        (credential, prop::option::weighted(0.1, Just(60_u64))),
        prop::collection::vec(action(), 1..=2),
        prop_oneof![
            3 => Just(Vec::new()),
            2 => subsequence((0..CONDITIONS.len()).collect::<Vec<_>>(), 1..=2),
        ],
    );
    parts.prop_map(
        move |(
            (deny, dry_run),
            client,
            server,
            (mut providers, all),
            credential,
            actions,
            conditions,
        )| {
            let (credential, ttl) = credential;
            if !deny && providers.is_empty() {
                providers.push("cluster");
            }
            let mut distinct: Vec<Action> = Vec::new();
            for action in actions {
                if distinct.iter().all(|other| other.name != action.name) {
                    distinct.push(action);
                }
            }
            let credential = credential.filter(|_| !deny);
            Policy {
                name: format!("p{index:02}"),
                deny,
                dry_run,
                client,
                server,
                // A deny does not load with it.
                all: all && !deny && !providers.is_empty(),
                providers,
                conditions,
                ttl: ttl.filter(|_| credential.is_some()),
                credential,
                actions: distinct,
            }
        },
    )
}

pub(super) fn policies() -> impl Strategy<Value = Vec<Policy>> {
    (4..=16_usize).prop_flat_map(|count| (0..count).map(policy).collect::<Vec<_>>())
}

const PROVIDERS: &str = "
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: cluster}
spec: {type: kubernetes-service-account, issuer: https://cluster.example}
---
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: {name: forge}
spec: {type: oidc, issuer: https://forge.example}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: one}
spec: {type: oidc-token, audience: one}
---
apiVersion: attache.dev/v1
kind: CredentialProvider
metadata: {name: two}
spec: {type: oidc-token, audience: two}
";

fn document(kind: &str, name: &str, spec: &str) -> String {
    let head = "---\napiVersion: attache.dev/v1\nkind: ";
    format!("{head}{kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

pub(super) fn written(policies: &[Policy]) -> String {
    let clients = CLIENTS.iter().enumerate().map(|(index, entries)| {
        let entry = |entry: &&[(&str, &[&str])]| {
            let conditions: Vec<_> = entry
                .iter()
                .map(|(name, values)| format!("{name}: {values:?}"))
                .collect();
            format!("{{{}}}", conditions.join(", "))
        };
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let spec = format!("match: [{}]", entries.join(", "));
        document("ClientWorkload", &format!("c{index}"), &spec)
    });
    let servers = SERVERS.iter().enumerate().map(|(index, server)| {
        let Server {
            host,
            port,
            tls,
            paths,
            header,
            folds,
        } = server;
        let matching = if *folds { "case-insensitive" } else { "exact" };
        let tls = if *tls {
            "required"
        } else {
            "plaintext-allowed"
        };
        let authentication = format!("{{method: header, name: {header}}}");
        let spec = format!(
            "host: {host:?}, port: {port}, tls: {tls}, paths: {paths:?}, pathMatching: {matching}, \
             authentication: {authentication}"
        );
        document("ServerWorkload", &format!("s{index}"), &spec)
    });
    let conditions = CONDITIONS
        .iter()
        .enumerate()
        .map(|(index, spec)| document("AccessCondition", &format!("if{index}"), spec));
    let policies = policies.iter().map(Policy::written);
    let documents = clients.chain(servers).chain(conditions).chain(policies);
    std::iter::once(PROVIDERS.to_owned())
        .chain(documents)
        .collect()
}

impl Policy {
    fn written(&self) -> String {
        let Self {
            name,
            client,
            server,
            providers,
            credential,
            ..
        } = self;
        let actions: Vec<_> = self.actions.iter().map(Action::written).collect();
        let (effect, actions) = (self.effect(), actions.join(", "));
        let mut spec =
            format!("client: c{client}, server: s{server}, effect: {effect}, actions: [{actions}]");
        if self.dry_run {
            spec.push_str(", mode: dry-run");
        }
        if !providers.is_empty() {
            spec.push_str(&format!(", trustProviders: {providers:?}"));
            if self.all {
                spec.push_str(", attestation: all");
            }
        }
        if !self.conditions.is_empty() {
            let names: Vec<_> = self.conditions.iter().map(|it| format!("if{it}")).collect();
            spec.push_str(&format!(", conditions: {names:?}"));
        }
        if let Some(credential) = credential {
            spec.push_str(&format!(", credentialProvider: {credential}"));
        }
        if let Some(ttl) = self.ttl {
            spec.push_str(&format!(", ttl: {ttl}"));
        }
        document("AccessPolicy", name, &spec)
    }

    pub(super) const fn effect(&self) -> &'static str {
        if self.deny { "deny" } else { "allow" }
    }

    pub(super) const fn server(&self) -> &'static Server {
        &SERVERS[self.server]
    }

    /// Which credential goes where, and how long it lives.
    pub(super) fn grants(&self) -> Option<(&'static str, &'static str, u64)> {
        let ttl = self.ttl.unwrap_or(900);
        self.credential
            .map(|name| (name, self.server().header, ttl))
    }
}
