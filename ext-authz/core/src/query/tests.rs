use alloc::{string::String, vec::Vec};

use super::*;

fn name(text: &str) -> ParameterName {
    ParameterName::parse(text).unwrap()
}

#[test]
fn a_name_has_one_spelling_on_the_wire() {
    for good in ["key", "api_key", "X-Api.Key~1"] {
        assert_eq!(ParameterName::parse(good).unwrap().as_str(), good);
    }
    let long = "k".repeat(MAX_NAME_BYTES + 1);
    for bad in ["", "a b", "a=b", "a&b", "k%65y", "clé", "a[]", "a+b", &long] {
        assert!(ParameterName::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_spelling_that_an_application_may_read_as_the_name_imitates_it() {
    let key = name("api_key");
    for spelling in [
        "api_key",
        "API_KEY",
        "Api_Key",
        "%61pi_key",
        "api%5Fkey",
        "api%5fkey",
        "%61%70%69%5F%6B%65%79",
        "api.key",
        "api%2ekey",
        "api+key",
        "api%20key",
        "+api_key",
        "%20api_key",
        "api_key+",
        "api_key%20",
        "api_key[]",
        "api_key%5B%5D",
        "api_key[0]",
        "api_key[a][b]",
        "%09api_key",
        "api_key%00",
        "api_key%00x",
    ] {
        assert!(key.is_imitated_by(spelling), "{spelling}");
    }
    for other in [
        "",
        "api",
        "api_ke",
        "api_keys",
        "xapi_key",
        "apikey",
        "api%255fkey",
        "api_key%",
        "api_key%5",
        "api-key",
    ] {
        assert!(!key.is_imitated_by(other), "{other}");
    }
}

#[test]
fn a_query_tells_each_imitation_as_it_was_sent() {
    let injected = [name("key"), name("token")];
    let found = |query: &'static str| -> Vec<Imitation<'static>> {
        imitations(query, injected.iter()).collect()
    };
    assert_eq!(found("a=1&b=2&keys=3&=key"), []);
    assert_eq!(
        found("KEY=1&a=2&%6bey&token[]=x&key=2"),
        ["KEY", "%6bey", "token[]", "key"].map(Imitation::Named)
    );
    for hidden in ["a=1;key=2", "a;key", "a=1&b=;%6Bey=1", "x=1;token[0]=2;c"] {
        assert_eq!(found(hidden), [Imitation::Hidden], "{hidden}");
    }
    assert_eq!(found("key=1;token=2"), [Imitation::Named("key")]);
}

#[test]
fn a_value_is_encoded_so_that_it_is_one_value() {
    for (value, expected) in [
        ("plain-1.2_3~", "plain-1.2_3~"),
        ("a b&c=d#e?f/g+h%", "a%20b%26c%3Dd%23e%3Ff%2Fg%2Bh%25"),
        ("é\n", "%C3%A9%0A"),
    ] {
        assert_eq!(encoded(value), expected);
        let back = Decoded(expected.as_bytes()).collect::<Vec<u8>>();
        assert_eq!(String::from_utf8(back).unwrap(), value);
    }
}
