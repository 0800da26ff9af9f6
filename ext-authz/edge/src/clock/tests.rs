use std::{collections::HashSet, thread};

use super::*;

#[test]
fn no_two_events_of_one_moment_have_one_id_whichever_thread_makes_them() {
    let now = Timestamp::from_seconds(1_800_000_000);
    let ids = move || (0..1000).map(|_| event_id(now)).collect::<Vec<_>>();
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(ids)).collect();
    let all = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap());
    assert_eq!(all.collect::<HashSet<_>>().len(), 4000);
}
