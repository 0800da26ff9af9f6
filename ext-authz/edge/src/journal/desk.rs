//! Where the calls of one runtime hand in their events. What comes in one turn of its thread is written together: by that
//! thread where it may, and otherwise by the journal's, whose answers come back together: one waking each way, not one
//! for each event. A waking of another thread costs more than to write an event.

use std::{
    mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc::Sender},
    time::Duration,
};

use tokio::{
    runtime::{Handle, Id},
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};

use super::{AuditUnavailable, Recorded, pen::Pen, queued::Queued, writer::Message};
use crate::threads;

/// A timer that is due before all others of a runtime costs a call of the system, and each call has one. While calls
/// come, one that is due before all of theirs is there already.
const PULSE: Duration = Duration::from_millis(25);

/// What becomes of an event whose caller waits.
pub(super) type Filed = Result<Recorded, AuditUnavailable>;

/// The desks of one journal, by the runtime that they stand in.
#[derive(Default)]
pub(super) struct Desks {
    pen: Arc<Pen>,
    desks: RwLock<Vec<(Id, Arc<Desk>)>>,
}

impl Drop for Desks {
    fn drop(&mut self) {
        let desks = self.desks.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (_, desk) in desks {
            desk.close();
            desk.ring();
        }
    }
}

/// One desk.
pub(super) struct Desk {
    papers: Mutex<Papers>,
    bell: Notify,
    pen: Arc<Pen>,
}

struct Papers {
    /// Events that go to the writer.
    out: Vec<Queued>,
    /// How many the writer has. What comes meanwhile waits for them, so that it goes together.
    away: usize,
    /// What the writer answers, and to whom.
    back: Vec<(oneshot::Sender<Filed>, Filed)>,
    /// `None` once the journal or the runtime is at its end.
    writer: Option<Sender<Message>>,
}

impl Desks {
    pub(super) fn before(pen: Arc<Pen>) -> Self {
        Self {
            pen,
            desks: RwLock::default(),
        }
    }

    /// The desk of the runtime in which this is called; `None` outside of one.
    pub(super) fn here(&self, writer: &Sender<Message>) -> Option<Arc<Desk>> {
        let runtime = Handle::try_current().ok()?;
        let id = runtime.id();
        let find = |desks: &[(Id, Arc<Desk>)]| {
            let desk = desks.iter().find(|(its, _)| *its == id);
            desk.map(|(_, desk)| Arc::clone(desk))
        };
        let known = find(&self.desks.read().unwrap_or_else(PoisonError::into_inner));
        if known.is_some() {
            return known;
        }
        let mut desks = self.desks.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = find(&desks) {
            return Some(known);
        }
        desks.retain(|(_, desk)| desk.papers().writer.is_some());
        let desk = Arc::new(Desk::before(writer.clone(), Arc::clone(&self.pen)));
        desks.push((id, Arc::clone(&desk)));
        runtime.spawn(Attendant(Arc::clone(&desk)).attend());
        Some(desk)
    }
}

impl Desk {
    fn before(writer: Sender<Message>, pen: Arc<Pen>) -> Self {
        let papers = Papers {
            out: Vec::new(),
            away: 0,
            back: Vec::new(),
            writer: Some(writer),
        };
        Self {
            papers: Mutex::new(papers),
            bell: Notify::new(),
            pen,
        }
    }

    /// An event for the writer. At a desk that is closed its caller learns that the journal is.
    pub(super) fn hand_in(&self, event: Queued) {
        self.put(|papers| papers.out.push(event));
        self.ring();
    }

    fn put(&self, put: impl FnOnce(&mut Papers)) {
        let mut papers = self.papers();
        if papers.writer.is_some() {
            put(&mut papers);
        }
    }

    fn ring(&self) {
        self.bell.notify_one();
    }

