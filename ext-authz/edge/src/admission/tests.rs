use super::{Calls, MAX_TOLD};

#[test]
fn a_call_beyond_the_most_is_turned_away_until_another_is_answered() {
    let calls = Calls::at_most(2);
    let (first, second) = (calls.enter().unwrap(), calls.enter().unwrap());
    assert_eq!(calls.in_flight(), 2);
    assert!(calls.enter().is_none());
    assert_eq!(calls.turned_away(), 1);
    drop(first);
    assert!(calls.enter().is_some());
    drop(second);
    assert_eq!((calls.in_flight(), calls.turned_away()), (0, 1));
}

#[test]
fn what_is_turned_away_is_told_of_up_to_a_bound_and_counted_beyond() {
    let calls = Calls::at_most(1);
    let told: Vec<_> = (0..MAX_TOLD).map(|_| calls.tell().unwrap()).collect();
    assert!(calls.tell().is_none());
    assert_eq!(calls.untold(), 1);
    drop(told);
    assert!(calls.tell().is_some());
}
