use std::fs;

use attache_core::{
    decision::{DenyReason, Fault},
    evidence::Evidence,
    header::HeaderName,
};

use crate::{question::Question, refusal::Refusal, settings::EvidenceSource};

fn question<'a>(headers: &[(&'a str, &'a [u8])]) -> Question<'a> {
    let headers = headers.to_vec();
    Question {
        method: "GET",
        target: "/",
        authority: "a.example",
        headers,
        vouched: None,
        source: None,
        address: None,
    }
}

fn text(evidence: &Evidence) -> &str {
    let Evidence::Token(token) = evidence;
    token.expose()
}

fn header(name: &str) -> EvidenceSource {
    EvidenceSource::Header(HeaderName::parse_evidence(name).unwrap())
}

#[test]
fn a_token_stands_alone_or_after_bearer() {
    for value in ["e.y.J", "Bearer e.y.J", "bearer  e.y.J ", "BEARER e.y.J"] {
        let question = question(&[("x-attache-evidence", value.as_bytes())]);
        let evidence = header("X-Attache-Evidence")
            .evidence(&question)
            .ok()
            .unwrap();
        assert_eq!(text(&evidence), "e.y.J", "{value}");
    }
}

#[test]
fn no_evidence_two_pieces_and_bytes_that_are_no_text_are_refused_apart() {
    let refused = |headers: &[(&'static str, &'static [u8])]| {
        let Err(refusal) = header("x-attache-evidence").evidence(&question(headers)) else {
            panic!("accepted")
        };
        refusal.code()
    };
    assert_eq!(refused(&[]), "evidence-missing");
    assert_eq!(refused(&[("x-attache-evidence", b"")]), "evidence-missing");
    assert_eq!(
        refused(&[("x-attache-evidence", b"Bearer ")]),
        "evidence-missing"
    );
    let twice: &[(&str, &[u8])] = &[("x-attache-evidence", b"a"), ("x-attache-evidence", b"a")];
    assert_eq!(refused(twice), "evidence-ambiguous");
    assert_eq!(
        refused(&[("x-attache-evidence", b"\xff\xfe")]),
        "token-malformed"
    );
}

#[test]
fn the_pods_token_is_read_again_when_it_rotates_and_not_used_when_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let source = EvidenceSource::TokenFile(path.clone());
    // What a request says of itself does not count for a sidecar.
    let question = question(&[("x-attache-evidence", b"forged")]);
    for token in ["first", "second\n"] {
        fs::write(&path, token).unwrap();
        let evidence = source.evidence(&question).ok().unwrap();
        assert_eq!(text(&evidence), token.trim());
    }
    for broken in [Some(&b""[..]), Some(b"\xff"), None] {
        fs::remove_file(&path).unwrap();
        if let Some(bytes) = broken {
            fs::write(&path, bytes).unwrap();
        }
        let refused = source.evidence(&question).err();
        assert_eq!(
            refused,
            Some(Refusal::Unavailable(Fault::EvidenceUnreadable))
        );
        if broken.is_none() {
            break;
        }
    }
    assert_ne!(
        Refusal::Denied(DenyReason::EvidenceMissing).code(),
        "evidence-unreadable"
    );
}
