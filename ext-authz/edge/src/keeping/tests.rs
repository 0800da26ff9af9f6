use attache_core::{
    decision::{DenyReason, Fault},
    request::{Host, PathPrefix, Transport},
};

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn region(path: &str) -> Region {
    Region {
        revision: String::new(),
        caller: Caller::Listener(String::new()),
        host: Host::parse("api.example.com").unwrap(),
        port: 443,
        transport: Transport::Tls,
        methods: Methods::These(vec!["GET".to_owned()]),
        paths: Paths::Under {
            prefix: PathPrefix::parse(path).unwrap(),
            except: Vec::new(),
        },
        holds: Lifetime::starting(NOW, Duration::from_secs(300)),
    }
}

fn noted(scope: Scope) -> Noted {
    let mut noted = Noted {
        narrowest: Some(Box::new(Region {
            paths: Paths::Exactly("/v1/x".to_owned()),
            holds: Lifetime::starting(NOW, MAX_REFUSAL),
            ..region("/v1")
        })),
        ..Noted::default()
    };
    noted.begin(Revision::default());
    noted.reaches(scope);
    noted
}

fn kept(noted: &Noted, verdict: &Result<(), Refusal>) -> Option<(Duration, bool)> {
    let region = noted.region(verdict)?;
    let length = region.holds.expires_at.since(region.holds.issued_at);
    Some((length, matches!(region.paths, Paths::Exactly(_))))
}

#[test]
fn a_permit_is_kept_for_its_region_and_a_denial_for_five_seconds() {
    let noted = noted(Scope::Region(Box::new(region("/v1"))));
    assert_eq!(
        kept(&noted, &Ok(())),
        Some((Duration::from_secs(300), false))
    );
    let denied = Err(DenyReason::DeniedByPolicy.into());
    assert_eq!(kept(&noted, &denied), Some((MAX_REFUSAL, false)));
}

#[test]
fn a_fault_is_never_kept() {
    let noted = noted(Scope::Region(Box::new(region("/v1"))));
    assert_eq!(
        kept(&noted, &Err(Fault::CredentialUnavailable.into())),
        None
    );
}

#[test]
fn a_decision_that_reads_what_was_not_told_is_not_kept_and_asks_for_it() {
    let noted = noted(Scope::Once);
    assert_eq!(kept(&noted, &Ok(())), None);
    let Some(Needs::Details(asked)) = noted.needs() else {
        panic!("{:?}", noted.needs());
    };
    assert_eq!(asked.paths, Paths::Exactly("/v1/x".to_owned()));
}

#[test]
fn that_a_request_needs_an_assertion_is_known_of_the_whole_region_until_it_is_decided_again() {
    let mut noted = noted(Scope::Region(Box::new(region("/token"))));
    let fault = noted.assertion();
    assert_eq!(fault, Fault::CredentialNotEncodable);
    assert_eq!(
        noted.needs(),
        Some(Needs::Assertion(Some(region("/token"))))
    );
    noted.begin(Revision::default());
    assert_eq!(noted.needs(), None);
}

#[test]
fn evidence_that_proves_nothing_is_refused_from_memory_for_the_same_request_alone() {
    let mut noted = noted(Scope::Once);
    noted.begin(Revision::default());
    assert_eq!(noted.needs(), None);
    let unknown = Err(DenyReason::IssuerUnknown.into());
    assert_eq!(kept(&noted, &unknown), Some((MAX_REFUSAL, true)));
    // What the request itself is refused for depends on more than a region says.
    let elsewhere = Err(DenyReason::DestinationMismatch.into());
    assert_eq!(kept(&noted, &elsewhere), None);
}

#[test]
fn what_an_earlier_decision_found_is_forgotten() {
    let mut noted = noted(Scope::Region(Box::new(region("/v1"))));
    noted.begin(Revision {
        step: 2,
        generation: 0,
    });
    assert_eq!(kept(&noted, &Ok(())), None);
    assert_eq!(noted.revision.step, 2);
}

#[test]
fn a_region_of_endless_paths_is_not_kept() {
    let long = format!("/{}", "a".repeat(4000));
    let noted = noted(Scope::Region(Box::new(region(&long))));
    assert_eq!(kept(&noted, &Ok(())), None);
}
