//! Puts what an answer attaches into the request that runs.

use super::{kept::Passing, seen::Seen};
use crate::host::Host;

#[cfg(test)]
mod tests;

/// Takes from the request that runs what must not go on as it came; `None` if Envoy did not do it.
///
/// SECURITY: whether there is an answer or not: an internal redirect comes here again with what was attached before.
pub(super) fn strip<H: Host>(host: &H, seen: &Seen<'_>) -> Option<()> {
    let mut names = seen.protected();
    names.try_for_each(|name| host.remove_header(name).ok())
}

/// Changes the request that runs, which is stripped thereby; `None` if Envoy did not do it.
pub(super) fn place<H: Host>(host: &H, seen: &Seen<'_>, passing: &Passing) -> Option<()> {
    // What is set takes the place of all of its name, which costs one call of Envoy and not two.
    let is_set = |name: &[u8]| {
        let mut set = passing.headers.iter();
        set.any(|(set, _)| set.as_bytes() == name)
    };
    for name in seen.protected().filter(|name| !is_set(name)) {
        host.remove_header(name).ok()?;
    }
    for name in passing.remove.iter().map(String::as_bytes) {
        if seen.headers().has(name) {
            host.remove_header(name).ok()?;
        }
    }
    for (name, value) in &passing.headers {
        host.set_header(name, value.as_bytes()).ok()?;
    }
    if !passing.query.is_empty() || !passing.remove_parameters.is_empty() {
        let target = with_parameters(seen.written(), &passing.query, &passing.remove_parameters);
        host.set_header(":path", target.as_bytes()).ok()?;
    }
    Some(())
}

/// `target` with these parameters at the end of its query, in the place of all of their names, and without those that
/// are `removed`.
fn with_parameters(target: &str, parameters: &[(String, String)], removed: &[String]) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let named = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        // SECURITY: the target may decode names; what could be another spelling of ours goes, too.
        let ours = parameters
            .iter()
            .any(|(ours, _)| decoded(name) == decoded(ours));
        !ours && !removed.iter().any(|removed| removed == name)
    };
    let kept = query
        .split('&')
        .filter(|part| !part.is_empty())
        .filter(named);
    let ours = parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let all: Vec<String> = kept.map(str::to_owned).chain(ours).collect();
    if all.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{}", all.join("&"))
}

/// A name with its escapes read, `+` as a space, as forms are (WHATWG URL §5.1).
fn decoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        let escape = more.split_at_checked(2).filter(|_| *first == b'%');
        let byte = escape.and_then(|(digits, after)| {
            let digits = core::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        match byte {
            Some((byte, after)) => {
                bytes.push(byte);
                rest = after;
            }
            None => bytes.push(if *first == b'+' { b' ' } else { *first }),
        }
    }
    bytes
}
