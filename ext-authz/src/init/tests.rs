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
