use std::os::unix::fs::PermissionsExt as _;

use attache_proto::token::v1::{Call, Evidence, Header, Injection, Scope};

use super::*;
use crate::tokens::tests::event;

fn lease() -> Lease {
    Lease {
        scope: Scope {
            host: "api.example.com".to_owned(),
            port: 443,
            ..Scope::default()
        },
        purpose: 1,
        call: Call {
            path: "/v1/x".to_owned(),
            ..Call::default()
        },
        evidence: Vec::new(),
        injections: vec![1, 2],
        event: event(),
    }
}

fn seal(byte: u8) -> Seal {
    Seal::of(&[byte; KEY_BYTES])
}

#[test]
fn a_lease_comes_back_as_it_was_sealed() {
    let sealed = seal(1).seal(&lease()).unwrap();
    assert_eq!(seal(1).opened(&sealed), Some(lease()));
}

#[test]
fn a_lease_of_which_any_byte_was_changed_is_not_ours() {
    let sealed = seal(1).seal(&lease()).unwrap();
    for place in 0..sealed.len() {
        let mut forged = sealed.clone();
        forged[place] ^= 1;
        assert_eq!(seal(1).opened(&forged), None, "byte {place}");
    }
    for length in 0..sealed.len() {
        assert_eq!(seal(1).opened(&sealed[..length]), None, "{length} bytes");
    }
}

#[test]
fn a_lease_of_another_edge_is_not_ours() {
    let sealed = seal(2).seal(&lease()).unwrap();
    assert_eq!(seal(1).opened(&sealed), None);
    assert_eq!(seal(1).opened(&[]), None);
    assert_eq!(seal(1).opened(&vec![0; MAX_LEASE_BYTES * 2]), None);
}

#[test]
fn the_seal_of_one_thing_is_never_that_of_another() {
    let seal = seal(1);
    let of_nothing = seal.of_injections(&[]);
    let injection = |name: &str, value: &str| Injection {
        place: 1,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let one = seal.of_injections(&[injection("a", "bc")]);
    assert_ne!(one, of_nothing);
    assert_ne!(one, seal.of_injections(&[injection("ab", "c")]));
    assert_ne!(
        one,
        seal.of_injections(&[injection("a", "b"), injection("", "c")])
    );
    let evidence = |value: &[u8]| Evidence {
        headers: vec![Header {
            name: "authorization".to_owned(),
            value: value.to_vec(),
        }],
        ..Evidence::default()
    };
    assert_ne!(
        seal.of_evidence(Some(&evidence(b"a"))),
        seal.of_evidence(Some(&evidence(b"b")))
    );
    assert!(seal.of_evidence(None).is_empty());
}

#[test]
fn a_lease_with_too_many_attributes_goes_without_them() {
    let mut lease = lease();
    let mut attributes = attache_core::attributes::Attributes::new();
    attributes.set("claims.long", &"x".repeat(MAX_LEASE_BYTES));
    lease.event.attributes = Some(attributes);
    let sealed = seal(1).seal(&lease).unwrap();
    assert_eq!(seal(1).opened(&sealed).unwrap().event.attributes, None);
}

#[test]
fn the_key_is_made_once_and_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lease.key");
    let sealed = Seal::open(&path).unwrap().seal(&lease()).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(Seal::open(&path).unwrap().opened(&sealed).is_some());
}

#[test]
fn a_damaged_key_is_told_and_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lease.key");
    fs::write(&path, [0; KEY_BYTES + 1]).unwrap();
    let damaged = Seal::open(&path).err().unwrap().to_string();
    assert!(damaged.contains("lease.key"), "{damaged}");
    assert_eq!(fs::read(&path).unwrap().len(), KEY_BYTES + 1);
}
