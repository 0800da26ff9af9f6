//! Work that is carried to its end although who waits for it goes away. It becomes a task of its own only when it is
//! dropped half done: a task for each call would cost its making, its waking and a second look of the scheduler.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// Awaits `work`; if it is dropped before, the runtime goes on with it. A panic of the work ends the work alone.
pub(crate) struct ToItsEnd<F: Future + Send + 'static> {
    /// `None` once it is over.
    work: Option<Pin<Box<F>>>,
}

/// The work ended by a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

impl<F: Future + Send + 'static> ToItsEnd<F> {
    pub(crate) fn of(work: F) -> Self {
        let work = Some(Box::pin(work));
        Self { work }
    }
}

impl<F: Future + Send + 'static> Future for ToItsEnd<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(Err(Panicked));
        };
        // Nothing of the work is looked at again after a panic.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(_told_by_the_hook) => Err(Panicked),
        };
        self.work = None;
        Poll::Ready(outcome)
    }
}

impl<F: Future + Send + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        // Outside a runtime, which is at its end then, nothing goes on.
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            runtime.spawn(async move { drop(work.await) });
        }
    }
}

#[cfg(test)]
mod tests;
