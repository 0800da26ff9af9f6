//! Work that is not waited for beyond a moment.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use tokio::time::{Instant, error::Elapsed, timeout_at};

/// What comes of `work`, unless that takes longer than `until`. What is done at once, as nearly every call is, costs no
/// timer; anything else is polled once more with one.
pub(crate) async fn by<F: Future>(until: Instant, work: F) -> Result<F::Output, Elapsed> {
    let mut work = pin!(work);
    let at_once = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    if let Poll::Ready(done) = at_once {
        return Ok(done);
    }
    Box::pin(timeout_at(until, work)).await
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_waited_for_until_then_and_no_longer() {
        let began = Instant::now();
        let until = began + Duration::from_secs(2);
        assert_eq!(by(until, future::ready(1)).await, Ok(1));
        assert_eq!(began.elapsed(), Duration::ZERO);
        let later = async {
            sleep(Duration::from_secs(1)).await;
            2
        };
        assert_eq!(by(until, later).await, Ok(2));
        assert!(by(until, future::pending::<()>()).await.is_err());
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        // What is at hand is given, however late it is.
        assert_eq!(by(began, future::ready(3)).await, Ok(3));
    }
}
