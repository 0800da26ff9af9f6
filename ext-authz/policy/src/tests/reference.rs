//! The compiled index against a plain evaluator that goes through the policies one by one.

use attache_core::{
    attributes::AttributeValue,
    request::{Host, PathPrefix, Request, RequestPath, Transport},
};
use proptest::{prelude::*, sample::subsequence};

use super::{NOW, build_job, pod, settings, source, told};
use crate::{Code, Source, compile};

/// One policy with everything it refers to, as values.
#[derive(Clone, Debug)]
struct Policy {
    name: String,
    deny: bool,
    client: usize,
    server: usize,
    providers: Vec<&'static str>,
    credential: Option<&'static str>,
    actions: Vec<Action>,
}

#[derive(Clone, Debug)]
struct Action {
    name: &'static str,
    methods: Vec<&'static str>,
    paths: Vec<&'static str>,
}

struct Server {
    host: &'static str,
    port: u16,
    tls: bool,
    paths: &'static [&'static str],
    header: &'static str,
}

/// Each client: OR of AND of an attribute with its values.
type Match = &'static [&'static [(&'static str, &'static [&'static str])]];

const CLIENTS: [Match; 6] = [
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
];

const SERVERS: [Server; 7] = [
    Server {
        host: "api.example.com",
        port: 443,
        tls: true,
        paths: &["/"],
        header: "authorization",
    },
    Server {
        host: "api.example.com",
        port: 443,
        tls: true,
        paths: &["/v1", "/v2"],
        header: "x-key",
    },
    Server {
        host: "*.example.com",
        port: 443,
        tls: true,
        paths: &["/"],
        header: "x-key",
    },
    Server {
        host: "*.com",
        port: 443,
        tls: false,
        paths: &["/", "/v1/x"],
        header: "authorization",
    },
    Server {
        host: "api.example.com",
        port: 8443,
        tls: false,
        paths: &["/v1"],
        header: "authorization",
    },
    Server {
        host: "*.b.example.com",
        port: 443,
        tls: true,
        paths: &["/v1"],
        header: "authorization",
    },
    Server {
        host: "10.0.0.1",
        port: 443,
        tls: false,
        paths: &["/"],
        header: "x-other",
    },
];

const HOSTS: [&str; 7] = [
    "api.example.com",
    "a.b.example.com",
    "example.com",
    "b.example.com",
    "x.com",
    "com",
    "10.0.0.1",
];
const PATHS: [&str; 8] = [
    "/", "/v1", "/v10", "/v1/x", "/v1/xy", "/v1/x/y", "/v2/z", "/v3",
];
const METHODS: [&str; 6] = ["GET", "POST", "get", "OPTIONS", "PURGE", "DELETE"];

const ANY: &str = "*";

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
    let paths = subsequence(vec!["/", "/v1", "/v1/x", "/v2/z"], 1..=3);
    prop_oneof![
        Just(Action::new(
            "read",
            vec!["GET", "HEAD", "OPTIONS"],
            vec!["/"]
        )),
        Just(Action::new(
            "write",
            vec!["POST", "PUT", "PATCH", "DELETE"],
            vec!["/"]
        )),
        Just(Action::new("all", vec![ANY], vec!["/"])),
        (methods, paths).prop_map(|(methods, paths)| Action::new("own", methods, paths)),
    ]
}

fn policy(index: usize) -> impl Strategy<Value = Policy> {
    let credential = prop::option::weighted(0.7, prop_oneof![4 => Just("one"), 1 => Just("two")]);
    let providers = subsequence(vec!["cluster", "forge"], 0..=2);
    let parts = (
        prop::bool::weighted(0.2),
        0..CLIENTS.len(),
        0..SERVERS.len(),
        providers,
        credential,
        prop::collection::vec(action(), 1..=2),
    );
    parts.prop_map(
        move |(deny, client, server, mut providers, credential, mut actions)| {
            if !deny && providers.is_empty() {
                providers.push("cluster");
            }
            actions.dedup_by_key(|action| action.name);
            let credential = credential.filter(|_| !deny);
            let name = format!("p{index}");
            Policy {
                name,
                deny,
                client,
                server,
                providers,
                credential,
                actions,
            }
        },
    )
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    (1..=9_usize).prop_flat_map(|count| (0..count).map(policy).collect::<Vec<_>>())
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

fn written(policies: &[Policy]) -> String {
    let clients = CLIENTS.iter().enumerate().map(|(index, entries)| {
        let entry = |entry: &&[(&str, &[&str])]| {
            let conditions: Vec<_> = entry
                .iter()
                .map(|(name, values)| format!("{name}: {values:?}"))
                .collect();
            format!("{{{}}}", conditions.join(", "))
        };
        let entries: Vec<_> = entries.iter().map(entry).collect();
        document(
            "ClientWorkload",
            &format!("c{index}"),
            &format!("match: [{}]", entries.join(", ")),
        )
    });
    let servers = SERVERS.iter().enumerate().map(|(index, server)| {
        let Server { host, port, tls, paths, header } = server;
        let tls = if *tls { "required" } else { "plaintext-allowed" };
        let authentication = format!("{{method: header, name: {header}}}");
        let spec = format!(
            "host: {host:?}, port: {port}, tls: {tls}, paths: {paths:?}, authentication: {authentication}"
        );
        document("ServerWorkload", &format!("s{index}"), &spec)
    });
    let policies = policies.iter().map(Policy::written);
    let documents = clients.chain(servers).chain(policies);
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
        if !providers.is_empty() {
            spec.push_str(&format!(", trustProviders: {providers:?}"));
        }
        if let Some(credential) = credential {
            spec.push_str(&format!(", credentialProvider: {credential}"));
        }
        document("AccessPolicy", name, &spec)
    }

    const fn effect(&self) -> &'static str {
        if self.deny { "deny" } else { "allow" }
    }

    const fn server(&self) -> &'static Server {
        &SERVERS[self.server]
    }

    fn host_rank(&self, call: &Call) -> usize {
        host_rank(self.server().host, call.host)
    }

    fn accepts(&self, caller: &Caller) -> bool {
        self.providers.contains(&caller.provider()) || (self.deny && self.providers.is_empty())
    }

    fn grants(&self) -> Option<(&'static str, &'static str)> {
        self.credential.map(|name| (name, self.server().header))
    }

    fn matched(&self, action: &Action) -> String {
        format!(
            "{}:c{}:s{}:{}",
            self.effect(),
            self.client,
            self.server,
            action.name
        )
    }
}

