use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use attache_core::spiffe_id::SpiffeId;
use attache_credentials::EdgeLogin;
use attache_edge::settings::{Bind, EvidenceSource, OwnSvid, Unmatched};

use super::{Config, EXAMPLE};

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    let (config, problems) = Config::read(
        Path::new("/etc/attache/attache.yaml"),
        text.as_bytes(),
        variables,
    );
    config.ok_or_else(|| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn the_example_shows_every_default() {
    assert_eq!(read(EXAMPLE, &[]).unwrap(), read("{}", &[]).unwrap());
}

#[test]
fn every_setting_of_the_example_that_is_commented_out_is_a_setting_too() {
    let commented = EXAMPLE
        .replace(
            "      # group: 1337\n      # allowed_uids: [1337]",
            "      group: 1337\n      allowed_uids: [1337]",
        )
        .replace("    # - name: remote", "    - name: remote")
        .replace("    # - name: open", "    - name: open")
        .replace("\n    #   ", "\n      ")
        .replace("        # peer:", "        peer:")
        .replace("\n        #   ", "\n          ")
        .replace("        # agreement:", "        agreement:")
        .replace("  # database: /var", "  database: /var")
        .replace("# monitoring:\n#   listen", "monitoring:\n  listen")
        .replace("  # endpoint: http", "  endpoint: http")
        .replace("  # ca_file: /etc", "  ca_file: /etc")
        .replace("  # vault:\n", "  vault:\n")
        .replace("\n  #   ", "\n    ")
        .replace("  providers: []\n    # - name", "  providers:\n    - name");
    let config = read(&commented, &[]).unwrap();
    let binds: Vec<_> = config
        .edge
        .listeners
        .iter()
        .map(|listener| &listener.bind)
        .collect();
    let [Bind::Unix(unix), Bind::Tls(tls), Bind::Plaintext(_)] = binds[..] else {
        panic!("{binds:?}");
    };
    assert_eq!(
        (unix.group, unix.allowed_uids.as_slice()),
        (Some(1337), &[1337][..])
    );
    assert_eq!(
        tls.allowed,
        ["spiffe://cluster.local/ns/gateways/sa/egress"]
    );
    let EvidenceSource::Request(evidence) = &config.edge.listeners[0].evidence else {
        panic!("a gateway's evidence");
    };
    let peer = evidence.peer.as_ref().unwrap();
    assert_eq!((peer.proxies.len(), peer.names_unproven.len()), (1, 1));
    assert_eq!(config.trust_providers.len(), 1);
    assert_eq!(config.monitoring_listen, Some(([0, 0, 0, 0], 9464).into()));
    assert_eq!(config.traces.unwrap().endpoint, "http://127.0.0.1:4317");
    let vault = config.vault.unwrap();
    assert_eq!(vault.address, "https://vault.example.com:8200");
    assert!(vault.ca_file.is_some() && vault.namespace.is_some());
    let geography = config.geography.unwrap();
    assert_eq!(
        geography.database,
        Path::new("/var/lib/attache/GeoLite2-Country.mmdb")
    );
}

#[test]
fn relative_paths_start_at_the_files_folder() {
    let config = read("data_dir: data\npolicies: policies", &[]).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/attache/data"));
    assert_eq!(config.policies, Path::new("/etc/attache/policies"));
    assert_eq!(
        config.admin_socket,
        Path::new("/etc/attache/data/admin.sock")
    );
    assert_eq!(
        config.sealing_key_file,
        Path::new("/etc/attache/data/sealing.key")
    );
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let text = "issuer: { url: https://file.example }\nedge: { drain: 5s, name: from-file }";
    let variables = [
        ("ATTACHE_ISSUER_URL", "https://environment.example"),
        ("ATTACHE_EDGE_UNMATCHED", "pass-without-credential"),
        ("ATTACHE_DATA_DIR", "/data"),
        ("HOME", "/root"),
    ];
    let config = read(text, &variables).unwrap();
    assert_eq!(config.issuer.url.as_str(), "https://environment.example");
    assert_eq!(config.edge.unmatched, Unmatched::PassWithoutCredential);
    assert_eq!(config.data_dir, Path::new("/data"));
    assert_eq!(config.drain, Duration::from_secs(5));
    assert_eq!(config.edge.name, "from-file");
}

#[test]
fn all_problems_of_file_and_environment_are_told_at_once() {
    let text = "\
environment: Prod!
issuer:
  url: http://issuer.example
  listen: nowhere
edge:
  unmatched: allow
  listeners:
    - name: a
      role: gateway
      unix: a.sock
      tcp: 127.0.0.1:1
    - name: b
      role: sidecar-outbound
      unix: b.sock
    - name: c
      role: gateway
      tcp: 127.0.0.1:2
audit: { durability: sometimes }
colour: red
";
    let problems = read(text, &[("ATTACHE_EDGE_DRAIN", "soon")]).unwrap_err();
    for (place, words) in [
        ("attache.yaml:1:", "Prod!"),
        ("attache.yaml:3:", "https"),
        ("attache.yaml:4:", "127.0.0.1:9191"),
        ("attache.yaml:6:", "pass-without-credential"),
        ("attache.yaml:8:", "exactly one of `unix` and `tcp`"),
        ("attache.yaml:12:", "token_file"),
        ("attache.yaml:15:", "plaintext: true"),
        ("attache.yaml:18:", "before-answer"),
        ("attache.yaml:19:", "colour"),
        ("environment variable ATTACHE_EDGE_DRAIN", "soon"),
    ] {
        let told = problems
            .iter()
            .any(|problem| problem.contains(place) && problem.contains(words));
        assert!(told, "{place} {words} is missing in {problems:#?}");
    }
    assert_eq!(problems.len(), 10, "{problems:#?}");
}

#[test]
fn a_gateway_never_speaks_with_the_pods_own_token() {
    let listener = "edge: { listeners: [{ name: a, role: gateway, unix: a.sock, evidence: { token_file: /t } }] }";
    assert!(read(listener, &[]).is_err());
    let sidecar = listener.replace("gateway", "sidecar-outbound");
    let config = read(&sidecar, &[]).unwrap();
    assert_eq!(
        config.edge.listeners[0].evidence,
        EvidenceSource::TokenFile("/t".into())
    );
    let header = sidecar.replace("token_file: /t", "header: x-attache-evidence");
    assert!(read(&header, &[]).is_err());
}

#[test]
fn a_sidecar_asks_its_agent_for_one_kind_of_svid() {
    let listener = |agent: &str| {
        format!(
            "edge: {{ listeners: [{{ name: a, role: sidecar-outbound, unix: a.sock, evidence: {{ workload_api: {{ {agent} }} }} }}] }}"
        )
    };
    let evidence = |agent: &str| {
        let config = read(&listener(agent), &[]).unwrap();
        config.edge.listeners[0].evidence.clone()
    };
    let id = SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/web").ok();
    let jwt = OwnSvid::jwt("/agent.sock".into(), "attache".to_owned(), None);
    assert_eq!(
        evidence("socket: /agent.sock"),
        EvidenceSource::WorkloadApi(jwt.clone())
    );
    assert_eq!(
        evidence("socket: /agent.sock, svid: jwt, audience: attache"),
        EvidenceSource::WorkloadApi(jwt)
    );
    let x509 = OwnSvid::x509("/agent.sock".into(), id);
    assert_eq!(
        evidence(
            "socket: /agent.sock, svid: x509, spiffe_id: \"spiffe://cluster.local/ns/shop/sa/web\""
        ),
        EvidenceSource::WorkloadApi(x509)
    );
    // A certificate is for nobody in particular.
    assert!(read(&listener("socket: /a, svid: x509, audience: attache"), &[]).is_err());
    assert!(read(&listener("socket: /a, svid: wit"), &[]).is_err());
}

#[test]
fn a_variable_that_is_no_setting_is_told_and_service_links_are_not() {
    let variables = [
        ("ATTACHE_ISSUR_URL", "x"),
        ("ATTACHE_SERVICE_HOST", "10.0.0.1"),
        ("ATTACHE_PORT_8200_TCP", "x"),
        ("ATTACHE_SECRET_KEY", "x"),
    ]
    .map(|(name, value)| (name.into(), value.into()));
    let (config, problems) = Config::read(Path::new("/a.yaml"), b"{}", variables);
    assert!(config.is_some());
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("ATTACHE_ISSUR_URL"), "{problems:?}");
}

