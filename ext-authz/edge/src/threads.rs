//! The threads that answer. A connection stays on one of them, with all its calls, so that a warm call wakes no other
//! thread of ours: that would cost more than the call itself.
//!
//! What such a thread does itself may hang, as a write to a disk does. Then another one takes its place ([`Threads::watch`]):
//! the connections of the one that hangs are ended, so that their peers come again, and it ends when it comes back.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::net::{Shutdown, shutdown};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{error, warn};

#[cfg(test)]
mod tests;

/// How often threads are looked at, at most.
const MOST_OFTEN: Duration = Duration::from_millis(100);

/// How long a thread that was replaced goes on after its last connection: a fetch that others wait for takes seconds.
const LINGER: Duration = Duration::from_secs(30);

/// Whether threads may do what can hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Risk {
    /// They may, and are replaced.
    Taken,
    /// They do not: what a connection waits for must go on, whatever hangs.
    Avoided,
}

/// The threads of one edge. They end when this is dropped.
pub(crate) struct Threads {
    running: Mutex<Running>,
    risk: Risk,
}

struct Running {
    first: Arc<Thread>,
    others: Vec<Arc<Thread>>,
    /// How many were started.
    started: usize,
}

struct Thread {
    runtime: Handle,
    place: Arc<Place>,
    /// The place when it was last looked at.
    seen: AtomicU64,
    connections: Mutex<Connections>,
    /// Told at the end of the edge; dropped with its last connection if it was replaced.
    until: Mutex<Option<oneshot::Sender<()>>>,
}

/// Where a thread is.
#[derive(Default)]
struct Place {
    /// Odd in the middle of what may hang, and another number each time.
    step: AtomicU64,
    /// Another one took its place.
    retired: AtomicBool,
}

#[derive(Default)]
struct Connections {
    open: HashMap<u64, OwnedFd>,
    next: u64,
}

/// A thread, taken by one connection until this is dropped.
pub(crate) struct Seat {
    thread: Arc<Thread>,
    number: u64,
}

thread_local! {
    /// Of a thread that is replaced if it hangs.
    static PLACE: RefCell<Option<Arc<Place>>> = const { RefCell::new(None) };
}

/// In the middle of what may hang, until this is dropped.
pub(crate) struct AtRisk(Arc<Place>);

/// Begins what may hang; `None` on a thread that must not do it, for nobody would take its place.
pub(crate) fn at_risk() -> Option<AtRisk> {
    let place = PLACE.with_borrow(Clone::clone)?;
    place.step.fetch_add(1, Ordering::Relaxed);
    Some(AtRisk(place))
}

/// Whether another thread took the place of this one.
pub(crate) fn is_retired() -> bool {
    let retired = |place: &Option<Arc<Place>>| {
        let place = place.as_ref();
        place.is_some_and(|place| place.retired.load(Ordering::Relaxed))
    };
    PLACE.with_borrow(retired)
}

impl Drop for AtRisk {
    fn drop(&mut self) {
        self.0.step.fetch_add(1, Ordering::Relaxed);
    }
}

impl Threads {
    /// Starts as many as the process has processors.
    pub(crate) fn start(risk: Risk) -> io::Result<Self> {
        let started = thread::available_parallelism().map_or(1, usize::from);
        let others = (1..started).map(|number| Thread::start(number, risk));
        let running = Running {
            first: Thread::start(0, risk)?,
            others: others.collect::<Result<_, _>>()?,
            started,
        };
        Ok(Self {
            running: Mutex::new(running),
            risk,
        })
    }

    /// A place on the thread with the fewest connections, for that one which is open as `connection`.
    pub(crate) fn seat(&self, connection: BorrowedFd<'_>) -> io::Result<Seat> {
        let handle = connection.try_clone_to_owned()?;
        let running = lock(&self.running);
        let emptier = |one, other| {
            if Thread::taken(other) < Thread::taken(one) {
                other
            } else {
                one
            }
        };
        let thread = running.others.iter().fold(&running.first, emptier);
        let number = lock(&thread.connections).add(handle);
        Ok(Seat {
            thread: Arc::clone(thread),
            number,
        })
    }

    /// Replaces threads that hang for longer than a call has `patience`, so that none is ended that would still be in
    /// time. It takes twice as long at most.
    pub(crate) async fn watch(&self, patience: Duration) {
        let mut looks = interval(patience.max(MOST_OFTEN));
        // Two looks at once would take any thread that is writing for one that hangs.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        let running = &mut *lock(&self.running);
        for thread in [&mut running.first].into_iter().chain(&mut running.others) {
            if !thread.hangs() {
                continue;
            }
            match Thread::start(running.started, self.risk) {
                Ok(new) => {
                    running.started = running.started.saturating_add(1);
                    let hanging = std::mem::replace(thread, new);
                    let connections = hanging.retire();
                    warn!(
                        connections,
                        "a thread hangs, probably on the disk of the audit journal; another one takes its place"
                    );
                }
                Err(error) => error!(%error, "a thread hangs, and no other one can be started"),
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let running = lock(&self.running);
        for thread in [&running.first].into_iter().chain(&running.others) {
            // One that has ended needs no word.
            let _ = lock(&thread.until).take().map(|until| until.send(()));
        }
    }
}

impl Thread {
    fn start(number: usize, risk: Risk) -> io::Result<Arc<Self>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (until, ended) = oneshot::channel();
        let place = Arc::new(Place::default());
        let replaced = (risk == Risk::Taken).then(|| Arc::clone(&place));
        let answering = move || {
            PLACE.set(replaced);
            runtime.block_on(async {
                if ended.await.is_err() {
                    // It was replaced, and its connections are over. Others may still wait for what they began.
                    sleep(LINGER).await;
                }
            });
            // A blocking piece of work that hangs on a disk must not keep the thread.
            runtime.shutdown_background();
        };
        thread::Builder::new()
            .name(format!("answers-{number}"))
            .spawn(answering)?;
        Ok(Arc::new(Self {
            runtime: handle,
            place,
            seen: AtomicU64::new(0),
            connections: Mutex::default(),
            until: Mutex::new(Some(until)),
        }))
    }

    fn taken(self: &Arc<Self>) -> usize {
        lock(&self.connections).open.len()
    }

    /// Whether it is where it was at the last look, in the middle of what may hang.
    fn hangs(&self) -> bool {
        let step = self.place.step.load(Ordering::Relaxed);
        self.seen.swap(step, Ordering::Relaxed) == step && step % 2 == 1
    }

    /// Ends its connections, as far as that can be done from another thread; their number.
    fn retire(&self) -> usize {
        self.place.retired.store(true, Ordering::Relaxed);
        let connections = lock(&self.connections);
        for connection in connections.open.values() {
            // One that is at its end already needs no other.
            let _ = shutdown(connection, Shutdown::Both);
        }
        connections.open.len()
    }
}

impl Connections {
    fn add(&mut self, connection: OwnedFd) -> u64 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.open.insert(number, connection);
        number
    }
}

impl Seat {
    /// Where the connection's work is done.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.thread.runtime
    }
}

/// With its last connection, a thread that was replaced ends.
impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.thread.connections).open.remove(&self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
