//! The images of one stream that are in work.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::ServiceError;

/// The images of one stream that are let in and not answered. While there are any, a further one
/// that finds no room waits for one of them to end: a stream is never refused for what it has sent
/// itself.
#[derive(Debug, Default)]
pub(super) struct InWork {
    images: AtomicUsize,
    ended: Notify,
}

impl InWork {
    /// What `enter` gives, tried again whenever an image of this stream has ended, as long as there
    /// is one.
    ///
    /// # Errors
    /// Those of `enter`.
    pub(super) async fn enter<T>(
        &self,
        mut enter: impl FnMut() -> Result<T, ServiceError>,
    ) -> Result<(T, Counted<'_>), ServiceError> {
        loop {
            // Listens before it tries, so that no end is missed.
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            match enter() {
                Ok(place) => {
                    self.images.fetch_add(1, Ordering::SeqCst);
                    return Ok((place, Counted(self)));
                }
                Err(error)
                    if error.retry_after.is_some() && self.images.load(Ordering::SeqCst) > 0 =>
                {
                    ended.await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// An image of a stream that is in work.
pub(super) struct Counted<'a>(&'a InWork);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.images.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }
}
