use super::*;

#[test]
fn the_caller_is_the_peer_or_what_the_trusted_proxies_saw() {
    let peer = "[::ffff:10.0.0.1]:4711".parse().unwrap();
    let field: [(&str, &[u8]); 1] = [("x-forwarded-for", b"10.9.9.9, 192.0.2.7, 192.0.2.8")];
    for (hops, expected) in [
        (0, Some("10.0.0.1")),
        (1, Some("192.0.2.8")),
        (2, Some("192.0.2.7")),
        (4, None),
    ] {
        let expected = expected.map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(origin(peer, &field, hops), expected, "{hops}");
    }
    assert_eq!(origin(peer, &[], 1), None, "never the proxy's own address");
}
