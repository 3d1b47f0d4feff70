//! A stream of queries: each is answered for itself, as many at a time as the limit says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_proto::observe::Context;
use ocelli_proto::v1;
use ocelli_proto::v1::stream_search_response::Outcome;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::Instrument;

use crate::convert;
use crate::error::Result;
use crate::service::Searcher;

type Answer = std::result::Result<v1::StreamSearchResponse, Status>;

/// The answers to `requests`, each when it is there. The stream ends when its requests do and all of them are
/// answered, when its client goes away, or when the server stops.
pub fn answer(
    searcher: Arc<Searcher>,
    requests: Streaming<v1::StreamSearchRequest>,
    arrival: Instant,
    time_left: Option<Duration>,
) -> ReceiverStream<Answer> {
    let (sender, receiver) = mpsc::channel(searcher.limits().max_stream_queries);
    let drive = drive(searcher, requests, sender, time_left.map(|left| arrival + left));
    tokio::spawn(Context::current().attach(drive));
    ReceiverStream::new(receiver)
}

async fn drive(
    searcher: Arc<Searcher>,
    mut requests: Streaming<v1::StreamSearchRequest>,
    answers: mpsc::Sender<Answer>,
    deadline: Option<Instant>,
) {
    let limit = searcher.limits().max_stream_queries;
    let mut stopping = searcher.stopping();
    // Dropped at the end of this function, which ends what nobody waits for.
    let mut running = JoinSet::new();
    let mut open = !*stopping.borrow();
    while open || !running.is_empty() {
        tokio::select! {
            // A query that was answered makes room for the next.
            Some(answered) = running.join_next() => {
                let Ok(answered) = answered else { continue };
                if answers.send(Ok(answered)).await.is_err() {
                    return;
                }
            }
            request = requests.message(), if open && running.len() < limit => match request {
                Ok(Some(request)) => {
                    let one = one(Arc::clone(&searcher), request, deadline);
                    let query = one.instrument(tracing::debug_span!("query"));
                    running.spawn(Context::current().attach(query));
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
    searcher: Arc<Searcher>,
    request: v1::StreamSearchRequest,
    deadline: Option<Instant>,
) -> v1::StreamSearchResponse {
    let arrival = Instant::now();
    let time_left = deadline.map(|deadline| deadline.saturating_duration_since(arrival));
    let answer: Result<_> = match convert::inner_query(request.search) {
        Ok(query) => searcher.search(query, arrival, time_left).await,
        Err(error) => Err(error),
    };
    let outcome = match answer {
        Ok(answer) => Outcome::Response(convert::response(answer)),
        Err(error) => Outcome::Error(error.at("search").into()),
    };
    v1::StreamSearchResponse { tag: request.tag, outcome: Some(outcome) }
}
