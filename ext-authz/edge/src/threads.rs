//! The threads that answer. A connection stays on one of them, with all its calls, so that a warm call wakes no other
//! thread of ours: that would cost more than the call itself.

use std::{io, sync::Arc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

#[cfg(test)]
mod tests;

/// The threads of one edge. They end when this is dropped.
pub(crate) struct Threads {
    first: Thread,
    others: Vec<Thread>,
}

struct Thread {
    runtime: Handle,
    /// Held by this, and once by each of its connections.
    connections: Arc<()>,
    /// Dropped at the end.
    _running: oneshot::Sender<()>,
}

/// A thread, taken by one connection until this is dropped.
pub(crate) struct Seat {
    /// Where the connection's work is done.
    pub(crate) runtime: Handle,
    _connection: Arc<()>,
}

impl Threads {
    /// Starts as many as the process has processors.
    pub(crate) fn start() -> io::Result<Self> {
        let number = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            first: Thread::start(0)?,
            others: (1..number).map(Thread::start).collect::<Result<_, _>>()?,
        })
    }

    /// A place on the thread with the fewest connections.
    pub(crate) fn seat(&self) -> Seat {
        let taken = |thread: &Thread| Arc::strong_count(&thread.connections);
        let emptier = |one, other| {
            if taken(other) < taken(one) {
                other
            } else {
                one
            }
        };
        let thread = self.others.iter().fold(&self.first, emptier);
        Seat {
            runtime: thread.runtime.clone(),
            _connection: Arc::clone(&thread.connections),
        }
    }
}

impl Thread {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        let answering = move || {
            // The only message is the end of the other half.
            let _ = runtime.block_on(ended);
            // A blocking piece of work that hangs on a disk must not keep the thread.
            runtime.shutdown_background();
        };
        thread::Builder::new()
            .name(format!("answers-{number}"))
            .spawn(answering)?;
        Ok(Self {
            runtime: handle,
            connections: Arc::default(),
            _running: running,
        })
    }
}