#[derive(Clone, Debug)]
struct Caller {
    pod: Option<(&'static str, &'static str)>,
    groups: Vec<&'static str>,
    team: Option<&'static str>,
}

impl Caller {
    fn values(&self, attribute: &str) -> Vec<String> {
        let many = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        match (attribute, self.pod) {
            ("k8s.namespace", Some((namespace, _))) => vec![namespace.to_owned()],
            ("k8s.serviceAccount", Some((_, account))) => vec![account.to_owned()],
            ("spiffe.id", Some((namespace, account))) => {
                vec![format!(
                    "spiffe://cluster.local/ns/{namespace}/sa/{account}"
                )]
            }
            ("spiffe.id", None) => vec!["spiffe://cluster.local/forge/job".to_owned()],
            ("claims.groups", None) => many(&self.groups),
            ("claims.team", None) => many(self.team.as_slice()),
            _ => Vec::new(),
        }
    }

    const fn provider(&self) -> &'static str {
        if self.pod.is_some() {
            "cluster"
        } else {
            "forge"
        }
    }

    fn is(&self, client: Match) -> bool {
        client.iter().any(|entry| {
            entry.iter().all(|(attribute, patterns)| {
                let values = self.values(attribute);
                values
                    .iter()
                    .any(|value| patterns.iter().any(|pattern| glob(pattern, value)))
            })
        })
    }
}

/// Slow and obvious.
fn glob(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((before, after)) => value.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|cut| rest.get(cut..).is_some_and(|rest| glob(after, rest)))
        }),
    }
}

fn caller() -> impl Strategy<Value = Caller> {
    let pods = (
        prop_oneof![Just("shop"), Just("bank"), Just("lab")],
        prop_oneof![Just("web"), Just("job"), Just("w")],
    );
    let groups = subsequence(vec!["admins", "as", "staff"], 0..=3);
    let team = prop::option::of(prop_oneof![Just("red"), Just("blue"), Just("green")]);
    prop_oneof![
        2 => pods.prop_map(|pod| Caller { pod: Some(pod), groups: Vec::new(), team: None }),
        1 => (groups, team).prop_map(|(groups, team)| Caller { pod: None, groups, team }),
    ]
}