/// Each of `wanted`, a place and words, is told, and nothing else.
fn tells(text: &str, wanted: &[(&str, &str)]) {
    let problems = read(text, &[]).unwrap_err();
    for (place, words) in wanted {
        let told = problems
            .iter()
            .any(|problem| problem.contains(place) && problem.contains(words));
        assert!(told, "{place} {words} is missing in {problems:#?}");
    }
    assert_eq!(problems.len(), wanted.len(), "{problems:#?}");
}

#[test]
fn what_belongs_to_the_other_kind_of_listener_is_refused_and_not_ignored() {
    let text = "\
edge:
  listeners:
    - name: a
      role: gateway
      tcp: 127.0.0.1:1
      plaintext: true
      mode: \"0600\"
      group: 1
      allowed_uids: [1]
    - name: b
      role: gateway
      unix: b.sock
      tls: {certificate: c, key: k, client_ca: a, allowed: [x]}
      plaintext: false
";
    tells(
        text,
        &[
            ("attache.yaml:7:", "`mode` belongs to `unix`"),
            ("attache.yaml:8:", "`group` belongs to `unix`"),
            ("attache.yaml:9:", "`allowed_uids` belongs to `unix`"),
            ("attache.yaml:13:", "`tls` belongs to `tcp`"),
            ("attache.yaml:14:", "`plaintext` belongs to `tcp`"),
        ],
    );
}

