//! One query of a stream.

use std::sync::Arc;
use std::time::Instant;

use ocelli_proto::v1;
use ocelli_proto::v1::stream_search_response::Outcome;

use crate::convert;
use crate::error::Result;
use crate::service::Searcher;

/// The answer to `request`, or why there is none; its client waits until `deadline`.
pub async fn one(
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
