use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use attache_core::{spiffe_id::TrustDomain, time::Timestamp};
use attache_policy::Settings;
use attache_trust::{Trust, TrustSettings};
use tempfile::TempDir;
use tokio::{
    task::{JoinHandle, spawn_blocking, yield_now},
    time::advance,
};

use super::{Judged, NoPolicies, PATIENCE, PolicySource, Refused, Reload};

const PROVIDER: &str = r#"
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: { name: cluster }
spec:
  type: kubernetes-service-account
  issuer: https://cluster.example
  keys:
    jwks: # RFC 7517, appendix A.1
      keys:
        - kty: EC
          crv: P-256
          kid: "1"
          x: MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4
          y: 4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM
"#;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// A workload document; each name is another revision.
fn workload(name: &str) -> String {
    format!(
        "apiVersion: attache.dev/v1\nkind: ClientWorkload\nmetadata: {{ name: {name} }}\nspec: {{ match: [{{ k8s.namespace: production }}] }}\n"
    )
}

/// A folder of policies and a folder of state.
struct Place {
    _root: TempDir,
    policies: PathBuf,
    data: PathBuf,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (policies, data) = (root.path().join("policies"), root.path().join("data"));
        fs::create_dir(&policies).unwrap();
        fs::create_dir(&data).unwrap();
        fs::write(policies.join("trust.yaml"), PROVIDER).unwrap();
        Self {
            _root: root,
            policies,
            data,
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.policies.join(name), text).unwrap();
    }

    fn source(&self) -> PolicySource {
        PolicySource {
            directory: self.policies.clone(),
            settings: Settings {
                trust_domain: TrustDomain::parse("cluster.local").unwrap(),
                trust_providers: vec![],
            },
            file_roots: vec![],
            secrets: attache_credentials::SecretRoots::nothing(),
        }
    }

    fn start_with(&self, source: PolicySource, keep: Option<&Path>) -> Result<Reload, NoPolicies> {
        let trust = Arc::new(Trust::new(TrustSettings::new(Arc::new(|| NOW))));
        Reload::start(source, trust, keep, NOW)
    }

    fn start(&self) -> Result<Reload, NoPolicies> {
        self.start_with(self.source(), Some(&self.data))
    }
}

/// A reload that follows its directory until it is dropped.
struct Following {
    reload: Arc<Reload>,
    task: JoinHandle<()>,
}

impl Following {
    fn of(place: &Place) -> Self {
        let reload = Arc::new(place.start().unwrap());
        let followed = Arc::clone(&reload);
        let task = tokio::spawn(async move { followed.follow().await });
        Self { reload, task }
    }

    fn revision(&self) -> String {
        let revision = self.reload.state().revision;
        assert_eq!(self.reload.live().compiled().revision(), revision);
        revision
    }

