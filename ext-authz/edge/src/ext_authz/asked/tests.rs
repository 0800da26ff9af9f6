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

/// All that is read here, in the words of Envoy's own definitions.
fn same(asked: &Asked<'_>, request: CheckRequest) {
    let attributes = request.attributes.unwrap_or_default();
    let source = attributes.source.unwrap_or_default();
    assert_eq!(asked.source.principal, source.principal.as_bytes());
    assert_eq!(asked.source.certificate, source.certificate.as_bytes());
    let socket = match source.address.and_then(|address| address.address) {
        Some(address::Address::SocketAddress(socket)) => {
            let port = match socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => port,
                Some(PortSpecifier::NamedPort(_)) | None => 0,
            };
            Some((socket.address, port))
        }
        _ => None,
    };
    let read = asked.source.socket.as_ref();
    assert_eq!(
        read.map(|socket| (socket.address, socket.port)),
        socket
            .as_ref()
            .map(|(address, port)| (address.as_bytes(), *port))
    );
    let last = |entries: &[Entry<'_>]| {
        let texts = entries
            .iter()
            .map(|entry| (text(entry.key), text(entry.value)));
        texts.collect::<std::collections::HashMap<_, _>>()
    };
    assert_eq!(last(&asked.extensions), attributes.context_extensions);
    let http = attributes.request.and_then(|request| request.http);
    assert_eq!(asked.http.is_some(), http.is_some());
    let (Some(read), Some(http)) = (&asked.http, http) else {
        return;
    };
    assert_eq!(read.method, http.method.as_bytes());
    assert_eq!(read.path, http.path.as_bytes());
    assert_eq!(read.host, http.host.as_bytes());
    assert_eq!(last(&read.joined), http.headers);
    let headers = http.header_map.map(|map| {
        let headers = map.headers.into_iter().map(|header| {
            let raw = header.raw_value;
            let value = if raw.is_empty() {
                header.value.into_bytes()
            } else {
                raw
            };
            (header.key, value)
        });
        headers.collect::<Vec<_>>()
    });
    let raw = read.raw.as_ref().map(|headers| {
        let headers = headers.iter();
        let owned = headers.map(|(key, value)| ((*key).to_owned(), value.to_vec()));
        owned.collect::<Vec<_>>()
    });
    assert_eq!(raw, headers);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn whatever_is_wrong_with_a_message_it_is_read_as_envoys_own_definitions_read_it() {
    let whole = request("api.example", Some(PortSpecifier::PortValue(4711))).encode_to_vec();
    same(
        &Asked::read(&whole).unwrap(),
        CheckRequest::decode(&*whole).unwrap(),
    );
    for end in 0..whole.len() {
        let cut = &whole[..end];
        assert_eq!(
            Asked::read(cut).is_ok(),
            CheckRequest::decode(cut).is_ok(),
            "{end}"
        );
    }
    // What is not read here need not be right; what is, must.
    let mut accepted = 0;
    for index in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[index] ^= 1 << bit;
            let read = Asked::read(&changed);
            if let Ok(request) = CheckRequest::decode(&*changed) {
                same(&read.unwrap(), request);
                accepted += 1;
            }
        }
    }
    assert!(accepted > 1_000, "{accepted}");
}

#[test]
fn what_stands_twice_counts_as_protobuf_has_it() {
    let ports = [
        Some(PortSpecifier::PortValue(4711)),
        Some(PortSpecifier::NamedPort("https".to_owned())),
        None,
    ];
    for first in &ports {
        for second in &ports {
            let mut twice = request("one.example", first.clone()).encode_to_vec();
            twice.extend(request("two.example", second.clone()).encode_to_vec());
            let asked = Asked::read(&twice).unwrap();
            same(&asked, CheckRequest::decode(&*twice).unwrap());
            let http = asked.http.unwrap();
            assert_eq!(http.host, b"two.example");
            assert_eq!(http.raw.unwrap().len(), 6);
        }
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
