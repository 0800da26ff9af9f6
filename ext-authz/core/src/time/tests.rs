use proptest::prelude::*;

use super::*;

#[test]
fn it_prints_as_the_audit_log_does() {
    let at = |millis| Timestamp::from_millis(millis).to_string();
    assert_eq!(at(1_781_408_842_341), "2026-06-14T03:47:22.341Z");
    assert_eq!(at(1_781_408_842_000), "2026-06-14T03:47:22.000Z");
    assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(at(-1), "1969-12-31T23:59:59.999Z");
    assert_eq!(at(i64::MAX), "9223372036854775807ms");
}

#[test]
fn it_reads_what_it_prints() {
    let read = |text: &str| serde_json::from_str::<Timestamp>(text).ok();
    assert_eq!(
        read("\"2026-06-14T03:47:22.341Z\""),
        Some(Timestamp::from_millis(1_781_408_842_341))
    );
    assert_eq!(
        read("\"2026-06-14T05:47:22.341+02:00\""),
        Some(Timestamp::from_millis(1_781_408_842_341))
    );
    assert_eq!(read("\"yesterday\""), None);
    assert_eq!(read("1781408842341"), None);
}

#[test]
fn seconds_are_rounded_down() {
    assert_eq!(Timestamp::from_millis(1_999).as_seconds(), 1);
    assert_eq!(Timestamp::from_millis(-1).as_seconds(), -1);
    assert_eq!(Timestamp::from_seconds(i64::MAX).as_millis(), i64::MAX);
}

#[test]
fn what_does_not_lie_after_lies_zero_after() {
    let (early, late) = (Timestamp::from_seconds(1), Timestamp::from_seconds(3));
    assert_eq!(late.since(early), Duration::from_secs(2));
    assert_eq!(early.since(late), Duration::ZERO);
    assert_eq!(early.plus(Duration::MAX), Timestamp::from_millis(i64::MAX));
}

proptest! {
    #[test]
    fn nothing_overflows(millis: i64, other: i64, seconds: u64) {
        let at = Timestamp::from_millis(millis);
        let _ = (at.as_seconds(), at.since(Timestamp::from_millis(other)), at.to_string());
        prop_assert!(at.plus(Duration::from_secs(seconds)) >= at);
    }

    #[test]
    fn every_year_of_four_digits_comes_back(millis in 0..253_402_300_799_999_i64) {
        let at = Timestamp::from_millis(millis);
        let text = serde_json::to_string(&at).expect("a timestamp serialises");
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&text).expect("and comes back"), at);
    }
}
