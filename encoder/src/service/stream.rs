//! One image of a stream.

use std::sync::Arc;
use std::time::Instant;

use ocelli_proto::v1;
use ocelli_proto::v1::stream_encode_response::Outcome;

use super::{Encoder, ServiceError, grpc};

/// The answer to `request`, or why there is none; its client waits until `deadline`.
pub(super) async fn one(
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