    /// Waits for `condition`, for less than the time after which the directory is polled.
    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let limit = Duration::from_secs(8);
        tokio::time::timeout(limit, waiting).await.unwrap();
    }

    async fn changes_from(&self, revision: &str) -> String {
        self.until(|following| following.revision() != revision)
            .await;
        self.revision()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_broken_set_leaves_the_last_good_one_in_force_and_is_told() {
    let place = Place::new();
    let reload = place.start().unwrap();
    let before = reload.state().revision;

    place.write("trust.yaml", &PROVIDER.replace("issuer", "issuar"));
    let refused = reload.run().await.unwrap_err().to_string();
    assert!(refused.contains("issuer"), "{refused}");
    assert_eq!(reload.live().compiled().revision(), before);
    let first = reload.state().refused.unwrap();
    assert_eq!(first.problems, refused);

    // The same problems are the same refusal.
    reload.run().await.unwrap_err();
    assert_eq!(reload.state().refused, Some(first));

    place.write(
        "trust.yaml",
        &PROVIDER.replace("cluster.example", "other.example"),
    );
    let after = reload.run().await.unwrap();
    assert_ne!(after, before);
    assert_eq!(reload.live().compiled().revision(), after);
    assert_eq!(reload.state().refused, None);
}

#[tokio::test]
async fn a_change_is_in_force_without_being_asked_for() {
    let place = Place::new();
    let following = Following::of(&place);
    let first = following.revision();
    place.write("a.yaml", &workload("a"));
    let second = following.changes_from(&first).await;

    // As editors save: another file takes the name.
    place.write(".a.yaml.swp", &workload("b"));
    fs::rename(
        place.policies.join(".a.yaml.swp"),
        place.policies.join("a.yaml"),
    )
    .unwrap();
    following.changes_from(&second).await;

    fs::remove_file(place.policies.join("a.yaml")).unwrap();
    following
        .until(|following| following.revision() == first)
        .await;
}

#[tokio::test]
async fn a_new_folder_is_followed_like_the_directory() {
    let place = Place::new();
    let following = Following::of(&place);
    let first = following.revision();
    fs::create_dir(place.policies.join("team")).unwrap();
    place.write("team/a.yaml", &workload("a"));
    let second = following.changes_from(&first).await;
    place.write("team/a.yaml", &workload("b"));
    following.changes_from(&second).await;
}

#[tokio::test]
async fn a_configmap_swaps_its_files_at_once() {
    let place = Place::new();
    let inside = |name: &str| place.policies.join(name);
    for (version, name) in [("..1", "a"), ("..2", "b")] {
        fs::create_dir(inside(version)).unwrap();
        fs::write(inside(version).join("a.yaml"), workload(name)).unwrap();
    }
    symlink("..1", inside("..data")).unwrap();
    symlink("..data/a.yaml", inside("a.yaml")).unwrap();
    let following = Following::of(&place);
    let first = following.revision();
    symlink("..2", inside("..data_tmp")).unwrap();
    fs::rename(inside("..data_tmp"), inside("..data")).unwrap();
    following.changes_from(&first).await;
}

#[tokio::test]
async fn a_directory_that_is_replaced_whole_is_followed_on() {
    let place = Place::new();
    let following = Following::of(&place);
    let first = following.revision();
    let next = place.policies.with_file_name("next");
    fs::create_dir(&next).unwrap();
    fs::write(next.join("a.yaml"), workload("a")).unwrap();
    fs::rename(&place.policies, place.policies.with_file_name("old")).unwrap();
    fs::rename(&next, &place.policies).unwrap();
    let second = following.changes_from(&first).await;
    place.write("a.yaml", &workload("b"));
    following.changes_from(&second).await;
}

#[tokio::test]
async fn a_directory_that_is_a_link_is_followed_where_it_leads_now() {
    let mut place = Place::new();
    let real = place.policies.clone();
    place.policies = real.with_file_name("current");
    symlink(&real, &place.policies).unwrap();
    let following = Following::of(&place);
    let first = following.revision();
    fs::write(real.join("a.yaml"), workload("a")).unwrap();
    let second = following.changes_from(&first).await;

    let next = real.with_file_name("next");
    fs::create_dir(&next).unwrap();
    fs::write(next.join("a.yaml"), workload("b")).unwrap();
    let draft = real.with_file_name("draft");
    symlink(&next, &draft).unwrap();
    fs::rename(&draft, &place.policies).unwrap();
    let third = following.changes_from(&second).await;
    fs::write(next.join("a.yaml"), workload("c")).unwrap();
    following.changes_from(&third).await;
}

#[tokio::test]
async fn many_files_at_once_are_one_set() {
    let place = Place::new();
    let following = Following::of(&place);
    let first = following.revision();
    for number in 0..200 {
        place.write(&format!("{number}.yaml"), &workload(&format!("a{number}")));
    }
    let whole = place.source().load().unwrap().0.revision().to_owned();
    let next = following.changes_from(&first).await;
    assert_eq!(next, whole);
}

#[tokio::test]
async fn a_directory_that_is_gone_is_refused_until_it_is_back() {
    let place = Place::new();
    let following = Following::of(&place);
    let first = following.revision();
    let away = place.policies.with_file_name("away");
    fs::rename(&place.policies, &away).unwrap();
    following
        .until(|following| following.reload.state().refused.is_some())
        .await;
    assert_eq!(following.revision(), first);
    fs::rename(&away, &place.policies).unwrap();
    following
        .until(|following| following.reload.state().refused.is_none())
        .await;
    assert_eq!(following.revision(), first);
}

#[tokio::test]
async fn a_start_with_a_broken_directory_goes_on_with_the_last_good_set() {
    let place = Place::new();
    let first = place.start().unwrap().state();
    place.write("broken.yaml", "kind: Nothing\n");
    let reload = place.start().unwrap();
    let state = reload.state();
    assert_eq!(
        (&state.revision, state.is_last_good),
        (&first.revision, true)
    );
    assert_eq!(state.accepted_at, first.accepted_at);
    let problems = state.refused.unwrap().problems;
    assert!(problems.contains("broken.yaml"), "{problems}");
    assert!(reload.run().await.is_err());

    fs::remove_file(place.policies.join("broken.yaml")).unwrap();
    assert_eq!(reload.run().await.unwrap(), first.revision);
    let state = reload.state();
    assert_eq!((state.is_last_good, state.refused), (false, None));
}

#[tokio::test]
async fn the_set_that_was_in_force_last_is_the_one_that_a_start_goes_on_with() {
    let place = Place::new();
    let reload = place.start().unwrap();
    place.write("a.yaml", &workload("a"));
    let last = reload.run().await.unwrap();
    drop(reload);
    place.write("a.yaml", "kind: Nothing\n");
    assert_eq!(place.start().unwrap().state().revision, last);
}

#[tokio::test]
async fn without_anything_good_a_start_tells_the_problems_and_why_nothing_was_kept() {
    let place = Place::new();
    place.write("broken.yaml", "kind: Nothing\n");
    let error = place.start().err().unwrap().to_string();
    assert!(
        error.contains("broken.yaml:1") && error.contains("ever accepted"),
        "{error}"
    );
}

#[tokio::test]
async fn a_start_that_shall_fail_fails_and_keeps_nothing() {
    let place = Place::new();
    place.start_with(place.source(), None).unwrap();
    assert_eq!(fs::read_dir(&place.data).unwrap().count(), 0);
    place.start().unwrap();
    place.write("broken.yaml", "kind: Nothing\n");
    assert!(matches!(
        place.start_with(place.source(), None),
        Err(NoPolicies::Refused(_))
    ));
}

#[tokio::test]
async fn a_kept_set_that_was_tampered_with_or_means_something_else_now_does_not_count() {
    let place = Place::new();
    place.start().unwrap();
    place.write("trust.yaml", "kind: Nothing\n");
    let mut elsewhere = place.source();
    elsewhere.settings.trust_domain = TrustDomain::parse("other.example").unwrap();
    let error = place
        .start_with(elsewhere, Some(&place.data))
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("the configuration changed"),
        "{error}"
    );

    let file = place.data.join("last-good-policies.json");
    let kept = fs::read_to_string(&file).unwrap();
    fs::write(&file, kept.replace("cluster.example", "mallory.example")).unwrap();
    let error = place.start().err().unwrap();
    assert!(error.to_string().contains("compiles to"), "{error}");
}

