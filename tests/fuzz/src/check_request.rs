//! `CheckRequest`: what Envoy's own definitions read of it is read here, and nothing else.

use attache_edge::ext_authz::asked::{Asked, Entry};
use envoy_types::{
    ext_authz::v3::pb::CheckRequest,
    pb::envoy::config::core::v3::{
        HeaderValue, address::Address as Kind, socket_address::PortSpecifier,
    },
};
use prost::Message as _;

/// The input as the message of a call.
pub fn holds(input: &[u8]) {
    let read = Asked::read(input);
    let Ok(request) = CheckRequest::decode(input) else {
        // What is not read here need not be right.
        return;
    };
    let asked = read.expect("it is read by Envoy's own definitions");
    let attributes = request.attributes.unwrap_or_default();
    let source = attributes.source.unwrap_or_default();
    assert_eq!(asked.source.principal, source.principal.as_bytes());
    assert_eq!(asked.source.certificate, source.certificate.as_bytes());
    let socket = match source.address.and_then(|address| address.address) {
        Some(Kind::SocketAddress(socket)) => Some(socket),
        _ => None,
    };
    assert_eq!(asked.source.socket.is_some(), socket.is_some());
    if let (Some(read), Some(socket)) = (asked.source.socket, socket) {
        let port = match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => port,
            Some(PortSpecifier::NamedPort(_)) | None => 0,
        };
        assert_eq!((read.address, read.port), (socket.address.as_bytes(), port));
    }
    let same = |entries: &[Entry<'_>], map: &std::collections::HashMap<String, String>| {
        // Of two with one name the last counts.
        let last = entries.iter().map(|entry| (entry.key, entry.value));
        let last: std::collections::HashMap<_, _> = last.collect();
        assert_eq!(last.len(), map.len());
        let known = |(key, value): (&String, &String)| last[key.as_bytes()] == value.as_bytes();
        assert!(map.iter().all(known));
    };
    same(&asked.extensions, &attributes.context_extensions);
    let http = attributes.request.and_then(|request| request.http);
    assert_eq!(asked.http.is_some(), http.is_some());
    let (Some(read), Some(http)) = (asked.http, http) else {
        return;
    };
    assert_eq!(read.method, http.method.as_bytes());
    assert_eq!(read.path, http.path.as_bytes());
    assert_eq!(read.host, http.host.as_bytes());
    same(&read.joined, &http.headers);
    let value = |header: &HeaderValue| match header.raw_value.as_slice() {
        [] => header.value.clone().into_bytes(),
        raw => raw.to_vec(),
    };
    let headers = http.header_map.map(|map| {
        let headers = map.headers.iter();
        headers
            .map(|header| (header.key.clone(), value(header)))
            .collect::<Vec<_>>()
    });
    let raw = read.raw.map(|headers| {
        let headers = headers.into_iter();
        headers
            .map(|(key, value)| (key.to_owned(), value.to_vec()))
            .collect::<Vec<_>>()
    });
    assert_eq!(raw, headers);
}
