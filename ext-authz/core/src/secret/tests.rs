use alloc::{borrow::ToOwned as _, format};

use super::Secret;

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

#[test]
fn secrets_are_equal_if_each_byte_and_their_length_are() {
    let text = "eyJhbGciOiJFUzI1NiJ9.e30";
    for length in 0..=text.len() {
        let text = text.get(..length).unwrap();
        assert!(secret(text) == secret(text), "{text}");
        assert!(secret(text) != secret(&format!("{text}A")), "{text}");
        assert!(secret(&format!("{text}A")) != secret(text), "{text}");
        for at in 0..length {
            let mut other = text.to_owned();
            other.replace_range(at..=at, "~");
            assert!(secret(text) != secret(&other), "{text} and {other}");
        }
    }
}
