//! What looks like a secret. Documents must not hold one; messages and shown lines leave it out.

use std::ops::Range;

/// What stands in its place in messages.
pub(crate) const HIDDEN: &str = "[hidden]";

/// What the name of a field that holds a secret ends with, in lower case without `-` and `_`.
const NAME_ENDINGS: [&str; 8] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
];

/// Such names that are too short to be endings. The last are the private members of a JWK (RFC 7518 §6).
const NAMES: [&str; 9] = ["key", "secretkey", "k", "d", "p", "q", "dp", "dq", "qi"];

/// What secrets begin with that their makers mark as such.
const BEGINNINGS: [&str; 16] = [
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "whsec_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "hvs.",
    "npm_",
    "AGE-SECRET-KEY-",
];

/// Least length of a marked secret, so that a prefix in prose is none.
const MIN_MARKED_BYTES: usize = 20;

/// Least length of a line of nothing but base64 that is taken for a part of a key.
const MIN_KEY_LINE_CHARS: usize = 40;

/// Whether a field of this name holds a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let folded: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    NAMES.contains(&folded.as_str()) || NAME_ENDINGS.iter().any(|ending| folded.ends_with(ending))
}

/// Whether a value is a secret by its own form: a private key, a signed or encrypted token, or a marked
/// secret of a known service.
pub(crate) fn is_secret(value: &str) -> bool {
    value.len() >= MIN_MARKED_BYTES
        && (value.contains("PRIVATE KEY-----") || value.split(is_boundary).any(is_secret_word))
}

fn is_boundary(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '"' | '\'' | ',' | '{' | '}' | '[' | ']' | '=')
}

fn is_secret_word(word: &str) -> bool {
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    // RFC 7515 §3.1, RFC 7516 §3.1; every JOSE header begins with `{"`.
    let is_jose = || {
        word.starts_with("eyJ")
            && matches!(word.split('.').count(), 3 | 5)
            && word.bytes().all(|byte| is_base64url(byte) || byte == b'.')
    };
    let is_marked = || {
        BEGINNINGS
            .iter()
            .any(|beginning| word.starts_with(beginning))
    };
    word.len() >= MIN_MARKED_BYTES && (is_marked() || is_jose())
}

/// The bytes of a line of YAML that nobody may see: values of fields named like secrets, secrets by their
/// form, user information of URLs, lines of keys. Works on broken files too, for those are shown as well.
pub(crate) fn hidden(line: &str) -> Vec<Range<usize>> {
    let trimmed = line.trim();
    let is_key_line = trimmed.len() >= MIN_KEY_LINE_CHARS
        && trimmed
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte));
    if is_key_line {
        let whole = 0..line.len();
        return vec![whole];
    }
    let mut hidden: Vec<_> = named(line).chain(words(line)).collect();
    hidden.extend(user_information(line));
    hidden
}

/// What follows `password:` or `"api_key" =`.
fn named(line: &str) -> impl Iterator<Item = Range<usize>> {
    line.match_indices([':', '=']).filter_map(|(at, _)| {
        let (before, after) = line.split_at_checked(at)?;
        let name = before.trim_end_matches(['"', '\'', ' ']);
        let begins = name
            .rfind(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.".contains(letter)))
            .map_or(0, |at| at.saturating_add(1));
        if !is_secret_name(name.get(begins..)?) {
            return None;
        }
        let value = after.get(1..)?;
        let start = line.len().saturating_sub(value.trim_start().len());
        Some(start..start.saturating_add(value_length(before, value.trim_start())))
    })
}

/// How many bytes of `text` the value takes that it begins with.
fn value_length(before: &str, text: &str) -> usize {
    let end = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text
            .get(1..)
            .and_then(|rest| rest.find(quote))
            .map(|at| at.saturating_add(2)),
        Some(_) if before.contains('{') => text.find([',', '}']),
        Some(_) | None => None,
    };
    end.unwrap_or(text.len())
}

fn words(line: &str) -> impl Iterator<Item = Range<usize>> {
    line.split_inclusive(is_boundary)
        .scan(0_usize, |read, piece| {
            let start = *read;
            *read = read.saturating_add(piece.len());
            Some((start, piece.trim_end_matches(is_boundary)))
        })
        .filter(|(_, word)| is_secret_word(word))
        .map(|(start, word)| start..start.saturating_add(word.len()))
}

/// `user:password` of `https://user:password@host`.
fn user_information(line: &str) -> impl Iterator<Item = Range<usize>> {
    line.match_indices("://").filter_map(|(at, scheme_end)| {
        let start = at.saturating_add(scheme_end.len());
        let authority = line.get(start..)?;
        let authority = authority.split(['/', '?', '#', ' ']).next()?;
        let length = authority.rfind('@')?;
        Some(start..start.saturating_add(length))
    })
}