#[test]
fn no_problem_of_a_listener_hides_another() {
    let text = "\
edge:
  listeners:
    - name: a
      role: gateway
      unix: a.sock
      tcp: nowhere
      mode: \"0999\"
      group: staff
      tls: {key: k, client_ca: a, allowed: []}
      plaintext: perhaps
";
    tells(
        text,
        &[
            ("attache.yaml:3:", "exactly one of `unix` and `tcp`"),
            ("attache.yaml:6:", "127.0.0.1:9191"),
            ("attache.yaml:7:", "0 to 7"),
            ("attache.yaml:8:", "staff"),
            ("attache.yaml:9:", "certificate"),
            ("attache.yaml:9:", "the list is empty"),
            ("attache.yaml:10:", "perhaps"),
        ],
    );
}

#[test]
fn a_file_mode_is_octal_in_quotes_and_nothing_else() {
    let listener = |mode: &str| {
        format!("edge: {{ listeners: [{{ name: a, role: gateway, unix: a.sock, mode: {mode} }}] }}")
    };
    for (written, words) in [
        ("0600", "write \"0600\""),
        ("0999", "0 to 7"),
        ("384", "0 to 7"),
        ("\"0o600\"", "0 to 7"),
        ("\"+600\"", "0 to 7"),
        ("\"1777\"", "0 to 7"),
    ] {
        tells(&listener(written), &[("mode", words)]);
    }
    let config = read(&listener("\"0660\""), &[]).unwrap();
    let Bind::Unix(unix) = &config.edge.listeners[0].bind else {
        panic!("{config:?}");
    };
    assert_eq!(unix.mode, 0o660);
}

