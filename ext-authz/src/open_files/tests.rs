use super::{is_short, needed};

#[test]
fn a_limit_is_short_that_does_not_hold_all_connections_of_all_listeners() {
    let one = needed(1);
    assert!(one > 1024 && needed(2) > one);
    assert!(is_short(Some(one - 1), one));
    assert!(!is_short(Some(one), one));
    assert!(!is_short(None, one), "no limit is enough");
}
