//! When keys are fetched again: refresh after success, back off after failure, always with jitter so
//! that a fleet does not call in step.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// Without `Cache-Control: max-age`.
const REFRESH: Duration = Duration::from_mins(5);
/// An issuer that asks for less would be polled by the whole fleet.
const REFRESH_AT_LEAST: Duration = Duration::from_secs(30);
/// An issuer that asks for more would keep a withdrawn key in use.
const REFRESH_AT_MOST: Duration = Duration::from_hours(1);
/// How often a file is looked at.
pub(crate) const FILE_REFRESH: Duration = Duration::from_secs(5);
const RETRY_AT_LEAST: Duration = Duration::from_secs(1);
const RETRY_AT_MOST: Duration = Duration::from_mins(1);

/// How long fetched keys stay fresh, within our bounds.
pub(crate) fn refresh_after(max_age: Option<Duration>) -> Duration {
    max_age
        .unwrap_or(REFRESH)
        .clamp(REFRESH_AT_LEAST, REFRESH_AT_MOST)
}

/// How long to wait after `failures` failures in a row: 1 s, 2 s, 4 s … 60 s.
pub(crate) fn retry_after(failures: u32) -> Duration {
    let doubled = 1_u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    RETRY_AT_LEAST.saturating_mul(doubled).min(RETRY_AT_MOST)
}

/// Shortens `pause` by up to a fifth. `random` is 0 to 255.
pub(crate) fn jittered(pause: Duration, random: u8) -> Duration {
    let share = pause / (5 * 255) * u32::from(random);
    pause.saturating_sub(share).max(RETRY_AT_LEAST.min(pause))
}

/// `max-age` of a `Cache-Control` header (RFC 9111 §5.2.2.1); zero if the answer must not be kept.
pub(crate) fn max_age(cache_control: &str) -> Option<Duration> {
    let mut age = None;
    for directive in cache_control
        .split(',')
        .map(|part| part.trim().to_ascii_lowercase())
    {
        if directive == "no-store" || directive == "no-cache" {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            age = seconds
                .trim_matches('"')
                .parse()
                .ok()
                .map(Duration::from_secs)
                .or(age);
        }
    }
    age
}