#[test]
fn nothing_listens_twice_in_one_place_or_under_one_name() {
    let text = "\
issuer: {listen: 127.0.0.1:8200}
admin: { socket: /run/a.sock }
monitoring: { listen: 127.0.0.1:9464 }
edge:
  listeners:
    - {name: a, role: gateway, unix: /run/a.sock}
    - {name: a, role: gateway, tcp: 127.0.0.1:8200, plaintext: true}
    - {name: a, role: gateway, tcp: 127.0.0.1:9464, plaintext: true}
    - {name: b, role: nothing, unix: /run/b.sock}
    - {name: b, role: gateway, unix: /run/b.sock}
";
    tells(
        text,
        &[
            ("attache.yaml:2:", "\"/run/a.sock\" is taken"),
            ("attache.yaml:3:", "\"127.0.0.1:9464\" is taken"),
            ("attache.yaml:7:", "listener name \"a\" is taken"),
            ("attache.yaml:7:", "\"127.0.0.1:8200\" is taken"),
            ("attache.yaml:8:", "listener name \"a\" is taken"),
            ("attache.yaml:9:", "nothing"),
            ("attache.yaml:10:", "listener name \"b\" is taken"),
            ("attache.yaml:10:", "\"/run/b.sock\" is taken"),
        ],
    );
}

#[test]
fn a_socket_path_that_no_kernel_takes_is_refused() {
    let path = PathBuf::from("/run").join("x".repeat(120));
    let text = format!("admin: {{ socket: {} }}", path.display());
    tells(&text, &[("admin.socket", "at most 107 bytes")]);
}

