use attache_core::request::Host;

use super::{InitArgs, bootstrap, run};
use crate::config::Config;

fn args(directory: &std::path::Path) -> InitArgs {
    InitArgs {
        directory: directory.to_path_buf(),
        target: "api.example.com".to_owned(),
        namespace: "shop".to_owned(),
        service_account: "checkout".to_owned(),
        cluster_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
    }
}

#[test]
fn the_starting_set_loads_without_a_problem_or_warning() {
    let folder = tempfile::tempdir().unwrap();
    run(&args(folder.path())).unwrap();
    let config = Config::load(&folder.path().join("attache.yaml")).unwrap();
    let (compiled, providers) = config.policy_source().load().unwrap();
    assert_eq!(compiled.warnings().iter().count(), 0);
    attache_trust::check(&providers).unwrap();
}

#[test]
fn names_that_yaml_reads_as_something_else_stay_names() {
    for name in ["123", "true", "null", "1e3"] {
        let folder = tempfile::tempdir().unwrap();
        let named = InitArgs {
            namespace: name.to_owned(),
            service_account: name.to_owned(),
            ..args(folder.path())
        };
        run(&named).unwrap();
        let config = Config::load(&folder.path().join("attache.yaml")).unwrap();
        assert!(config.policy_source().load().is_ok(), "{name}");
    }
}

#[derive(clap::Parser)]
struct Testing {
    #[command(flatten)]
    args: crate::policy_test::TestArgs,
}

#[test]
fn the_starting_set_passes_its_own_test() {
    use clap::Parser as _;
    for target in ["api.example.com", "10.0.0.1", "2001:db8::1"] {
        let folder = tempfile::tempdir().unwrap();
        let init = InitArgs {
            target: target.to_owned(),
            ..args(folder.path())
        };
        run(&init).unwrap();
        let (config, policies) = (
            folder.path().join("attache.yaml"),
            folder.path().join("policies"),
        );
        let words = ["test", "--config"].map(std::path::PathBuf::from);
        let testing = Testing::parse_from(words.into_iter().chain([config, policies]));
        let passed = crate::policy_test::run(&testing.args).unwrap();
        assert_eq!(passed, std::process::ExitCode::SUCCESS, "{target}");
    }
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("envoy.yaml"), "mine").unwrap();
    let refused = run(&args(folder.path())).unwrap_err().to_string();
    assert!(refused.contains("envoy.yaml"), "{refused}");
    assert!(!folder.path().join("attache.yaml").exists());
}

#[test]
fn values_that_would_break_the_documents_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for broken in [
        InitArgs {
            directory: folder.path().join("a: b"),
            ..args(folder.path())
        },
        InitArgs {
            target: "api example".to_owned(),
            ..args(folder.path())
        },
        InitArgs {
            namespace: "a: b".to_owned(),
            ..args(folder.path())
        },
        InitArgs {
            service_account: "Checkout".to_owned(),
            ..args(folder.path())
        },
        InitArgs {
            cluster_issuer: "https://a\nb: c".to_owned(),
            ..args(folder.path())
        },
    ] {
        assert!(run(&broken).is_err(), "{broken:?}");
    }
}

#[test]
fn the_bootstrap_is_the_repositorys_for_one_target() {
    let target = Host::parse("api.example.com").unwrap();
    let text = bootstrap(&target, std::path::Path::new("/srv/attache")).unwrap();
    assert!(text.contains("attache.target: \"https://api.example.com\""));
    assert!(text.contains("/srv/attache/data/ext_authz.sock"));
    for left_over in ["stripe", "internal-api", "/run/attache"] {
        assert!(!text.contains(left_over), "{left_over}");
    }
}
