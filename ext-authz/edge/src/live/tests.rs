use std::{fs, os::unix::fs::symlink, sync::mpsc, thread};

use attache_core::spiffe_id::TrustDomain;
use attache_policy::Settings;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{Live, RefusedPolicies, load};

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
fn a_link_that_leads_out_of_the_directory_is_refused_and_shows_nothing_of_the_file() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("a.yaml"), WORKLOAD.replace("NAME", "a")).unwrap();
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "kind: hunter2").unwrap();
    let link = folder.path().join("b.yaml");
    for target in [
        secret.as_path(),
        // By a second link, and by a path that leads out and seems not to.
        &folder.path().join(".hop"),
        &folder
            .path()
            .join("..")
            .join(elsewhere.path().file_name().unwrap())
            .join("secret"),
    ] {
        let _ = fs::remove_file(folder.path().join(".hop"));
        symlink(&secret, folder.path().join(".hop")).unwrap();
        symlink(target, &link).unwrap();
        let refused = load(folder.path(), &settings()).err().unwrap().to_string();
        assert!(
            refused.contains("b.yaml") && refused.contains("outside of this directory"),
            "{refused}"
        );
        assert!(!refused.contains("hunter2"), "{refused}");
        fs::remove_file(&link).unwrap();
    }
    // The directory itself may be a link, as those of releases are.
    let current = elsewhere.path().join("current");
    symlink(folder.path(), &current).unwrap();
    symlink(folder.path().join("a.yaml"), &link).unwrap();
    let refused = load(&current, &settings()).err().unwrap().to_string();
    assert!(refused.contains("already taken"), "{refused}");
    assert!(refused.contains("current/b.yaml"), "{refused}");
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
fn a_pipe_or_a_device_among_the_documents_is_refused_by_name_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("a.yaml");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let refused = load(folder.path(), &settings()).err().unwrap().to_string();
    assert!(
        refused.contains("a.yaml") && refused.contains("a named pipe"),
        "{refused}"
    );
    fs::remove_file(&pipe).unwrap();
    symlink("/dev/zero", &pipe).unwrap();
    let refused = load(folder.path(), &settings()).err().unwrap().to_string();
    assert!(
        refused.contains("a.yaml") && refused.contains("a device"),
        "{refused}"
    );
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

fn set(name: &str) -> attache_policy::Compiled {
    let source = attache_policy::Source {
        name: "a.yaml".to_owned(),
        text: WORKLOAD.replace("NAME", name).into_bytes(),
    };
    super::compile(&[source], &settings()).unwrap()
}

#[test]
fn a_decision_that_a_change_overtook_is_not_current_even_if_the_set_stayed() {
    let live = Live::new(set("a"));
    let before = live.in_force();
    assert!(live.is_current(&before));
    live.change(|| Ok::<_, ()>(None)).unwrap();
    assert!(!live.is_current(&before));
    let between = live.in_force();
    live.change(|| Err(())).unwrap_err();
    // Trust may have changed before the change failed.
    assert!(!live.is_current(&between));
    assert_eq!(live.in_force().revision(), between.revision());
}

#[test]
fn nobody_sees_half_of_a_change() {
    let live = Live::new(set("a"));
    let before = live.in_force();
    let next = set("b");
    let revision = next.revision().to_owned();
    let (half_done, at_half) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    thread::scope(|scope| {
        let live = &live;
        scope.spawn(move || {
            live.change(|| {
                half_done.send(()).unwrap();
                may_go_on.recv().unwrap();
                Ok::<_, ()>(Some(next))
            })
        });
        at_half.recv().unwrap();
        assert!(!live.is_current(&before));
        let seen = scope.spawn(|| live.in_force().revision().to_owned());
        go_on.send(()).unwrap();
        assert_eq!(seen.join().unwrap(), revision);
    });
}

#[test]
fn a_file_that_somebody_has_just_emptied_is_no_set() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "").unwrap();
    let refused = load(folder.path(), &settings()).err().unwrap();
    assert!(matches!(refused, RefusedPolicies::Problems(_)), "{refused}");
}
