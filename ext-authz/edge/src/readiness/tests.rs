use super::Readiness;

#[test]
fn the_last_block_that_is_dropped_makes_it_ready() {
    let readiness = Readiness::new();
    let ready = readiness.watch();
    let (first, second) = (readiness.block("store"), readiness.block("listeners"));
    assert_eq!(readiness.blocked_by(), ["store", "listeners"]);
    drop(first);
    assert_eq!(readiness.blocked_by(), ["listeners"]);
    assert!(!*ready.borrow());
    drop(second);
    assert!(readiness.blocked_by().is_empty() && *ready.borrow());
}

#[test]
fn two_blocks_of_one_name_count_twice() {
    let readiness = Readiness::new();
    let (first, _second) = (readiness.block("keys"), readiness.block("keys"));
    drop(first);
    assert_eq!(readiness.blocked_by(), ["keys"]);
}
