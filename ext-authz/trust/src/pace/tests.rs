use super::*;

#[test]
fn keys_are_refreshed_within_bounds() {
    assert_eq!(refresh_after(None), Duration::from_mins(5));
    assert_eq!(refresh_after(Some(Duration::ZERO)), Duration::from_secs(30));
    assert_eq!(
        refresh_after(Some(Duration::from_secs(29))),
        Duration::from_secs(30)
    );
    assert_eq!(
        refresh_after(Some(Duration::from_mins(10))),
        Duration::from_mins(10)
    );
    assert_eq!(refresh_after(Some(Duration::MAX)), Duration::from_hours(1));
}

#[test]
fn failures_double_the_wait_up_to_a_minute() {
    let waits: Vec<_> = (1..9)
        .map(|failures| retry_after(failures).as_secs())
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(retry_after(0), Duration::from_secs(1));
    assert_eq!(retry_after(u32::MAX), Duration::from_mins(1));
}

#[test]
fn jitter_takes_at_most_a_fifth_and_never_leaves_less_than_a_second() {
    let pause = Duration::from_mins(5);
    assert_eq!(jittered(pause, 0), pause);
    assert_eq!(jittered(pause, 255).as_secs(), 240);
    assert_eq!(
        jittered(Duration::from_secs(1), 255),
        Duration::from_secs(1)
    );
    assert_eq!(jittered(Duration::ZERO, 255), Duration::ZERO);
    assert!(jittered(Duration::MAX, 255) < Duration::MAX);
}

#[test]
fn max_age_is_read_from_cache_control() {
    let seconds = |header| max_age(header).map(|age| age.as_secs());
    assert_eq!(
        seconds("public, max-age=19845, must-revalidate"),
        Some(19845)
    );
    assert_eq!(seconds("Max-Age=60"), Some(60));
    assert_eq!(seconds("max-age=\"60\""), Some(60));
    assert_eq!(seconds("max-age=60, no-store"), Some(0));
    assert_eq!(seconds("no-cache"), Some(0));
    assert_eq!(seconds(""), None);
    assert_eq!(seconds("private"), None);
    assert_eq!(seconds("max-age=-1"), None);
    assert_eq!(seconds("max-age=soon"), None);
    assert_eq!(seconds("s-maxage=60"), None);
    assert_eq!(seconds("max-age=99999999999999999999999"), None);
}
