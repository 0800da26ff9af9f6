use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_seconds(1_000_000);

fn lifetime() -> Lifetime {
    Lifetime::starting(START, Duration::from_secs(300))
}

#[test]
fn its_successor_is_due_after_four_fifths() {
    let at = |seconds| lifetime().at(START.plus(Duration::from_secs(seconds)));
    assert_eq!(
        lifetime().refresh_at(),
        START.plus(Duration::from_secs(240))
    );
    assert_eq!(at(0), Freshness::Fresh);
    assert_eq!(at(239), Freshness::Fresh);
    assert_eq!(at(240), Freshness::RefreshDue);
    assert_eq!(at(299), Freshness::RefreshDue);
}

#[test]
fn it_is_never_used_from_the_moment_it_expires() {
    assert_eq!(lifetime().at(lifetime().expires_at), Freshness::Expired);
    assert_eq!(
        lifetime().at(Timestamp::from_millis(i64::MAX)),
        Freshness::Expired
    );
}

#[test]
fn a_clock_that_was_set_back_makes_it_due() {
    assert_eq!(
        lifetime().at(Timestamp::from_millis(START.as_millis() - 1)),
        Freshness::RefreshDue
    );
}

#[test]
fn a_lifetime_of_nothing_is_over_when_it_begins() {
    assert_eq!(
        Lifetime::starting(START, Duration::ZERO).at(START),
        Freshness::Expired
    );
}

proptest! {
    #[test]
    fn no_lifetime_and_no_moment_panics_or_outlives_its_end(
        issued in any::<i64>(),
        expires in any::<i64>(),
        now in any::<i64>(),
    ) {
        let (issued_at, expires_at) = (Timestamp::from_millis(issued), Timestamp::from_millis(expires));
        let freshness = Lifetime { issued_at, expires_at }.at(Timestamp::from_millis(now));
        prop_assert_eq!(freshness == Freshness::Expired, now >= expires);
    }
}