#[derive(Clone, Debug)]
struct Call {
    caller: Caller,
    host: &'static str,
    port: u16,
    tls: bool,
    method: &'static str,
    path: &'static str,
}

fn call() -> impl Strategy<Value = Call> {
    let any = |words: &'static [&'static str]| prop::sample::select(words);
    let port = prop_oneof![6 => Just(443_u16), 1 => Just(8443)];
    let tls = prop::bool::weighted(0.8);
    (caller(), any(&HOSTS), port, tls, any(&METHODS), any(&PATHS)).prop_map(
        |(caller, host, port, tls, method, path)| Call {
            caller,
            host,
            port,
            tls,
            method,
            path,
        },
    )
}

/// How specific the host is, 0 for not at all: an exact host above every suffix.
fn host_rank(pattern: &str, host: &str) -> usize {
    match pattern.strip_prefix('*') {
        None if pattern == host => 100,
        None => 0,
        Some(suffix) if host.ends_with(suffix) && host.len() > suffix.len() => {
            suffix.matches('.').count()
        }
        Some(_) => 0,
    }
}

/// The longest prefix of `prefixes` that covers `path`, in segments from 1.
fn path_rank(prefixes: &[&str], path: &str) -> usize {
    let path = RequestPath::parse(path).unwrap();
    let covering = prefixes
        .iter()
        .map(|prefix| PathPrefix::parse(prefix).unwrap());
    covering
        .filter(|prefix| prefix.covers(path))
        .map(|prefix| prefix.segments() + 1)
        .max()
        .unwrap_or(0)
}

/// The action that covers the call by the longest prefix.
fn covering<'p>(policy: &'p Policy, call: &Call) -> Option<(usize, &'p Action)> {
    let served = path_rank(SERVERS[policy.server].paths, call.path);
    let mut best = None;
    for action in &policy.actions {
        let method = action.methods.contains(&ANY) || action.methods.contains(&call.method);
        let asked = path_rank(&action.paths, call.path);
        let rank = served.max(asked);
        let covers = method && served > 0 && asked > 0;
        if covers && best.is_none_or(|(most, _)| rank > most) {
            best = Some((rank, action));
        }
    }
    best
}

/// What the documents say about the call, by reading them.
fn evaluate(policies: &[Policy], call: &Call) -> String {
    let on_target: Vec<&Policy> = policies
        .iter()
        .filter(|policy| policy.server().port == call.port && policy.host_rank(call) > 0)
        .collect();
    let of_caller: Vec<&Policy> = on_target
        .iter()
        .copied()
        .filter(|it| call.caller.is(CLIENTS[it.client]))
        .collect();
    // In the order of their names, which is that of their making.
    let covering: Vec<_> = of_caller
        .iter()
        .filter_map(|policy| covering(policy, call).map(|(path, action)| (*policy, path, action)))
        .collect();
    let applying = || {
        covering
            .iter()
            .filter(|(policy, ..)| policy.accepts(&call.caller))
    };
    if let Some((policy, _, action)) = applying().find(|(policy, ..)| policy.deny) {
        return format!("denied-by-policy by {}", policy.matched(action));
    }
    let rank = |(policy, path, _): &(&Policy, usize, &Action)| (policy.host_rank(call), *path);
    if let Some(highest) = applying().map(rank).max() {
        let best: Vec<_> = applying().filter(|found| rank(found) == highest).collect();
        return granted(&best, call);
    }
    let allows = |policies: &[&Policy]| policies.iter().any(|policy| !policy.deny);
    match covering.iter().find(|(policy, ..)| !policy.deny) {
        Some((policy, _, action)) => {
            format!("trust-provider-not-accepted by {}", policy.matched(action))
        }
        None if !allows(&of_caller) && allows(&on_target) => "attribute-mismatch".to_owned(),
        None => "no-policy".to_owned(),
    }
}

