//! DER (X.690 §10), as far as Envoy's `verify_signature` asks for it: public keys as SubjectPublicKeyInfo
//! (RFC 5280 §4.1.2.7), ECDSA signatures as a sequence of two integers (RFC 3279 §2.2.3).

use attache_core::jwks::{Curve, Material};

#[cfg(test)]
mod tests;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const NULL: [u8; 2] = [0x05, 0x00];
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113549.1.1.1
const RSA_ENCRYPTION: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];
/// 1.2.840.10045.2.1
const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
const P384: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.132.0.35
const P521: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// A public key as SubjectPublicKeyInfo.
pub(crate) fn public_key(material: &Material) -> Vec<u8> {
    match material {
        Material::Rsa { n, e } => {
            let key = element(SEQUENCE, &[&integer(n), &integer(e)]);
            spki(&[&RSA_ENCRYPTION, &NULL], &[&key])
        }
        Material::Ec { curve, x, y } => {
            let curve: &[u8] = match curve {
                Curve::P256 => &P256,
                Curve::P384 => &P384,
                Curve::P521 => &P521,
            };
            // SEC 1 §2.3.3: an uncompressed point.
            spki(&[&EC_PUBLIC_KEY, curve], &[&[0x04], x, y])
        }
    }
}

/// An ECDSA signature of JWS (r and s, `coordinate` bytes each; RFC 7518 §3.4) as DER; `None` if it has
/// another length.
pub(crate) fn signature(fixed: &[u8], coordinate: usize) -> Option<Vec<u8>> {
    let (r, s) = fixed.split_at_checked(coordinate)?;
    let whole = s.len() == coordinate;
    whole.then(|| element(SEQUENCE, &[&integer(r), &integer(s)]))
}

fn spki(algorithm: &[&[u8]], key: &[&[u8]]) -> Vec<u8> {
    let algorithm = element(SEQUENCE, algorithm);
    // No bit of the last byte is unused.
    let parts: Vec<&[u8]> = core::iter::once([0_u8].as_slice())
        .chain(key.iter().copied())
        .collect();
    element(SEQUENCE, &[&algorithm, &element(BIT_STRING, &parts)])
}

/// A non-negative integer: no leading zeros but the one that keeps it from being negative.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = bytes.get(zeros..).unwrap_or_default();
    let negative = digits.first().is_none_or(|first| *first >= 0x80);
    let padding: &[u8] = if negative { &[0] } else { &[] };
    element(INTEGER, &[padding, digits])
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts
        .iter()
        .fold(0_usize, |sum, part| sum.saturating_add(part.len()));
    let mut bytes = Vec::with_capacity(length.saturating_add(6));
    bytes.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        Ok(_) | Err(_) => {
            let digits = length.to_be_bytes();
            let zeros = digits.iter().take_while(|byte| **byte == 0).count();
            let digits = digits.get(zeros..).unwrap_or_default();
            bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(0x7f));
            bytes.extend_from_slice(digits);
        }
    }
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}