    /// Carries everything to where it belongs. Whether the desk is open.
    fn carry(&self) -> bool {
        let (out, back, writer) = {
            let mut papers = self.papers();
            let back = mem::take(&mut papers.back);
            papers.away = papers.away.saturating_sub(back.len());
            let out = if papers.away == 0 {
                mem::take(&mut papers.out)
            } else {
                Vec::new()
            };
            papers.away = papers.away.saturating_add(out.len());
            (out, back, papers.writer.clone())
        };
        let open = writer.is_some();
        if let Some(inbox) = writer {
            self.file(out, &inbox);
        }
        for (caller, filed) in back {
            // A caller that went away at this very moment was answered by nobody.
            let _ = caller.send(filed);
        }
        open
    }

    /// Writes events here, where a thread may do that: to wake the writer for them, and to be woken by it, costs more
    /// than to write them.
    fn file(&self, events: Vec<Queued>, inbox: &Sender<Message>) {
        if events.is_empty() {
            return;
        }
        match threads::at_risk() {
            Some(_at_risk) => self.pen.write(events, inbox),
            None => send(events, Some(inbox)),
        }
    }

    /// What was handed in is recorded, though nobody may wait for it any more; nothing more is taken.
    fn close(&self) {
        let (out, back, writer) = {
            let mut papers = self.papers();
            let (out, back) = (mem::take(&mut papers.out), mem::take(&mut papers.back));
            (out, back, papers.writer.take())
        };
        send(out, writer.as_ref());
        drop(back);
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        // Whole whenever the lock is released.
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the journal is closed, events are dropped, and who waits for them learns that.
fn send(events: Vec<Queued>, writer: Option<&Sender<Message>>) {
    let writer = writer.filter(|_| !events.is_empty());
    let _ = writer.map(|writer| writer.send(Message::Record(events)));
}

/// Whoever waits for an event, at the desk where it was handed in. Dropped without an answer, it says that the journal
/// is closed.
pub(super) struct Waiting {
    /// `None` once it is answered.
    caller: Option<oneshot::Sender<Filed>>,
    desk: Arc<Desk>,
}

impl Waiting {
    pub(super) const fn at(desk: Arc<Desk>, caller: oneshot::Sender<Filed>) -> Self {
        let caller = Some(caller);
        Self { caller, desk }
    }

    /// Whether it does not wait any more.
    pub(super) fn is_gone(&self) -> bool {
        self.caller.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Puts the answer on the desk, and notes in `bells` that there is one.
    pub(super) fn answer(mut self, filed: Filed, bells: &mut Bells) {
        if self.put_down(filed) {
            bells.note(&self.desk);
        }
    }

    /// Whether nothing was said before.
    fn put_down(&mut self, filed: Filed) -> bool {
        let Some(caller) = self.caller.take() else {
            return false;
        };
        self.desk.put(|papers| papers.back.push((caller, filed)));
        true
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.put_down(Err(AuditUnavailable::Closed)) {
            self.desk.ring();
        }
    }
}

/// The desks on which answers lie that nobody was told of yet: each is told once for all of them.
#[derive(Default)]
pub(super) struct Bells(Vec<Arc<Desk>>);

impl Bells {
    fn note(&mut self, desk: &Arc<Desk>) {
        if !self.0.iter().any(|noted| Arc::ptr_eq(noted, desk)) {
            self.0.push(Arc::clone(desk));
        }
    }

    pub(super) fn ring(&mut self) {
        self.0.drain(..).for_each(|desk| desk.ring());
    }
}

/// Carries the papers of a desk.
struct Attendant(Arc<Desk>);

impl Attendant {
    async fn attend(self) {
        let desk = &self.0;
        let mut pulse = pin!(sleep(PULSE));
        let (mut beats, mut came) = (true, false);
        loop {
            tokio::select! {
                biased;
                () = desk.bell.notified() => {
                    if !desk.carry() {
                        return;
                    }
                    came = true;
                    if !mem::replace(&mut beats, true) {
                        pulse.as_mut().reset(Instant::now() + PULSE);
                    }
                }
                () = &mut pulse, if beats => {
                    beats = mem::take(&mut came);
                    if beats {
                        pulse.as_mut().reset(Instant::now() + PULSE);
                    }
                }
            }
        }
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
