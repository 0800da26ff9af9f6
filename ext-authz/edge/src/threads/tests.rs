use std::thread;

use super::Threads;

#[tokio::test]
async fn a_connection_goes_where_the_fewest_are_and_stays_there() {
    let threads = Threads::start().unwrap();
    let number = 1 + threads.others.len();
    let mut seats: Vec<_> = (0..2 * number).map(|_| threads.seat()).collect();
    let mut on = Vec::new();
    for seat in &seats {
        let name = || async { thread::current().name().map(str::to_owned) };
        let first = seat.runtime.spawn(name()).await.unwrap().unwrap();
        let second = seat.runtime.spawn(name()).await.unwrap().unwrap();
        assert_eq!(first, second);
        on.push(first);
    }
    let mut each = on.clone();
    each.sort();
    each.dedup();
    assert_eq!(each.len(), number, "{on:?}");
    for name in each {
        assert_eq!(on.iter().filter(|it| **it == name).count(), 2, "{on:?}");
    }
    // Where one ended, the next one begins.
    let freed = on.pop().unwrap();
    drop(seats.pop());
    let seat = threads.seat();
    let name = seat
        .runtime
        .spawn(async { thread::current().name().map(str::to_owned) });
    assert_eq!(name.await.unwrap().unwrap(), freed);
}
