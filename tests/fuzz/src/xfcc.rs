//! `x-forwarded-client-cert`: what is read can be written, and then reads the same.

use attache_core::certificate::CertificateChain;
use attache_edge::xfcc::{self, Element};
use base64ct::{Base64, Encoding as _};

/// The input as the lines of the header.
pub fn holds(input: &[u8]) {
    let lines = || input.split(|byte| *byte == b'\n');
    let Ok(elements) = xfcc::parse(lines()) else {
        return;
    };
    assert!(elements.len() <= xfcc::MAX_ELEMENTS);
    for element in &elements {
        if let (Some(one), Some(chain)) = (&element.certificate, &element.chain) {
            assert_eq!(one.leaf(), chain.leaf(), "two certificates for one client");
        }
        // What is read of the header stands in it.
        let printable = |text: &String| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let texts = element.by.iter().chain(&element.uris).chain(&element.dns);
        assert!(
            texts
                .chain(&element.hash)
                .chain(&element.subject)
                .all(printable)
        );
    }
    let written: Vec<_> = elements.iter().map(write).collect();
    let again = xfcc::parse([written.join(",").as_bytes()]);
    match again {
        Ok(again) => assert_eq!(again, elements),
        // Quotes and percent-encoding make it longer.
        Err(invalid) => assert!(
            matches!(invalid, xfcc::InvalidXfcc::TooLong(_)),
            "{invalid}"
        ),
    }
}

fn write(element: &Element) -> String {
    // An element of which nothing is known is still one.
    let mut pairs = vec!["X=".to_owned()];
    let mut pair = |key: &str, value: &str| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        pairs.push(format!("{key}=\"{value}\""));
    };
    let one = |text: &Option<String>| text.clone();
    for (key, values) in [
        ("By", &element.by),
        ("URI", &element.uris),
        ("DNS", &element.dns),
    ] {
        values.iter().for_each(|value| pair(key, value));
    }
    for (key, value) in [
        ("Hash", one(&element.hash)),
        ("Subject", one(&element.subject)),
    ] {
        value.iter().for_each(|value| pair(key, value));
    }
    for (key, chain) in [("Cert", &element.certificate), ("Chain", &element.chain)] {
        chain.iter().for_each(|chain| pair(key, &pem(chain)));
    }
    pairs.join(";")
}

/// As Envoy writes certificates: PEM, percent-encoded.
fn pem(chain: &CertificateChain) -> String {
    let certificates = chain.certificates().map(|der| {
        let text = Base64::encode_string(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).collect();
        let body = String::from_utf8(lines.join(&b'\n')).expect("base64");
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    });
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    certificates
        .collect::<String>()
        .bytes()
        .map(encode)
        .collect()
}