#[tokio::test]
async fn a_set_that_cannot_be_kept_is_in_force_and_told() {
    let place = Place::new();
    fs::remove_dir(&place.data).unwrap();
    let reload = place.start().unwrap();
    assert!(reload.state().not_kept.is_some());
    fs::create_dir(&place.data).unwrap();
    reload.run().await.unwrap();
    assert_eq!(reload.state().not_kept, None);
}

#[tokio::test(start_paused = true)]
async fn files_that_do_not_answer_are_told_of_and_hold_up_nobody_who_asks() {
    let place = Place::new();
    let reload = Arc::new(place.start().unwrap());
    let (answer, disk) = std::sync::mpsc::channel::<()>();
    let hung = Arc::clone(&reload);
    let hung = tokio::spawn(async move {
        let _turn = hung.turn.lock().await;
        hung.patiently(spawn_blocking(move || disk.recv())).await
    });
    yield_now().await;
    let asking = Arc::clone(&reload);
    let asking = tokio::spawn(async move { asking.run().await });
    yield_now().await;
    assert_eq!(reload.state().stalled_since, None);

    advance(PATIENCE).await;
    let refused = asking.await.unwrap().unwrap_err();
    assert!(matches!(refused, Refused::Stalled(_)), "{refused}");
    assert!(refused.to_string().contains("10 s"), "{refused}");
    while reload.state().stalled_since.is_none() {
        yield_now().await;
    }
    // They answer, and everything goes on.
    answer.send(()).unwrap();
    hung.await.unwrap().unwrap().unwrap();
    assert_eq!(reload.state().stalled_since, None);
    reload.run().await.unwrap();
}

#[tokio::test]
async fn each_judgement_is_counted_by_its_result() {
    let place = Place::new();
    let reload = place.start().unwrap();
    let count = |accepted, unchanged, refused| Judged {
        accepted,
        unchanged,
        refused,
    };
    assert_eq!(reload.state().judged, count(1, 0, 0));
    reload.run().await.unwrap();
    assert_eq!(reload.state().judged, count(1, 1, 0));
    place.write("a.yaml", "kind: Nothing\n");
    reload.run().await.unwrap_err();
    assert_eq!(reload.state().judged, count(1, 1, 1));
    place.write("a.yaml", &workload("a"));
    reload.run().await.unwrap();
    assert_eq!(reload.state().judged, count(2, 1, 1));

    place.write("a.yaml", "kind: Nothing\n");
    let restarted = place.start().unwrap();
    assert!(restarted.state().is_last_good);
    assert_eq!(restarted.state().judged, count(0, 0, 1));
}
