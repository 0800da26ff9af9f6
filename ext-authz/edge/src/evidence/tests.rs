use std::fs;

use attache_core::{
    attestation::{Agreement, Attestation, Proven, ProviderKind},
    attributes::Attributes,
    decision::{DenyReason, Fault},
    evidence::{Evidence, EvidenceRef},
    header::HeaderName,
    spiffe_id::SpiffeId,
    time::Timestamp,
};

use super::{Offered, RequestEvidence};
use crate::{
    peer::Peer,
    pem::tests::certificate,
    question::Question,
    refusal::Refusal,
    settings::{EvidenceSource, IdPrefix, PeerRule},
};

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

fn text<'o>(offered: &'o Offered<'_>) -> &'o str {
    let Some(EvidenceRef::Token(token)) = offered.evidence() else {
        panic!("a token");
    };
    token
}

fn header(name: &str) -> EvidenceSource {
    EvidenceSource::header(HeaderName::parse_evidence(name).unwrap())
}

#[test]
fn a_token_stands_alone_or_after_bearer() {
    for value in ["e.y.J", "Bearer e.y.J", "bearer  e.y.J ", "BEARER e.y.J"] {
        let question = question(&[("x-attache-evidence", value.as_bytes())]);
        let offered = header("X-Attache-Evidence").offered(&question, NOW);
        assert_eq!(text(&offered.ok().unwrap()), "e.y.J", "{value}");
    }
}

#[test]
fn no_evidence_two_pieces_and_bytes_that_are_no_text_are_refused_apart() {
    let refused = |headers: &[(&'static str, &'static [u8])]| match header("x-attache-evidence")
        .offered(&question(headers), NOW)
    {
        Ok(offered) if offered.evidence().is_none() => "none",
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
        let offered = source.offered(&question, NOW).ok().unwrap();
        assert_eq!(text(&offered), token.trim());
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
    let question = question(&[]);
    let refused = EvidenceSource::TokenFile(path).offered(&question, NOW);
    let unreadable = Refusal::Unavailable(Fault::EvidenceUnreadable);
    assert_eq!(refused.err(), Some(unreadable));
}

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const THIEF: &str = "spiffe://cluster.local/ns/shop/sa/thief";
const FRONT: &str = "spiffe://cluster.local/ns/edge/sa/front";

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

/// Holds the names beside a token on a connection of `principal`, with `forwarded` written by it, against `proven`.
fn beside(
    principal: &str,
    forwarded: &str,
    agreement: Agreement,
    proven: &Attestation,
) -> Result<(), DenyReason> {
    let rule = RequestEvidence {
        peer: Some(PeerRule {
            proxies: vec![id(FRONT)],
            ..PeerRule::default()
        }),
        agreement,
        ..RequestEvidence::header(HeaderName::parse_evidence("x-attache-evidence").unwrap())
    };
    let headers: [(&str, &[u8]); 2] = [
        ("x-attache-evidence", b"e.y.J"),
        ("x-forwarded-client-cert", forwarded.as_bytes()),
    ];
    let given = if forwarded.is_empty() { 1 } else { 2 };
    let question = Question {
        peer: Peer {
            principal,
            certificate: "",
        },
        ..question(&headers[..given])
    };
    rule.offered(&question).unwrap().check_names(proven)
}

#[expect(
    clippy::disallowed_methods,
    reason = "names are held against a proof here, not the proving"
)]
fn proven(provider: &str, spiffe_id: &str) -> Attestation {
    Attestation::attested(Proven {
        provider: provider.into(),
        kind: ProviderKind::SpiffeJwt,
        spiffe_id: id(spiffe_id),
        attributes: Attributes::new(),
        expires_at: NOW,
    })
}

#[test]
fn of_a_token_beside_a_certificate_the_certificate_alone_must_prove_the_name_of_the_connection() {
    let rule = RequestEvidence {
        peer: Some(PeerRule::default()),
        agreement: Agreement::NamedByPolicy,
        ..RequestEvidence::header(HeaderName::parse_evidence("x-attache-evidence").unwrap())
    };
    let certificate = certificate(&[1; 40]);
    let question = Question {
        peer: Peer {
            principal: WEB,
            certificate: &certificate,
        },
        ..question(&[("x-attache-evidence", b"e.y.J")])
    };
    let offered = rule.offered(&question).unwrap();
    let Some(EvidenceRef::Several(several)) = offered.evidence() else {
        panic!("both");
    };
    let [Evidence::Token(token), Evidence::Certificate(_)] = several.pieces() else {
        panic!("the token first");
    };
    assert_eq!(token.expose(), "e.y.J");
    let by_both = |token: &str, certificate: &str| {
        let (token, certificate) = (proven("issuer", token), proven("mesh", certificate));
        token
            .together([&certificate], Agreement::NamedByPolicy)
            .unwrap()
    };
    assert_eq!(offered.check_names(&by_both(THIEF, WEB)), Ok(()));
    let mismatch = Err(DenyReason::PeerMismatch);
    assert_eq!(offered.check_names(&by_both(WEB, THIEF)), mismatch);
}

#[test]
fn a_token_on_a_connection_of_another_name_is_not_its_callers() {
    let web = proven("mesh", WEB);
    let one = Agreement::OneWorkload;
    let conflict = Err(DenyReason::EvidenceConflict);
    let (of_web, of_thief) = (format!("URI={WEB}"), format!("URI={THIEF}"));
    for (principal, forwarded, agreement, told) in [
        (THIEF, "", one, conflict.clone()),
        (WEB, "", one, Ok(())),
        ("", "", one, Ok(())),
        // A proxy speaks for its client, if it says who that is.
        (FRONT, of_thief.as_str(), one, conflict),
        (FRONT, &of_web, one, Ok(())),
        (FRONT, "", one, Ok(())),
        (THIEF, "", Agreement::NamedByPolicy, Ok(())),
    ] {
        let checked = beside(principal, forwarded, agreement, &web);
        assert_eq!(checked, told, "{principal} {forwarded}");
    }
}

#[test]
fn the_proxy_that_names_a_caller_must_be_proven_also_where_the_name_is_all_there_is() {
    let rule = RequestEvidence {
        header: None,
        peer: Some(PeerRule {
            proxies: vec![id(FRONT)],
            names_unproven: vec![IdPrefix(id(WEB))],
            ..PeerRule::default()
        }),
        agreement: Agreement::OneWorkload,
    };
    let certificate = certificate(&[1; 40]);
    let forwarded = format!("URI={WEB}");
    let question = Question {
        peer: Peer {
            principal: FRONT,
            certificate: &certificate,
        },
        ..question(&[("x-forwarded-client-cert", forwarded.as_bytes())])
    };
    let offered = rule.offered(&question).unwrap();
    assert!(offered.evidence().is_none());
    assert!(offered.unproven.value("unproven.principal").is_some());
    let proxy = offered.proxy.expect("the proxy, to be attested");
    assert_eq!(proxy.named, id(FRONT));
}