#[test]
fn a_trust_domain_that_is_refused_hides_no_problem_of_the_providers() {
    let text = "\
trust_domain: Not A Domain
trust:
  providers:
    - {name: a, type: oidc, issuer: https://a.example, colour: red}
    - {name: b, type: oidc, issuer: https://b.example}
    - {name: b, type: oidc, issuer: https://c.example}
";
    tells(
        text,
        &[
            ("attache.yaml:1:", "trust_domain"),
            ("attache.yaml:4:", "colour"),
            ("attache.yaml:6:", "\"b\" is taken"),
        ],
    );
}

#[test]
fn an_answer_has_some_time_and_not_for_ever() {
    for (written, told) in [("0s", "10ms to 1m"), ("9ms", "10ms"), ("61s", "1m")] {
        let text = format!("edge: {{ answer_within: {written} }}");
        tells(&text, &[("edge.answer_within", told)]);
    }
    let config = read("edge: { answer_within: 10ms }", &[]).unwrap();
    assert_eq!(config.edge.answer_within, Duration::from_millis(10));
}

#[test]
fn calls_in_flight_have_a_bound() {
    tells(
        "edge: { max_calls_in_flight: 0 }",
        &[("edge.max_calls_in_flight", "1 to 1000000")],
    );
    let config = read("{}", &[("ATTACHE_EDGE_MAX_CALLS_IN_FLIGHT", "7")]).unwrap();
    assert_eq!(config.edge.max_calls_in_flight, 7);
}

#[test]
fn each_audit_budget_holds_two_segments() {
    let text = "\
audit:
  segment_bytes: 16MiB
  permitted_bytes: 31MiB
  passed_bytes: 32MiB
  denied_bytes: 1MiB
";
    tells(
        text,
        &[
            ("attache.yaml:3:", "at least 33554432"),
            ("attache.yaml:5:", "at least 33554432"),
        ],
    );
    let problems = read("{}", &[("ATTACHE_AUDIT_DENIED_BYTES", "1MiB")]).unwrap_err();
    assert!(
        problems[0].contains("environment variable ATTACHE_AUDIT_DENIED_BYTES"),
        "{problems:?}"
    );
}

#[test]
fn health_and_metrics_are_served_where_somebody_says_so() {
    assert_eq!(read("{}", &[]).unwrap().monitoring_listen, None);
    for address in ["[::1]:9464", "10.0.0.7:9464", "0.0.0.0:9464"] {
        let config = read(&format!("monitoring: {{ listen: \"{address}\" }}"), &[]).unwrap();
        assert_eq!(config.monitoring_listen, Some(address.parse().unwrap()));
    }
    tells(
        "monitoring: { listen: pod }",
        &[("monitoring.listen", "127.0.0.1:9191")],
    );
}

#[test]
fn traces_go_to_an_endpoint_with_a_scheme() {
    assert_eq!(read("{}", &[]).unwrap().traces, None);
    for endpoint in ["collector:4317", "ftp://collector", "https://"] {
        let text = format!("traces: {{ endpoint: \"{endpoint}\" }}");
        tells(&text, &[("traces.endpoint", "http://127.0.0.1:4317")]);
    }
}

#[test]
fn a_misspelled_setting_is_told_with_the_one_that_is_near() {
    tells(
        "edge: { unmached: deny }\naudit: { segment_byte: 1MiB }",
        &[
            ("attache.yaml:1:", "did you mean \"unmatched\"?"),
            ("attache.yaml:2:", "did you mean \"segment_bytes\"?"),
        ],
    );
    let variables = [("ATTACHE_ISSUR_URL".into(), "x".into())];
    let (_, problems) = Config::read(Path::new("/a.yaml"), b"{}", variables);
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(
        problems[0].contains("did you mean \"ATTACHE_ISSUER_URL\"?"),
        "{problems:?}"
    );
}

#[test]
fn a_variable_that_is_not_utf8_is_refused_by_name_and_its_value_is_not_told() {
    let value = || OsString::from_vec(b"hunter2\xff".to_vec());
    let variables = [
        ("ATTACHE_ISSUER_URL".into(), value()),
        (OsString::from_vec(b"ATTACHE_\xfe".to_vec()), "x".into()),
        ("ATTACHE_SECRET_KEY".into(), value()),
        ("HOME".into(), value()),
    ];
    let (config, problems) = Config::read(Path::new("/a.yaml"), b"{}", variables);
    assert!(config.is_none());
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("ATTACHE_ISSUER_URL: its value is not UTF-8"));
    assert!(
        problems[1].contains("its name is not UTF-8"),
        "{problems:?}"
    );
    assert!(!problems.concat().contains("hunter2"));
}

#[test]
fn the_issuers_keys_and_its_token_endpoint_are_settings() {
    let text = "issuer: { token_endpoint: true, token_rate: 7, keys: { es256_period: 2d, publish_ahead: 1d } }";
    let config = read(text, &[]).unwrap();
    assert!(config.issuer.token_endpoint);
    assert_eq!(config.token_rate, 7);
    let period = config
        .issuer
        .schedule
        .period(attache_core::jwt::Algorithm::Es256);
    assert_eq!(period, Duration::from_secs(2 * 86_400));
    assert_eq!(config.issuer.trust_domain, config.trust_domain);
}

#[test]
fn keys_that_verifiers_could_not_follow_are_refused() {
    for (text, told) in [
        (
            "issuer: { keys: { publish_ahead: 5m } }",
            "take at least 600 s",
        ),
        (
            "issuer: { keys: { rs256_period: 1h } }",
            "a period of 3600 s for RS256",
        ),
        (
            "issuer: { keys: { es256_period: 1h } }",
            "a period of 3600 s for ES256",
        ),
    ] {
        let problems = read(text, &[]).unwrap_err().join("\n");
        assert!(problems.contains(told), "{problems}");
    }
}

#[test]
fn a_token_endpoint_on_the_network_must_be_asked_for() {
    let open = "token_endpoint: true, listen: 0.0.0.0:8200";
    tells(
        &format!("issuer: {{ {open} }}"),
        &[("attache.yaml:1:", "`plaintext: true`")],
    );
    for text in [
        format!("{open}, plaintext: true"),
        "listen: 0.0.0.0:8200".to_owned(),
        "token_endpoint: true, listen: \"[::1]:8200\"".to_owned(),
    ] {
        assert!(
            read(&format!("issuer: {{ {text} }}"), &[]).is_ok(),
            "{text}"
        );
    }
}

#[test]
fn what_stands_before_the_token_endpoint_is_never_guessed() {
    assert_eq!(read("{}", &[]).unwrap().token_hops, None);
    for hops in [0, 2] {
        let config = read(&format!("issuer: {{ trusted_hops: {hops} }}"), &[]).unwrap();
        assert_eq!(config.token_hops, Some(hops));
    }
}

#[test]
fn no_listener_has_the_name_of_the_token_endpoint() {
    tells(
        "edge: { listeners: [{ name: token-endpoint, role: gateway, unix: /run/a.sock }] }",
        &[("attache.yaml:1:", "write another name")],
    );
}

#[test]
fn what_may_be_called_besides_is_listed_as_networks() {
    let config = read("outbound: { allow_networks: [169.254.20.10/32] }", &[]).unwrap();
    let allows = |address: &str| config.reach.allows(address.parse().unwrap());
    assert!(allows("169.254.20.10") && allows("10.0.0.1"));
    assert!(!allows("169.254.169.254") && !allows("127.0.0.1"));
    let refused = read("outbound: { allow_networks: [localhost] }", &[]).unwrap_err();
    assert!(refused[0].contains("127.0.0.0/8"), "{refused:?}");
}

#[test]
fn a_vault_for_references_is_described_in_full_or_not_at_all() {
    let login = "login: {method: approle, role_id: attache, secret_id_file: vault-secret-id}";
    let roots = "roots: [{mount: kv, path: attache}, {mount: old, path: '*', engine: kv-v1}]";
    let vault = |parts: &[&str]| format!("secrets: {{vault: {{{}}}}}", parts.join(", "));
    let address = "address: https://vault.example.com:8200";
    let config = read(&vault(&[address, login, roots]), &[]).unwrap();
    let described = config.vault.unwrap();
    assert_eq!(
        described.login,
        EdgeLogin::AppRole {
            mount: "approle".to_owned(),
            role_id: "attache".to_owned(),
            secret_id_file: PathBuf::from("/etc/attache/vault-secret-id"),
        }
    );
    assert_eq!(
        (described.read_again.as_secs(), described.keep.as_secs()),
        (300, 3600)
    );
    let by_variable = [("ATTACHE_SECRETS_VAULT_ADDRESS", "https://other.example.com")];
    let config = read(&vault(&[login, roots]), &by_variable).unwrap();
    assert_eq!(config.vault.unwrap().address, "https://other.example.com");
    for parts in [
        vec![address],
        vec![address, login],
        vec![address, roots],
        vec![login, roots],
    ] {
        tells(
            &vault(&parts),
            &[("attache.yaml:1:", "`address`, `login` and `roots`")],
        );
    }
    assert_eq!(read("{}", &[]).unwrap().vault, None);
}

#[test]
fn a_vault_is_called_over_tls_and_its_roots_say_how_far_they_reach() {
    let vault = |address: &str, login: &str, root: &str| {
        format!(
            "secrets:\n  vault:\n    address: {address}\n    login: {login}\n    roots: [{root}]\n"
        )
    };
    let (address, login) = (
        "https://vault.example.com",
        "{method: jwt, role: a, audience: b}",
    );
    for (text, told) in [
        (
            vault("http://vault.example.com", login, "{mount: kv, path: a}"),
            ("vault.address", "only https"),
        ),
        (
            vault(address, "{method: userpass}", "{mount: kv, path: a}"),
            ("login.method", "approle"),
        ),
        (
            vault(address, "{method: jwt, role: a}", "{mount: kv, path: a}"),
            ("login", "audience"),
        ),
        (
            vault(address, login, "{mount: kv}"),
            ("roots[0]", "`path` is missing"),
        ),
        (
            vault(address, login, "{mount: kv, path: ../sys}"),
            ("roots[0].path", "not a plain path"),
        ),
        (vault(address, login, ""), ("roots", "the list is empty")),
        (
            vault(
                address,
                login,
                "{mount: kv, path: a}, {mount: kv, path: b, engine: kv-v1}",
            ),
            ("roots", "two engines"),
        ),
    ] {
        tells(&text, &[told]);
    }
}
