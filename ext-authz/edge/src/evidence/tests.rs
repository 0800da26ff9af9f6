use std::fs;

use attache_core::{
    decision::{DenyReason, Fault},
    evidence::Evidence,
    header::HeaderName,
    time::Timestamp,
};

use crate::{peer::Peer, question::Question, refusal::Refusal, settings::EvidenceSource};

const NOW: Timestamp = Timestamp::from_seconds(1_781_408_842);

fn question<'a>(headers: &[(&'a str, &'a [u8])]) -> Question<'a> {
    let headers = headers.to_vec();
    Question {
        method: "GET",
        target: "/",
        authority: "a.example",
        headers,
        headers_are_known: true,
        vouched: None,
        source: None,
        address: None,
        peer: Peer::default(),
        given: None,
    }
}

fn text(evidence: &Evidence) -> &str {
    let Evidence::Token(token) = evidence else {
        panic!("a token");
    };
    token.expose()
}

fn header(name: &str) -> EvidenceSource {
    EvidenceSource::header(HeaderName::parse_evidence(name).unwrap())
}

#[test]
fn a_token_stands_alone_or_after_bearer() {
    for value in ["e.y.J", "Bearer e.y.J", "bearer  e.y.J ", "BEARER e.y.J"] {
        let question = question(&[("x-attache-evidence", value.as_bytes())]);
        let evidence = header("X-Attache-Evidence")
            .offered(&question, NOW)
            .ok()
            .and_then(|offered| offered.evidence)
            .unwrap();
        assert_eq!(text(&evidence), "e.y.J", "{value}");
    }
}

#[test]
fn no_evidence_two_pieces_and_bytes_that_are_no_text_are_refused_apart() {
    let refused = |headers: &[(&'static str, &'static [u8])]| match header("x-attache-evidence")
        .offered(&question(headers), NOW)
    {
        Ok(offered) if offered.evidence.is_none() => "none",
        Ok(_) => panic!("accepted"),
        Err(refusal) => refusal.code(),
    };
    assert_eq!(refused(&[]), "none");
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
        let evidence = source.offered(&question, NOW).ok().unwrap();
        assert_eq!(text(&evidence.evidence.unwrap()), token.trim());
    }
    for broken in [Some(&b""[..]), Some(b"\xff"), None] {
        fs::remove_file(&path).unwrap();
        if let Some(bytes) = broken {
            fs::write(&path, bytes).unwrap();
        }
        let refused = source.offered(&question, NOW).err();
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

#[test]
fn a_pipe_in_place_of_the_token_does_not_hold_up_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let refused = EvidenceSource::TokenFile(path).offered(&question(&[]), NOW);
    let unreadable = Refusal::Unavailable(Fault::EvidenceUnreadable);
    assert_eq!(refused.err(), Some(unreadable));
}
