use jsonwebtoken::jwk::Jwk;

use super::*;

/// RFC 7638 §3.1.
const RFC_7638_MODULUS: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

fn signer(algorithm: Algorithm) -> Box<dyn Signer> {
    parse(algorithm, &generate(algorithm).unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_thumbprint_is_the_one_that_the_standard_computes() {
    let key = PublicKey::Rsa {
        n: RFC_7638_MODULUS.to_owned(),
        e: "AQAB".to_owned(),
    };
    assert_eq!(
        key.thumbprint(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
}

#[test]
fn an_independent_library_computes_the_same_thumbprints_and_verifies_our_signatures() {
    for algorithm in ALGORITHMS {
        let signer = signer(algorithm);
        let jwk: Jwk = serde_json::from_value(signer.public_key().jwk(algorithm)).unwrap();
        let theirs = jwk
            .thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)
            .unwrap();
        assert_eq!(jwk.common.key_id.as_deref(), Some(theirs.as_str()));
        let signature = Base64UrlUnpadded::encode_string(&signer.sign(b"input").unwrap());
        let verified = |input: &[u8]| {
            jsonwebtoken::crypto::verify(
                &signature,
                input,
                &jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap(),
                algorithm.name().parse().unwrap(),
            )
            .unwrap()
        };
        assert!(
            verified(b"input") && !verified(b"inpuT"),
            "{}",
            algorithm.name()
        );
    }
}

#[test]
fn a_key_of_one_algorithm_is_not_parsed_as_another() {
    let [rsa, ec] = ALGORITHMS.map(|algorithm| generate(algorithm).unwrap());
    assert_eq!(
        parse(Algorithm::Es256, &rsa).err(),
        Some(NoSigner::Malformed(Algorithm::Es256))
    );
    assert_eq!(
        parse(Algorithm::Rs256, &ec).err(),
        Some(NoSigner::Malformed(Algorithm::Rs256))
    );
}

#[test]
fn rsa_keys_have_2048_bits_and_the_usual_exponent() {
    let signer = signer(Algorithm::Rs256);
    let PublicKey::Rsa { n, e } = signer.public_key() else {
        panic!("not an RSA key")
    };
    assert_eq!(
        (Base64UrlUnpadded::decode_vec(n).unwrap().len(), e.as_str()),
        (256, "AQAB")
    );
}
