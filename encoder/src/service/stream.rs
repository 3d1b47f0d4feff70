//! A stream of images: each is answered for itself, as many at a time as the limit says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_proto::observe::Context;
use ocelli_proto::v1;
use ocelli_proto::v1::stream_encode_response::Outcome;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::Instrument;

use super::{Encoder, ServiceError, grpc};

type Answer = Result<v1::StreamEncodeResponse, Status>;

/// The answers to `requests`, each when it is there. The stream ends when its requests do and all of them are
/// answered, when its client goes away, or when the server stops.
pub(super) fn answer(
    encoder: Arc<Encoder>,
    requests: Streaming<v1::StreamEncodeRequest>,
    time_left: Option<Duration>,
) -> ReceiverStream<Answer> {
    let (sender, receiver) = mpsc::channel(encoder.max_stream_images);
    let deadline = time_left.map(|left| Instant::now() + left);
    let drive = drive(encoder, requests, sender, deadline);
    tokio::spawn(Context::current().attach(drive));
    ReceiverStream::new(receiver)
}

async fn drive(
    encoder: Arc<Encoder>,
    mut requests: Streaming<v1::StreamEncodeRequest>,
    answers: mpsc::Sender<Answer>,
    deadline: Option<Instant>,
) {
    let limit = encoder.max_stream_images;
    let mut stopping = encoder.stopping.subscribe();
    // Dropped at the end of this function, which ends what nobody waits for.
    let mut running = JoinSet::new();
    let mut open = !*stopping.borrow();
    while open || !running.is_empty() {
        tokio::select! {
            // An image that was answered makes room for the next.
            Some(answered) = running.join_next() => {
                let Ok(answered) = answered else { continue };
                if answers.send(Ok(answered)).await.is_err() {
                    return;
                }
            }
            request = requests.message(), if open && running.len() < limit => match request {
                Ok(Some(request)) => {
                    let one = one(Arc::clone(&encoder), request, deadline);
                    let image = one.instrument(tracing::debug_span!("image"));
                    running.spawn(Context::current().attach(image));
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

async fn one(
    encoder: Arc<Encoder>,
    request: v1::StreamEncodeRequest,
    deadline: Option<Instant>,
) -> v1::StreamEncodeResponse {
    let time_left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let answer = match request.encode {
        Some(request) => encoder.encode(request.into(), time_left).await,
        None => Err(ServiceError::field("encode", "encode: expected an image, found none")),
    };
    let outcome = match answer {
        Ok(answer) => Outcome::Response(grpc::response(answer, &encoder)),
        Err(error) => Outcome::Error(error.into()),
    };
    v1::StreamEncodeResponse { tag: request.tag, outcome: Some(outcome) }
}
