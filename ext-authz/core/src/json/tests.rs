use alloc::{format, string::ToString};

use proptest::prelude::*;

use super::*;

#[test]
fn an_object_is_read_as_serde_json_reads_it() {
    let text = r#" {"a":[1,-2,1.5,true,null,"x"],"b":{"c":{}},"d":18446744073709551615} "#;
    let expected: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(object(text.as_bytes()).map(Value::Object), Ok(expected));
}

#[test]
fn a_member_that_stands_twice_is_refused_at_any_depth() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":{"c":1,"c":2}}"#,
        r#"{"a":[{"c":1,"c":2}]}"#,
        r#"{"aud":1,"\u0061ud":2}"#,
    ] {
        assert_eq!(
            object(text.as_bytes()),
            Err(InvalidJson::DuplicateMember),
            "{text}"
        );
    }
}

#[test]
fn nesting_ends_at_sixteen() {
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert!(object(nested(16).as_bytes()).is_ok());
    assert_eq!(object(nested(17).as_bytes()), Err(InvalidJson::TooDeep));
    assert_eq!(
        object(nested(100_000).as_bytes()),
        Err(InvalidJson::TooDeep)
    );
    let array = format!(r#"{{"a":{}{}}}"#, "[".repeat(16), "]".repeat(16));
    assert_eq!(object(array.as_bytes()), Err(InvalidJson::TooDeep));
}

#[test]
fn what_is_no_object_is_refused() {
    for text in ["[]", "1", "null", "true", r#""{}""#, r#"[{"a":1}]"#] {
        assert_eq!(
            object(text.as_bytes()),
            Err(InvalidJson::NotAnObject),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        &b""[..],
        b"{",
        b"{}{}",
        b"{} x",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\xff\"}",
        b"{'a':1}",
        b"{a:1}",
        b"{\"a\":01}",
        b"{\"a\":1e999}",
        b"{\"a\":NaN}",
        b"{\"a\":1,}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\\ud800\"}",
        b"{}\0",
    ] {
        assert_eq!(
            object(text),
            Err(InvalidJson::Syntax),
            "{:?}",
            String::from_utf8_lossy(text)
        );
    }
}

proptest! {
    #[test]
    fn bytes_never_panic(bytes: Vec<u8>) {
        let _ = object(&bytes);
    }

    #[test]
    fn what_is_accepted_is_what_serde_json_reads(text in r#"[\[\]{}:,"a\\u0-9eE.+ tn-]{0,24}"#) {
        let text = format!(r#"{{"a":{text}}}"#);
        let theirs = serde_json::from_str::<Value>(&text).map_err(|error| error.to_string());
        if let Ok(ours) = object(text.as_bytes()) {
            prop_assert_eq!(Ok(Value::Object(ours)), theirs);
        }
    }
}
