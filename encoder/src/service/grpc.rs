//! `ocelli.v1.EncoderService`: unwrap, call the encoder, convert.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_pictures::PixelBox;
use ocelli_proto::status::{detailed, item_error, retriable};
use ocelli_proto::v1;
use ocelli_proto::v1::encoder_service_server::{EncoderService, EncoderServiceServer};
use ocelli_proto::v1::stream_encode_response::Outcome;
use ocelli_service::server::deadline;
use ocelli_service::stream::answer_each;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::in_work::InWork;
use super::slot::Slot;
use super::{Answer, Encoder, ServiceError};

/// The services of this server, for health reports.
pub const SERVICE_NAMES: [&str; 1] = ["ocelli.v1.EncoderService"];

/// The routes that answer from the encoder of `slot`, with requests of at most `max_message_bytes`.
pub fn routes(slot: Arc<Slot>, max_message_bytes: usize) -> Routes {
    let service = EncoderServiceServer::new(Adapter(slot));
    Routes::new(service.max_decoding_message_size(max_message_bytes))
}

struct Adapter(Arc<Slot>);

#[tonic::async_trait]
impl EncoderService for Adapter {
    async fn encode(
        &self,
        request: Request<v1::EncodeRequest>,
    ) -> Result<Response<v1::EncodeResponse>, Status> {
        let time_left = deadline(request.metadata());
        let encoder = self.0.get()?;
        let answer = encoder.encode(request.into_inner().into(), time_left).await?;
        Ok(Response::new(response(answer, encoder)))
    }

    type StreamEncodeStream = ReceiverStream<Result<v1::StreamEncodeResponse, Status>>;

    async fn stream_encode(
        &self,
        request: Request<Streaming<v1::StreamEncodeRequest>>,
    ) -> Result<Response<Self::StreamEncodeStream>, Status> {
        let time_left = deadline(request.metadata());
        let deadline = time_left.map(|left| Instant::now() + left);
        let encoder = Arc::clone(self.0.get()?);
        let (limit, stopping) = (encoder.max_stream_images, self.0.stopping());
        let in_work = Arc::new(InWork::default());
        let answer =
            move |request| one(Arc::clone(&encoder), Arc::clone(&in_work), request, deadline);
        Ok(Response::new(answer_each(request, limit, stopping, answer)))
    }

    async fn get_spec(
        &self,
        _: Request<v1::GetSpecRequest>,
    ) -> Result<Response<v1::GetSpecResponse>, Status> {
        let spec = self.0.get()?.spec();
        Ok(Response::new(v1::GetSpecResponse {
            spec_hash: spec.hash().to_string(),
            spec_text: spec.canonical(),
            // A dimension is u32 in the spec itself.
            dim: spec.dim() as u32,
        }))
    }
}

/// The answer to one request of a stream, or the reason why there is none. `in_work` counts the
/// stream's images that are not answered; the client waits until `deadline`.
async fn one(
    encoder: Arc<Encoder>,
    in_work: Arc<InWork>,
    request: v1::StreamEncodeRequest,
    deadline: Option<Instant>,
) -> v1::StreamEncodeResponse {
    let time_left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let answer = match request.encode {
        Some(request) => {
            encoder.encode_beside(super::Request::from(request), time_left, Some(&in_work)).await
        }
        None => Err(ServiceError::field("encode", "encode: expected an image, found none")),
    };
    let outcome = match answer {
        Ok(answer) => Outcome::Response(response(answer, &encoder)),
        Err(error) => Outcome::Error(error.into()),
    };
    v1::StreamEncodeResponse { tag: request.tag, outcome: Some(outcome) }
}

impl From<v1::EncodeRequest> for super::Request {
    fn from(request: v1::EncodeRequest) -> Self {
        let bbox = request.r#box.map(|b| PixelBox {
            x0: b.x0.into(),
            y0: b.y0.into(),
            x1: b.x1.into(),
            y1: b.y1.into(),
        });
        super::Request { data: request.data, bbox, sizes: request.sizes }
    }
}

fn response(answer: Answer, encoder: &Encoder) -> v1::EncodeResponse {
    let us = |time: Duration| time.as_micros() as u64;
    v1::EncodeResponse {
        values: answer.values,
        spec_hash: encoder.spec().hash().to_string(),
        sizes_differ: answer.sizes_differ,
        times: Some(v1::EncodeTimes {
            queue_us: us(answer.queue_time),
            decode_us: us(answer.decode_time),
            compute_us: us(answer.compute_time),
        }),
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        match error.retry_after {
            Some(after) => retriable(error.code, error.message, error.reason, after),
            None => detailed(error.code, error.message, error.reason, error.field),
        }
    }
}

impl From<ServiceError> for v1::ItemError {
    fn from(error: ServiceError) -> Self {
        item_error(error.code, &error.message, error.reason, error.field)
    }
}
