use std::{path::Path, time::Duration};

use attache_edge::settings::{Bind, EvidenceSource, Unmatched};

use super::{Config, EXAMPLE};

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
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
        .replace("    #   ", "      ")
        .replace("  # database: /var", "  database: /var")
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
    assert_eq!(config.trust_providers.len(), 1);
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
fn a_variable_that_is_no_setting_is_told_and_service_links_are_not() {
    let variables = [
        ("ATTACHE_ISSUR_URL".to_owned(), "x".to_owned()),
        ("ATTACHE_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()),
        ("ATTACHE_PORT_8200_TCP".to_owned(), "x".to_owned()),
        ("ATTACHE_SECRET_KEY".to_owned(), "x".to_owned()),
    ];
    let (config, problems) = Config::read(Path::new("/a.yaml"), b"{}", variables);
    assert!(config.is_some());
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("ATTACHE_ISSUR_URL"), "{problems:?}");
}
