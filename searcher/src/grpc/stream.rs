//! One query of a stream.

use std::sync::Arc;
use std::time::Instant;

use ocelli_proto::v1;
use ocelli_proto::v1::stream_search_response::Outcome;

use crate::convert;
use crate::error::Result;
use crate::limit::SMALLER_HITS;
use crate::pool::Admission;
use crate::service::Searcher;

/// The most bytes of a stream's answer beside the response in it.
const ENVELOPE_BYTES: usize = 32;

/// The answer to `request`, or its error. The stream was admitted; its client waits until
/// `deadline`.
pub async fn one(
    searcher: Arc<Searcher>,
    admission: Admission,
    request: v1::StreamSearchRequest,
    deadline: Option<Instant>,
) -> v1::StreamSearchResponse {
    let limit = searcher.config().max_message_bytes;
    let answer: Result<_> = match convert::inner_query(request.search) {
        Ok(query) => searcher.search_next(&admission, query, deadline).await,
        Err(error) => Err(error),
    };
    let response = answer.and_then(|answer| {
        convert::fitting(
            convert::response(answer),
            limit.saturating_sub(ENVELOPE_BYTES),
            SMALLER_HITS,
        )
    });
    let outcome = match response {
        Ok(response) => Outcome::Response(response),
        Err(error) => Outcome::Error(error.at("search").into()),
    };
    v1::StreamSearchResponse { tag: request.tag, outcome: Some(outcome) }
}
