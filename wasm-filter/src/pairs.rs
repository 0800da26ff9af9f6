//! Header maps as the proxy-wasm ABI writes them: a count, the lengths of all names and values, then each with
//! a zero byte behind it. Values are bytes: a header need not be UTF-8.

#[cfg(test)]
mod tests;

/// One header: its name, in lower case as Envoy keeps it, and its value.
pub(crate) type Pair<'a> = (&'a [u8], &'a [u8]);

/// A serialised map, of which nothing was copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairs<'a> {
    lengths: &'a [[u8; 8]],
    texts: &'a [u8],
}

/// Reads a serialised map and shows `each` of its headers; `None` if it is not one.
#[inline]
pub(crate) fn read<'a>(bytes: &'a [u8], mut each: impl FnMut(Pair<'a>)) -> Option<Pairs<'a>> {
    if bytes.is_empty() {
        return Some(Pairs {
            lengths: &[],
            texts: &[],
        });
    }
    let (count, rest) = bytes.split_first_chunk()?;
    let (lengths, texts) = rest.split_at_checked(number(*count)?.checked_mul(8)?)?;
    let (lengths, _none) = lengths.as_chunks();
    let pairs = Pairs { lengths, texts };
    let mut rest = texts;
    for of in lengths {
        let (pair, more) = pair(*of, rest)?;
        each(pair);
        rest = more;
    }
    Some(pairs)
}

impl<'a> Pairs<'a> {
    /// Its headers, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = Pair<'a>> {
        let mut rest = self.texts;
        self.lengths.iter().map_while(move |of| {
            let (pair, more) = pair(*of, rest)?;
            rest = more;
            Some(pair)
        })
    }
}

/// The first header of `texts`, whose lengths are `of`.
#[inline]
fn pair(of: [u8; 8], texts: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let [a, b, c, d, e, f, g, h] = of;
    let (name, rest) = texts.split_at_checked(number([a, b, c, d])?)?;
    let (_zero, rest) = rest.split_first()?;
    let (value, rest) = rest.split_at_checked(number([e, f, g, h])?)?;
    let (_zero, rest) = rest.split_first()?;
    Some(((name, value), rest))
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

fn number(bytes: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}
