use std::{fs, os::unix::fs::symlink};

use attache_core::spiffe_id::TrustDomain;
use attache_policy::Settings;

use super::{RefusedPolicies, load};

const WORKLOAD: &str = "\
apiVersion: attache.dev/v1
kind: ClientWorkload
metadata: { name: NAME }
spec: { match: [{ k8s.namespace: production }] }
";

fn settings() -> Settings {
    Settings {
        trust_domain: TrustDomain::parse("cluster.local").unwrap(),
        trust_providers: vec![],
    }
}

#[test]
fn a_configmap_mount_is_read_once_through_its_links() {
    let folder = tempfile::tempdir().unwrap();
    let version = folder.path().join("..2026_11_23");
    fs::create_dir(&version).unwrap();
    fs::write(version.join("a.yaml"), WORKLOAD.replace("NAME", "a")).unwrap();
    symlink(&version, folder.path().join("..data")).unwrap();
    symlink("..data/a.yaml", folder.path().join("a.yaml")).unwrap();
    load(folder.path(), &settings()).unwrap();
}

#[test]
fn folders_are_read_and_other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("team")).unwrap();
    fs::write(
        folder.path().join("team/a.yml"),
        WORKLOAD.replace("NAME", "a"),
    )
    .unwrap();
    fs::write(folder.path().join("README.md"), "kind: nothing").unwrap();
    fs::write(folder.path().join(".a.yaml.swp"), [0xff]).unwrap();
    let revision = load(folder.path(), &settings())
        .unwrap()
        .revision()
        .to_owned();
    fs::write(folder.path().join("b.yaml"), WORKLOAD.replace("NAME", "b")).unwrap();
    assert_ne!(
        load(folder.path(), &settings()).unwrap().revision(),
        revision
    );
}

#[test]
fn a_link_to_a_folder_is_refused_because_it_could_run_in_a_circle() {
    let folder = tempfile::tempdir().unwrap();
    symlink(folder.path(), folder.path().join("again")).unwrap();
    assert!(matches!(
        load(folder.path(), &settings()),
        Err(RefusedPolicies::Unreadable { .. })
    ));
}

#[test]
fn a_directory_without_documents_is_refused_and_not_an_empty_policy() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        load(folder.path(), &settings()),
        Err(RefusedPolicies::Empty(_))
    ));
    let missing = folder.path().join("missing");
    assert!(matches!(
        load(&missing, &settings()),
        Err(RefusedPolicies::Unreadable { .. })
    ));
}

#[test]
fn problems_of_every_file_are_told_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        let broken = WORKLOAD.replace("NAME", name).replace("match", "matches");
        fs::write(folder.path().join(format!("{name}.yaml")), broken).unwrap();
    }
    let refused = load(folder.path(), &settings()).err().unwrap().to_string();
    assert!(
        refused.contains("a.yaml:4:") && refused.contains("b.yaml:4:"),
        "{refused}"
    );
}
