use envoy_types::{
    ext_authz::v3::pb::{CheckRequest, HeaderValue},
    pb::envoy::{
        config::core::v3::{
            Address, HeaderMap, SocketAddress, address, socket_address::PortSpecifier,
        },
        service::auth::v3::{AttributeContext, attribute_context},
    },
};
use prost::Message as _;

use super::*;

fn request(host: &str, port_specifier: Option<PortSpecifier>) -> CheckRequest {
    let header = |key: &str, raw: &[u8]| HeaderValue {
        key: key.to_owned(),
        value: "joined".to_owned(),
        raw_value: raw.to_vec(),
    };
    let http = attribute_context::HttpRequest {
        id: "unread".to_owned(),
        method: "GET".to_owned(),
        headers: [("accept".to_owned(), "*/*".to_owned())].into(),
        path: "/v1?limit=10".to_owned(),
        host: host.to_owned(),
        size: -1,
        header_map: Some(HeaderMap {
            headers: vec![header("a", b"1"), header("a", b"\xff"), header("b", b"")],
        }),
        ..Default::default()
    };
    let socket = SocketAddress {
        address: "192.0.2.7".to_owned(),
        port_specifier,
        ..Default::default()
    };
    let source = attribute_context::Peer {
        address: Some(Address {
            address: Some(address::Address::SocketAddress(socket)),
        }),
        principal: "spiffe://example.org/a".to_owned(),
        certificate: "-----BEGIN".to_owned(),
        ..Default::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(source),
            request: Some(attribute_context::Request {
                time: Some(Default::default()),
                http: Some(http),
            }),
            context_extensions: [("attache.target".to_owned(), "https://a.example".to_owned())]
                .into(),
            ..Default::default()
        }),
    }
}

// What is read is held against Envoy's own definitions, with every bit changed, by tests/tests/suite/fuzz_corpus.rs.
#[test]
fn a_message_that_is_cut_is_one_where_envoys_own_definitions_say_so() {
    let whole = request("api.example", Some(PortSpecifier::PortValue(4711))).encode_to_vec();
    for end in 0..=whole.len() {
        let cut = &whole[..end];
        assert_eq!(
            Asked::read(cut).is_ok(),
            CheckRequest::decode(cut).is_ok(),
            "{end}"
        );
    }
}

#[test]
fn what_stands_twice_counts_as_protobuf_has_it() {
    let number = || Some(PortSpecifier::PortValue(4711));
    let named = || Some(PortSpecifier::NamedPort("https".to_owned()));
    let ports = [
        (number(), named(), 0),
        (named(), number(), 4711),
        // Of two ports the one that is told.
        (number(), None, 4711),
        (None, None, 0),
    ];
    for (first, second, port) in ports {
        let mut twice = request("one.example", first).encode_to_vec();
        twice.extend(request("two.example", second).encode_to_vec());
        let asked = Asked::read(&twice).unwrap();
        assert_eq!(asked.source.socket.unwrap().port, port);
        assert_eq!(asked.extensions.len(), 2);
        let http = asked.http.unwrap();
        assert_eq!(http.host, b"two.example");
        assert_eq!(http.raw.unwrap().len(), 6);
    }
}

#[test]
fn of_several_kinds_of_address_the_last_counts() {
    let socket = [0x0a, 0x03, 0x12, 0x01, b'a'];
    let pipe = [0x12, 0x00];
    // CheckRequest 1, AttributeContext 1, Peer 1.
    let message = |kinds: &[&[u8]]| {
        let mut message = kinds.concat();
        for _ in 0..3 {
            message.splice(0..0, [0x0a, u8::try_from(message.len()).unwrap()]);
        }
        message
    };
    let last = message(&[&socket, &pipe]);
    assert!(Asked::read(&last).unwrap().source.socket.is_none());
    let last = message(&[&pipe, &socket]);
    let socket = Asked::read(&last).unwrap().source.socket.unwrap();
    assert_eq!((socket.address, socket.port), (&b"a"[..], 0));
}

#[test]
fn what_is_wrong_is_named() {
    let said = |message: &[u8]| Asked::read(message).unwrap_err().to_string();
    assert_eq!(said(&[0x08, 0x01]), "field 1 is of another kind");
    assert_eq!(said(&[0x0a, 0x02, 0x0a]), "field 1 ends after its message");
    let longest = [
        0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ];
    assert_eq!(said(&longest), "field 1 ends after its message");
    // A group that was never begun; one that is, with a field in it, is skipped.
    assert!(said(&[0x7c]).contains("group"));
    assert!(Asked::read(&[0x7b, 0x08, 0x01, 0x7c]).is_ok());
    let deep = [0x7b; 10_000];
    assert!(said(&deep).contains("recursion"));
}
