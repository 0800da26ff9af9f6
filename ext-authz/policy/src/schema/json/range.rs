//! Numbers within bounds, as a regular expression.

#[cfg(test)]
mod tests;

/// Matches what is written of the numbers from `low`, at least 1, to `high`, with zeros before it or without.
/// Nothing if there is none.
pub(super) fn between(low: u64, high: u64) -> Option<String> {
    let mut parts = Vec::new();
    let mut low = low.max(1);
    while low <= high {
        let (size, zeros) = block(low, high);
        let first = low.div_euclid(size);
        let digit = first.rem_euclid(10);
        let count = (1..=10_u64.saturating_sub(digit))
            .take_while(|count| end(low, size, *count) <= high)
            .last()
            .unwrap_or(1);
        let last = digit.saturating_add(count).saturating_sub(1);
        let prefix = match first.div_euclid(10) {
            0 => String::new(),
            prefix => prefix.to_string(),
        };
        let digits = if digit == last {
            digit.to_string()
        } else {
            format!("[{digit}-{last}]")
        };
        parts.push(format!("{prefix}{digits}{}", "[0-9]".repeat(zeros)));
        low = end(low, size, count).saturating_add(1);
    }
    (!parts.is_empty()).then(|| format!("0*({})", parts.join("|")))
}

/// The largest power of ten by which `low` can be counted on without going past `high`, and its zeros.
fn block(low: u64, high: u64) -> (u64, usize) {
    let (mut size, mut zeros) = (1_u64, 0_usize);
    loop {
        let next = size.saturating_mul(10);
        if !low.is_multiple_of(next) || end(low, next, 1) > high {
            return (size, zeros);
        }
        (size, zeros) = (next, zeros.saturating_add(1));
    }
}

/// The last number of `count` blocks.
const fn end(low: u64, size: u64, count: u64) -> u64 {
    low.saturating_add(size.saturating_mul(count))
        .saturating_sub(1)
}
