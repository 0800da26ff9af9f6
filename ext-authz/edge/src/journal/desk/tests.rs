use std::sync::mpsc::{Receiver, TryRecvError, channel};

use attache_core::{
    event::{Event, Outcome},
    time::Timestamp,
};
use tokio::{runtime::Builder, sync::Semaphore, task::yield_now};

use super::{super::flood::Target, *};

/// An event as a call hands it in, and what the call waits for.
fn event(number: usize, desk: &Arc<Desk>) -> (Queued, oneshot::Receiver<Filed>) {
    let (caller, answer) = oneshot::channel();
    let now = Timestamp::from_seconds(1_800_000_000);
    let event = Event::blank(format!("evt_{number}").into(), now, Outcome::Permitted);
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned();
    let queued = Queued {
        event: Box::new(event),
        target: Target::Claimed,
        caller: Waiting::at(Arc::clone(desk), caller),
        place: place.unwrap(),
    };
    (queued, answer)
}

fn recorded(number: usize) -> Filed {
    Ok(Recorded {
        event_id: format!("evt_{number}").into(),
        coalesced: false,
    })
}

/// What lies before the writer; each is one waking of it.
fn before_writer(inbox: &Receiver<Message>) -> Vec<Vec<Queued>> {
    let messages = std::iter::from_fn(|| inbox.try_recv().ok());
    let events = messages.map(|message| match message {
        Message::Record(events) => events,
        Message::Promised | Message::Look | Message::Flush(_) | Message::Close(_) => panic!(),
    });
    events.collect()
}

async fn turns() {
    for _ in 0..10 {
        yield_now().await;
    }
}

#[tokio::test]
async fn what_comes_in_one_turn_goes_together_and_what_comes_meanwhile_goes_with_the_next() {
    let (desks, (writer, inbox)) = (Desks::default(), channel());
    let desk = desks.here(&writer).unwrap();
    assert!(Arc::ptr_eq(&desk, &desks.here(&writer).unwrap()));
    let (events, answers): (Vec<_>, Vec<_>) = (0..5).map(|number| event(number, &desk)).unzip();
    events.into_iter().for_each(|event| desk.hand_in(event));
    turns().await;
    let mut sent = before_writer(&inbox);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].len(), 5);

    let (late, late_answers): (Vec<_>, Vec<_>) = (5..8).map(|number| event(number, &desk)).unzip();
    for event in late {
        desk.hand_in(event);
        turns().await;
    }
    assert!(before_writer(&inbox).is_empty(), "the writer is still busy");

    let mut bells = Bells::default();
    for (number, queued) in sent.remove(0).into_iter().enumerate() {
        queued.caller.answer(recorded(number), &mut bells);
    }
    assert_eq!(bells.0.len(), 1, "one waking for all of them");
    bells.ring();
    turns().await;
    for (number, mut answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.try_recv().unwrap(), recorded(number));
    }
    let sent = before_writer(&inbox);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [3]);
    drop(late_answers);
}

#[tokio::test]
async fn an_event_that_is_lost_on_the_way_keeps_nobody_waiting_and_no_other_back() {
    let (desks, (writer, inbox)) = (Desks::default(), channel());
    let desk = desks.here(&writer).unwrap();
    let (lost, answer) = event(0, &desk);
    desk.hand_in(lost);
    turns().await;
    drop(before_writer(&inbox));
    assert_eq!(answer.await.unwrap(), Err(AuditUnavailable::Closed));
    let (next, _answer) = event(1, &desk);
    desk.hand_in(next);
    turns().await;
    assert_eq!(before_writer(&inbox).len(), 1);
    drop(inbox);
    let (refused, answer) = event(2, &desk);
    desk.hand_in(refused);
    assert_eq!(answer.await.unwrap(), Err(AuditUnavailable::Closed));
}

#[test]
fn what_was_handed_in_is_recorded_though_the_runtime_ends() {
    let (desks, (writer, inbox)) = (Desks::default(), channel());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let desk = runtime.block_on(async { desks.here(&writer).unwrap() });
    let (handed_in, _answer) = event(0, &desk);
    desk.hand_in(handed_in);
    drop(runtime);
    assert_eq!(before_writer(&inbox).len(), 1);
    let (late, mut answer) = event(1, &desk);
    desk.hand_in(late);
    assert!(answer.try_recv().is_err());
    assert!(before_writer(&inbox).is_empty());
}

#[tokio::test]
async fn the_writer_learns_that_the_journal_is_gone() {
    let (desks, (writer, inbox)) = (Desks::default(), channel());
    let desk = desks.here(&writer).unwrap();
    let (handed_in, _answer) = event(0, &desk);
    desk.hand_in(handed_in);
    drop((desks, writer));
    assert_eq!(before_writer(&inbox).len(), 1);
    assert!(matches!(inbox.try_recv(), Err(TryRecvError::Disconnected)));
    turns().await;
    assert_eq!(Arc::strong_count(&desk), 1, "nobody attends any more");
}
