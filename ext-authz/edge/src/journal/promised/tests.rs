use tokio::sync::Semaphore;

use super::*;

fn promises() -> (Promises, Arc<Counters>, Arc<Semaphore>) {
    let counters = Arc::new(Counters::default());
    let places = Arc::new(Semaphore::new(100));
    (Promises::new(Arc::clone(&counters)), counters, places)
}

fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).try_acquire_owned().unwrap()
}

#[test]
fn lines_are_written_together_in_their_order_and_the_writer_is_told_once() {
    let (promises, counters, places) = promises();
    for (number, told) in [(1, Given::Tell), (2, Given::Nothing), (3, Given::Nothing)] {
        let line = format!("{number}\n").into_bytes();
        let given = promises.give(Family::Permitted, line, place(&places));
        assert_eq!(given, Some(told));
    }
    assert_eq!((promises.count(), places.available_permits()), (3, 97));
    assert!(promises.take(Family::Denied).is_empty());
    let lines = promises.take(Family::Permitted).pop_front().unwrap();
    assert_eq!(lines.bytes(), b"1\n2\n3\n");
    assert_eq!(lines.kept(), 3);
    assert_eq!(places.available_permits(), 100);
    assert_eq!(counters.lost.load(Ordering::Relaxed), 0);
    let again = promises.give(Family::Permitted, b"4\n".to_vec(), place(&places));
    assert_eq!(again, Some(Given::Tell));
}

#[test]
fn what_cannot_be_written_comes_before_what_was_promised_since() {
    let (promises, _counters, places) = promises();
    let give = |line: &[u8]| promises.give(Family::Denied, line.to_vec(), place(&places));
    give(b"1\n");
    let first = promises.take(Family::Denied);
    give(b"2\n");
    promises.put_back(Family::Denied, first);
    let lines = promises.take(Family::Denied);
    let lines: Vec<_> = lines.iter().map(|lines| lines.bytes().to_vec()).collect();
    assert_eq!(lines, [b"1\n", b"2\n"]);
}

#[test]
fn no_write_is_longer_than_its_limit_unless_one_line_is() {
    let (promises, _counters, places) = promises();
    for bytes in [1, MAX_COMMIT_BYTES, 1, 1] {
        promises.give(Family::Permitted, vec![b'x'; bytes], place(&places));
    }
    let lines = promises.take(Family::Permitted);
    let lengths: Vec<_> = lines.iter().map(|lines| lines.bytes().len()).collect();
    assert_eq!(lengths, [1, MAX_COMMIT_BYTES, 2]);
}

#[test]
fn what_is_promised_and_never_written_counts_as_lost() {
    let (promises, counters, places) = promises();
    let give = || promises.give(Family::Passed, b"1\n".to_vec(), place(&places));
    give();
    give();
    assert_eq!(promises.close(), 2);
    assert_eq!(counters.lost.load(Ordering::Relaxed), 2);
    assert_eq!(places.available_permits(), 100);
    assert_eq!(give(), None, "nobody is promised anything any more");
    assert_eq!(counters.lost.load(Ordering::Relaxed), 2);
}
