use super::*;
use crate::{pem::tests::certificate, settings::IdPrefix};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const ADMIN: &str = "spiffe://cluster.local/ns/shop/sa/admin";
const GATEWAY: &str = "spiffe://cluster.local/ns/edge/sa/gateway";
const FRONT: &str = "spiffe://cluster.local/ns/edge/sa/front";

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn rule() -> PeerRule {
    PeerRule {
        proxies: vec![id(GATEWAY), id(FRONT)],
        ..PeerRule::default()
    }
}

/// The certificates of this test: one byte many times.
fn der(byte: u8) -> Vec<u8> {
    vec![byte; 40]
}

fn ask(
    rule: &PeerRule,
    principal: &str,
    own: &str,
    forwarded: &str,
) -> Result<Spoken, &'static str> {
    let peer = Peer {
        principal,
        certificate: own,
    };
    let lines: Vec<&[u8]> = Some(forwarded.as_bytes())
        .filter(|line| !line.is_empty())
        .into_iter()
        .collect();
    read(rule, peer, lines.into_iter()).map_err(|reason| reason.code())
}

/// Leaf and name of what is shown.
fn told(shown: Option<&Shown>) -> Option<(u8, &str)> {
    let shown = shown?;
    Some((shown.chain.leaf()[0], shown.named.as_str()))
}

#[test]
fn a_peer_speaks_for_itself_by_the_certificate_that_envoy_verified() {
    let spoken = ask(&rule(), WEB, &certificate(&der(1)), "").unwrap();
    assert_eq!(told(spoken.caller.as_ref()), Some((1, WEB)));
    assert_eq!((spoken.proxy, spoken.named), (None, None));
}

#[test]
fn a_peer_without_a_certificate_is_nobody_whatever_its_header_says() {
    let forged = format!("By={GATEWAY};URI={ADMIN};Cert=\"{}\"", certificate(&der(9)));
    assert_eq!(ask(&rule(), "", "", &forged), Ok(Spoken::default()));
    // What would not even be read does not matter then.
    assert_eq!(ask(&rule(), "", "", "\u{ff}"), Ok(Spoken::default()));
}

#[test]
fn envoys_name_for_its_peer_must_be_a_spiffe_id_and_stand_with_a_readable_certificate() {
    let own = certificate(&der(1));
    for (principal, own) in [
        ("", own.as_str()),
        // Without a URI name Envoy takes a DNS name or the subject.
        ("web.shop", &own),
        ("CN=spiffe://cluster.local/ns/shop/sa/web", &own),
        (
            "spiffe://cluster.local/ns/shop/sa/web,spiffe://other/x",
            &own,
        ),
        (WEB, "-----BEGIN%20CERTIFICATE-----"),
        (WEB, &(own.clone() + &own)),
    ] {
        let refused = ask(&rule(), principal, own, "");
        assert_eq!(refused, Err("peer-certificate-mismatch"), "{principal}");
    }
}

#[test]
fn a_client_that_dials_directly_gains_nothing_by_a_forged_element() {
    let (own, admin) = (certificate(&der(1)), certificate(&der(9)));
    let forged = format!("By={GATEWAY};URI={ADMIN};Cert=\"{admin}\"");
    let appended = format!("{forged},By={FRONT};URI={WEB}");
    for header in [&forged, &appended, &format!("{forged},{forged}")] {
        let spoken = ask(&rule(), WEB, &own, header).unwrap();
        assert_eq!(told(spoken.caller.as_ref()), Some((1, WEB)), "{header}");
        assert_eq!(spoken.proxy, None, "{header}");
    }
}

#[test]
fn a_proxy_speaks_for_its_client_whether_envoy_appends_its_own_word_or_not() {
    let (own, web) = (certificate(&der(1)), certificate(&der(2)));
    let about_web = format!("By={GATEWAY};Hash=1;URI={WEB};Cert=\"{web}\"");
    for header in [
        about_web.clone(),
        format!("{about_web},By=spiffe://cluster.local/envoy;URI={GATEWAY}"),
    ] {
        let spoken = ask(&rule(), GATEWAY, &own, &header).unwrap();
        assert_eq!(told(spoken.caller.as_ref()), Some((2, WEB)), "{header}");
        assert_eq!(told(spoken.proxy.as_ref()), Some((1, GATEWAY)), "{header}");
    }
}

#[test]
fn behind_several_proxies_the_first_that_is_none_is_the_caller_from_the_right() {
    let (own, web) = (certificate(&der(1)), certificate(&der(2)));
    let header = format!(
        "URI={ADMIN};Cert=\"{}\",By={FRONT};URI={WEB};Cert=\"{web}\",By={GATEWAY};URI={FRONT},URI={GATEWAY}",
        certificate(&der(9))
    );
    let spoken = ask(&rule(), GATEWAY, &own, &header).unwrap();
    assert_eq!(told(spoken.caller.as_ref()), Some((2, WEB)));
}

#[test]
fn a_proxy_whose_client_showed_no_certificate_does_not_lend_it_its_own_name() {
    let own = certificate(&der(1));
    for header in [
        "",
        &format!("By=x;URI={GATEWAY}"),
        &format!("URI={FRONT},URI={GATEWAY}"),
    ] {
        let spoken = ask(&rule(), GATEWAY, &own, header).unwrap();
        assert_eq!((spoken.caller, spoken.named), (None, None), "{header}");
    }
}

