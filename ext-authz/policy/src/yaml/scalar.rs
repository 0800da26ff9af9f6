//! Numbers, durations and sizes as people write them.

use std::time::Duration;

/// What a plain scalar is in the core schema (YAML 1.2 §10.3.2), for a message.
pub(super) fn non_text(plain: &str) -> Option<&'static str> {
    let truth = matches!(
        plain,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE"
    );
    if truth {
        return Some("a truth value");
    }
    let radix = |prefix, radix| {
        plain
            .strip_prefix(prefix)
            .is_some_and(|digits| i64::from_str_radix(digits, radix).is_ok())
    };
    let special = matches!(
        plain.trim_start_matches(['+', '-']),
        ".inf" | ".Inf" | ".INF"
    ) || matches!(plain, ".nan" | ".NaN" | ".NAN");
    // Rust also reads `inf` and `nan`, which YAML takes for words.
    let decimal = plain.bytes().any(|byte| byte.is_ascii_digit()) && plain.parse::<f64>().is_ok();
    (radix("0x", 16) || radix("0o", 8) || special || decimal).then_some("a number")
}

/// `300` (seconds), `300s`, `5m`, `24h`, `7d`, `250ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (count, unit) = counted(text)?;
    let millis_per_unit: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count
        .checked_mul(millis_per_unit)
        .map(Duration::from_millis)
}

/// `65536` (bytes), `64KiB`, `16MiB`, `2GiB`.
pub(super) fn byte_size(text: &str) -> Option<u64> {
    let (count, unit) = counted(text)?;
    let bytes_per_unit: u64 = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    count.checked_mul(bytes_per_unit)
}

/// The shortest text that [`duration`] reads as `duration`.
pub(super) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        _ if duration.subsec_millis() != 0 => format!("{}ms", duration.as_millis()),
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds.div_euclid(86_400)),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds.div_euclid(3600)),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds.div_euclid(60)),
        _ => format!("{seconds}s"),
    }
}

/// Digits and what follows them.
fn counted(text: &str) -> Option<(u64, &str)> {
    let unit_at = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (count, unit) = text.split_at_checked(unit_at)?;
    Some((count.parse().ok()?, unit))
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn alternatives<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
