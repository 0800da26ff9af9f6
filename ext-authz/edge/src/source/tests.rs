use std::net::IpAddr;

use super::{address, text};

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

const PEER: Option<(&str, u32)> = Some(("192.0.2.7", 50000));

#[test]
fn without_trusted_hops_it_is_the_peer_whatever_a_header_says() {
    let claimed = [("x-forwarded-for", &b"10.0.0.1"[..])];
    assert_eq!(address(PEER, &claimed, 0), ip("192.0.2.7"));
    assert_eq!(
        address(Some(("::ffff:192.0.2.7", 1)), &[], 0),
        ip("192.0.2.7")
    );
    assert_eq!(address(Some(("2001:db8::1", 1)), &[], 0), ip("2001:db8::1"));
    // Over a unix socket there is no address.
    assert_eq!(address(None, &claimed, 0), None);
}

#[test]
fn behind_trusted_hops_it_is_that_many_from_the_right() {
    let headers = [(
        "x-forwarded-for",
        &b"10.9.9.9, 203.0.113.5 ,198.51.100.2"[..],
    )];
    assert_eq!(address(PEER, &headers, 1), ip("198.51.100.2"));
    assert_eq!(address(PEER, &headers, 2), ip("203.0.113.5"));
    assert_eq!(address(PEER, &headers, 3), ip("10.9.9.9"));
}

#[test]
fn several_fields_are_one_list() {
    let headers = [
        ("x-forwarded-for", &b"10.9.9.9"[..]),
        ("accept", b"*/*"),
        ("x-forwarded-for", b"203.0.113.5, 2001:DB8::5"),
    ];
    assert_eq!(address(PEER, &headers, 1), ip("2001:db8::5"));
    assert_eq!(address(PEER, &headers, 2), ip("203.0.113.5"));
    assert_eq!(address(PEER, &headers, 3), ip("10.9.9.9"));
}

#[test]
fn what_is_missing_or_no_address_is_not_known_and_the_peer_is_not_taken_instead() {
    assert_eq!(address(PEER, &[], 1), None);
    for (value, hops) in [
        (&b"203.0.113.5"[..], 2),
        (b"", 1),
        (b"203.0.113.5,", 1),
        (b"unknown", 1),
        (b"203.0.113.5:443", 1),
        (b"[2001:db8::1]", 1),
        (b"203.0.113.5 10.0.0.1", 1),
        (b"203.0.113.05", 1),
        (b"10.1", 1),
        (b"\xff", 1),
    ] {
        assert_eq!(
            address(PEER, &[("x-forwarded-for", value)], hops),
            None,
            "{value:?}"
        );
    }
}

#[test]
fn an_event_tells_address_and_port() {
    assert_eq!(text("192.0.2.7", 50000), "192.0.2.7:50000");
    assert_eq!(text("2001:db8::1", 443), "[2001:db8::1]:443");
}