#[test]
fn an_element_without_exactly_one_spiffe_id_is_nobodys() {
    let own = certificate(&der(1));
    for element in [
        "Hash=1".to_owned(),
        format!("URI={WEB};URI={ADMIN}"),
        "URI=https://web.example".to_owned(),
        "DNS=web.shop".to_owned(),
    ] {
        let refused = ask(&rule(), GATEWAY, &own, &element);
        assert_eq!(
            refused,
            Err("forwarded-certificate-not-vouched"),
            "{element}"
        );
    }
    let refused = ask(&rule(), GATEWAY, &own, "URI=a,");
    assert_eq!(refused, Err("forwarded-certificate-malformed"));
}

#[test]
fn who_must_have_written_it_can_be_said() {
    let own = certificate(&der(1));
    let rule = PeerRule {
        written_by: vec![GATEWAY.to_owned()],
        ..rule()
    };
    let by = |by: &str| ask(&rule, GATEWAY, &own, &format!("{by}URI={WEB}"));
    assert!(by(&format!("By={GATEWAY};")).is_ok());
    assert!(by(&format!("By=other;By={GATEWAY};")).is_ok());
    assert_eq!(by("By=other;"), Err("forwarded-certificate-not-vouched"));
    assert_eq!(by(""), Err("forwarded-certificate-not-vouched"));
}

#[test]
fn a_name_without_a_certificate_proves_nothing_and_is_told_only_of_those_that_may_be_named() {
    let rule = PeerRule {
        names_unproven: vec![IdPrefix(id("spiffe://cluster.local/ns/shop"))],
        ..rule()
    };
    let own = certificate(&der(1));
    let direct = ask(&rule, WEB, "", "").unwrap();
    assert_eq!((direct.caller, direct.named), (None, Some(id(WEB))));
    let proven = ask(&rule, GATEWAY, &own, &format!("URI={WEB}")).unwrap();
    assert_eq!((proven.caller, proven.named), (None, Some(id(WEB))));
    assert_eq!(told(proven.proxy.as_ref()), Some((1, GATEWAY)));
    // A proxy that shows no certificate cannot be proven, and names nobody.
    let unproven = ask(&rule, GATEWAY, "", &format!("URI={WEB}")).unwrap();
    assert_eq!((unproven.caller, unproven.named), (None, None));
    // Not the neighbour, and nobody where nobody may be named.
    let neighbour = "spiffe://cluster.local/ns/shop2/sa/web";
    assert_eq!(ask(&rule, neighbour, "", "").unwrap().named, None);
    assert_eq!(ask(&super::tests::rule(), WEB, "", "").unwrap().named, None);
}

#[test]
fn a_certificate_in_the_header_of_an_unproven_proxy_is_no_evidence() {
    let header = format!("URI={WEB};Cert=\"{}\"", certificate(&der(2)));
    let spoken = ask(&rule(), GATEWAY, "", &header).unwrap();
    assert_eq!((spoken.caller, spoken.proxy), (None, None));
}

#[test]
fn envoys_own_element_brings_the_certificates_above_the_leaf() {
    let (leaf, above) = (certificate(&der(1)), certificate(&der(5)));
    let own = format!("URI={WEB};Chain=\"{leaf}{above}\"");
    let spoken = ask(&rule(), WEB, &leaf, &own).unwrap();
    let chain = spoken.caller.unwrap().chain;
    assert_eq!(chain.intermediates().count(), 1);
    // A chain of another leaf is not mixed in.
    let other = certificate(&der(7));
    let spoken = ask(&rule(), WEB, &other, &own).unwrap();
    assert_eq!(told(spoken.caller.as_ref()), Some((7, WEB)));
}

#[test]
fn a_certificate_in_the_header_does_not_stand_in_for_that_of_the_connection() {
    // Under `FORWARD_ONLY` the last element is the client's own word.
    let header = format!("By=x;URI={WEB};Cert=\"{}\"", certificate(&der(1)));
    let spoken = ask(&rule(), WEB, "", &header).unwrap();
    assert_eq!(told(spoken.caller.as_ref()), None);
    let header = format!(
        "URI={WEB};Cert=\"{0}\",URI={GATEWAY};Cert=\"{0}\"",
        certificate(&der(1))
    );
    let spoken = ask(&rule(), GATEWAY, "", &header).unwrap();
    assert_eq!((spoken.caller, spoken.proxy), (None, None));
}

#[test]
fn a_name_without_a_certificate_is_told_for_what_it_may_contradict() {
    let own = certificate(&der(1));
    assert_eq!(ask(&rule(), ADMIN, "", "").unwrap().said, Some(id(ADMIN)));
    assert_eq!(ask(&rule(), ADMIN, &own, "").unwrap().said, None);
    for own in [own.as_str(), ""] {
        let spoken = ask(&rule(), GATEWAY, own, &format!("URI={ADMIN}")).unwrap();
        assert_eq!(spoken.said, Some(id(ADMIN)), "{own}");
        // The proxy's own name is not its client's.
        assert_eq!(ask(&rule(), GATEWAY, own, "").unwrap().said, None, "{own}");
    }
}
