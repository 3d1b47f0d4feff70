//! Requests that come in a stream: each is answered for itself, as many at a time as a limit says.

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use tracing::Instrument;

use crate::connections::Held;
use crate::observe::Context;

/// The answers of `answer` to the messages of `request`, each when it is there, `limit` of them at a
/// time; no further one is read meanwhile. The stream ends when the messages do and all of them are
/// answered, when its client goes away, or, after what runs, when `stopping` becomes true, as it
/// does once.
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
    // Dropped at the end of this function, which ends what nobody waits for.
    let mut running = JoinSet::new();
    let mut open = !*stopping.borrow();
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
                // What is no message at all leaves nothing to go on with.
                Err(status) => {
                    let _ = answers.send(Err(status)).await;
                    return;
                }
            },
            () = answers.closed() => return,
            // It changes once, when the server stops.
            _ = stopping.changed(), if open => open = false,
        }
    }
}
