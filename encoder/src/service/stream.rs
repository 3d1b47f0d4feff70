//! One image of a stream.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ocelli_proto::v1;
use ocelli_proto::v1::stream_encode_response::Outcome;
use tokio::sync::Notify;

use super::{Encoder, Request, ServiceError, grpc};

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

/// The answer to `request` of the stream that has `in_work`, or why there is none; its client waits
/// until `deadline`.
pub(super) async fn one(
    encoder: Arc<Encoder>,
    in_work: Arc<InWork>,
    request: v1::StreamEncodeRequest,
    deadline: Option<Instant>,
) -> v1::StreamEncodeResponse {
    let time_left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let answer = match request.encode {
        Some(request) => {
            encoder.encode_beside(Request::from(request), time_left, Some(&in_work)).await
        }
        None => Err(ServiceError::field("encode", "encode: expected an image, found none")),
    };
    let outcome = match answer {
        Ok(answer) => Outcome::Response(grpc::response(answer, &encoder)),
        Err(error) => Outcome::Error(error.into()),
    };
    v1::StreamEncodeResponse { tag: request.tag, outcome: Some(outcome) }
}
