//! `ocelli.v1.SearchService`.

use std::time::{Duration, Instant};

use ocelli_proto::server::deadline;
use ocelli_proto::stream::answer_each;
use ocelli_proto::v1;
use ocelli_proto::v1::search_service_server::SearchService;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Adapter, stream};
use crate::convert;
use crate::service::Target;

/// The message, when it came, and the time that its client gives.
fn unwrap<T>(request: Request<T>) -> (T, Instant, Option<Duration>) {
    let time_left = deadline(request.metadata());
    (request.into_inner(), Instant::now(), time_left)
}

#[tonic::async_trait]
impl SearchService for Adapter {
    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let (request, arrival, time_left) = unwrap(request);
        let query = convert::query(request)?;
        let answer = self.0.search(query, arrival, time_left).await?;
        Ok(Response::new(convert::response(answer)))
    }

    async fn batch_search(
        &self,
        request: Request<v1::BatchSearchRequest>,
    ) -> Result<Response<v1::BatchSearchResponse>, Status> {
        let (request, arrival, time_left) = unwrap(request);
        let batch = convert::batch(request);
        let answer = self.0.search_batch(batch, arrival, time_left).await?;
        Ok(Response::new(convert::batch_response(answer)))
    }

    type StreamSearchStream = ReceiverStream<Result<v1::StreamSearchResponse, Status>>;

    async fn stream_search(
        &self,
        request: Request<Streaming<v1::StreamSearchRequest>>,
    ) -> Result<Response<Self::StreamSearchStream>, Status> {
        let deadline = deadline(request.metadata()).map(|left| Instant::now() + left);
        let (limit, stopping) = (self.0.limits().max_stream_queries, self.0.stopping());
        let searcher = self.0.clone();
        let one = move |request| stream::one(searcher.clone(), request, deadline);
        Ok(Response::new(answer_each(request, limit, stopping, one)))
    }

    type RangeSearchStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::RangeSearchResponse, Status>>>;

    async fn range_search(
        &self,
        request: Request<v1::RangeSearchRequest>,
    ) -> Result<Response<Self::RangeSearchStream>, Status> {
        let (request, arrival, time_left) = unwrap(request);
        let query = convert::range_query(request)?;
        let answer = self.0.search_range(query, arrival, time_left).await?;
        let responses = convert::range_responses(answer).into_iter().map(Ok);
        Ok(Response::new(tokio_stream::iter(responses.collect::<Vec<_>>())))
    }

    async fn get_vectors(
        &self,
        request: Request<v1::GetVectorsRequest>,
    ) -> Result<Response<v1::GetVectorsResponse>, Status> {
        let (request, arrival, time_left) = unwrap(request);
        let target = Target { index: request.index, generation: request.generation };
        let images = convert::images(request.images);
        let answer = self.0.vectors(target, images, arrival, time_left).await?;
        Ok(Response::new(convert::vectors_response(answer)))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let (request, arrival, time_left) = unwrap(request);
        let query = convert::inner_query(request.search)?;
        let answer = self.0.explain(query, arrival, time_left).await?;
        Ok(Response::new(convert::explain_response(answer)))
    }
}