/// What the allows of the highest rank grant together.
fn granted(best: &[&(&Policy, usize, &Action)], call: &Call) -> String {
    let (first, _, action) = best[0];
    if best
        .iter()
        .any(|(policy, ..)| policy.grants() != first.grants())
    {
        return "credential-conflict".to_owned();
    }
    if !call.tls && best.iter().any(|(policy, ..)| policy.server().tls) {
        return format!("destination-plaintext by {}", first.matched(action));
    }
    match first.grants() {
        Some((name, header)) => format!("{} with {name} in {header}", first.matched(action)),
        None => format!("{} with nothing", first.matched(action)),
    }
}

fn decided(set: &crate::Compiled, call: &Call) -> String {
    let host = Host::parse(call.host).unwrap();
    let transport = if call.tls {
        Transport::Tls
    } else {
        Transport::Plaintext
    };
    let path = RequestPath::parse(call.path).unwrap();
    let Call { port, method, .. } = *call;
    let caller = match call.caller.pod {
        Some((namespace, account)) => pod(namespace, account),
        None => {
            let groups = call
                .caller
                .groups
                .iter()
                .map(|group| (*group).to_owned())
                .collect();
            let mut claims = vec![("groups", AttributeValue::Many(groups))];
            claims.extend(
                call.caller
                    .team
                    .map(|team| ("team", AttributeValue::One(team.into()))),
            );
            build_job(&claims)
        }
    };
    told(&set.decide(
        &caller,
        &Request {
            host: &host,
            port,
            transport,
            method,
            path,
        },
        NOW,
    ))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_as_the_documents_say(
        policies in policies(),
        calls in prop::collection::vec(call(), 60),
    ) {
        let text = written(&policies);
        let set = match compile(&[source("set.yaml", &text)], &settings()) {
            Ok(set) => set,
            Err(problems) => {
                // What certainly conflicts, and what never applies, is refused; nothing else may be.
                let known = [Code::CredentialConflict, Code::NeverApplies];
                let understood = problems.iter().all(|problem| known.contains(&problem.code));
                prop_assert!(understood, "{problems}\n{text}");
                return Err(TestCaseError::reject("a contradictory set"));
            }
        };
        for call in &calls {
            prop_assert_eq!(decided(&set, call), evaluate(&policies, call), "{:?}\n{}", call, text);
        }
    }

    #[test]
    fn an_accepted_set_has_no_conflict_for_one_client_on_one_server(policies in policies()) {
        let text = written(&policies);
        let Ok(set) = compile(&[source("set.yaml", &text)], &settings()) else {
            return Err(TestCaseError::reject("a contradictory set"));
        };
        for policy in policies.iter().filter(|policy| !policy.deny) {
            let alone: Vec<_> = policies
                .iter()
                .filter(|other| other.client == policy.client && other.server == policy.server)
                .cloned()
                .collect();
            let alone_text = written(&alone);
            let alone_set = compile(&[source("set.yaml", &alone_text)], &settings());
            let alone_set = alone_set.expect("a part of an accepted set");
            for (method, path) in METHODS.iter().flat_map(|method| PATHS.map(|path| (*method, path))) {
                for pod in [("shop", "web"), ("bank", "web"), ("lab", "job")] {
                    let Server { host, port, tls, .. } = SERVERS[policy.server];
                    let host = if host.starts_with('*') { "a.b.example.com" } else { host };
                    let caller = Caller { pod: Some(pod), groups: Vec::new(), team: None };
                    let call = Call { caller, host, port, tls, method, path };
                    prop_assert_ne!(decided(&alone_set, &call), "credential-conflict", "{:?}\n{}", call, alone_text);
                }
            }
        }
        prop_assert!(set.policy_count() == policies.len());
    }

    #[test]
    fn no_bytes_stop_the_compiler(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = compile(&[Source { name: "any".to_owned(), text }], &settings());
    }

    #[test]
    fn no_damage_to_a_sound_set_stops_the_compiler(
        policies in policies(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, "[-:{}\\[\\]*&!|> \n'\"a]{0,6}"), 1..6),
    ) {
        let mut text = written(&policies);
        for (at, kind, new) in damage {
            let mut cut = at.index(text.len());
            while !text.is_char_boundary(cut) {
                cut -= 1;
            }
            let end = if kind == 0 { cut } else { text.len().min(cut + usize::from(kind)) };
            text.replace_range(cut..end, &new);
        }
        if let Err(problems) = compile(&[source("set.yaml", &text)], &settings()) {
            prop_assert!(!problems.is_empty());
        }
    }
}
