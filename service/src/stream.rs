//! Answers the requests of a stream one by one, up to a number at a time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use tracing::Instrument;

use crate::connections::Held;
use crate::observe::Context;
use ocelli_proto::status::{Code, retriable};
use ocelli_proto::v1::ErrorReason;

/// The pause after which the client of a stream that was cut off may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The answers of `answer` to the messages of `request`, each as soon as it is ready. `limit`
/// messages are answered at a time; while so many run, no further message is read.
///
/// The stream ends when all messages are answered, or when the client goes away. When `stopping`
/// becomes true, running messages are answered and the stream ends with UNAVAILABLE, because the
/// client may have sent more.
pub fn answer_each<Q, A, F>(
    request: Request<Streaming<Q>>,
    limit: usize,
    stopping: watch::Receiver<bool>,
    answer: impl Fn(Q) -> F + Send + 'static,
) -> ReceiverStream<Result<A, Status>>
where
    Q: Send + 'static,
    A: Send + 'static,
    F: Future<Output = A> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(limit);
    let drive = drive(request, limit, stopping, answer, sender);
    tokio::spawn(Context::current().attach(drive));
    ReceiverStream::new(receiver)
}

async fn drive<Q, A: Send + 'static, F: Future<Output = A> + Send + 'static>(
    request: Request<Streaming<Q>>,
    limit: usize,
    mut stopping: watch::Receiver<bool>,
    answer: impl Fn(Q) -> F,
    answers: mpsc::Sender<Result<A, Status>>,
) {
    let held = request.extensions().get::<Arc<Held>>().cloned();
    let mut requests = request.into_inner();
    // Dropped at the end of this function, which ends the answers that nobody waits for.
    let mut running = JoinSet::new();
    let mut open = !*stopping.borrow();
    let mut cut = !open;
    while open || !running.is_empty() {
        tokio::select! {
            // A request that was answered makes room for the next.
            Some(answered) = running.join_next() => {
                let Ok(answered) = answered else { continue };
                if answers.send(Ok(answered)).await.is_err() {
                    return;
                }
            }
            request = requests.message(), if open && running.len() < limit => match request {
                Ok(Some(request)) => {
                    // The bytes count until there is an answer.
                    let charge = held.as_ref().map(|held| held.take());
                    let item = answer(request).instrument(tracing::debug_span!("item"));
                    let item = item.inspect(move |_| drop(charge));
                    running.spawn(Context::current().attach(item));
                }
                Ok(None) => open = false,
                // After a malformed message, the next message cannot be found.
                Err(status) => {
                    let _ = answers.send(Err(status)).await;
                    return;
                }
            },
            () = answers.closed() => return,
            // `stopping` changes once, when the server stops.
            _ = stopping.changed(), if open => (open, cut) = (false, true),
        }
    }
    if cut {
        // An error: the client may have sent messages that were not read.
        let message = "the server stops; what it has not answered is to be asked again";
        let status = retriable(Code::Unavailable, message, ErrorReason::Unspecified, RETRY_AFTER);
        let _ = answers.send(Err(status)).await;
    }
}
