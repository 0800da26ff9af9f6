//! Header maps as the proxy-wasm ABI writes them: a count, the lengths of all names and values, then each with
//! a zero byte behind it. Values are bytes: a header need not be UTF-8.

#[cfg(test)]
mod tests;

/// One header: its name, in lower case as Envoy keeps it, and its value.
pub(crate) type Pair<'a> = (&'a [u8], &'a [u8]);

/// Reads a serialised map; `None` if it is not one.
pub(crate) fn read(bytes: &[u8]) -> Option<Vec<Pair<'_>>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let (count, rest) = number(bytes)?;
    let (lengths, mut texts) = rest.split_at_checked(count.checked_mul(8)?)?;
    let mut pairs = Vec::with_capacity(count);
    let mut lengths = Some(lengths);
    for _ in 0..count {
        let (name, more) = number(lengths?)?;
        let (value, more) = number(more)?;
        lengths = Some(more);
        let (name, more) = text(texts, name)?;
        let (value, more) = text(more, value)?;
        texts = more;
        pairs.push((name, value));
    }
    Some(pairs)
}

/// Serialises a map.
#[cfg(any(test, target_arch = "wasm32"))]
pub(crate) fn write(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length(pairs.len()));
    for (name, value) in pairs {
        bytes.extend_from_slice(&length(name.len()));
        bytes.extend_from_slice(&length(value.len()));
    }
    for (name, value) in pairs {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    let number = usize::try_from(u32::from_le_bytes(*number)).ok()?;
    Some((number, rest))
}

fn text(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(length)?;
    let (_zero, rest) = rest.split_first()?;
    Some((text, rest))
}
