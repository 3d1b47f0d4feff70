//! `ocelli.v1.SearchService`.

use std::time::{Duration, Instant};

use ocelli_proto::v1;
use ocelli_proto::v1::search_service_server::SearchService;
use ocelli_service::server::deadline;
use ocelli_service::stream::answer_each;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Adapter, stream};
use crate::convert::{self, fitting};
use crate::limit::{SMALLER_BATCH, SMALLER_HITS, SMALLER_IMAGES};

/// The message, the time of its arrival, and the time that its client waits.
fn unwrap<T>(request: Request<T>) -> (T, Instant, Option<Duration>) {
    let time_left = deadline(request.metadata());
    (request.into_inner(), Instant::now(), time_left)
}

impl Adapter {
    /// The largest message in bytes.
    fn limit(&self) -> usize {
        self.0.config().max_message_bytes
    }
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
        Ok(Response::new(fitting(convert::response(answer), self.limit(), SMALLER_HITS)?))
    }

    async fn batch_search(
        &self,
        request: Request<v1::BatchSearchRequest>,
    ) -> Result<Response<v1::BatchSearchResponse>, Status> {
        let (request, arrival, time_left) = unwrap(request);
        let batch = convert::batch(request);
        let answer = self.0.search_batch(batch, arrival, time_left).await?;
        Ok(Response::new(fitting(convert::batch_response(answer), self.limit(), SMALLER_BATCH)?))
    }

    type StreamSearchStream = ReceiverStream<Result<v1::StreamSearchResponse, Status>>;

    async fn stream_search(
        &self,
        request: Request<Streaming<v1::StreamSearchRequest>>,
    ) -> Result<Response<Self::StreamSearchStream>, Status> {
        let deadline = deadline(request.metadata()).map(|left| Instant::now() + left);
        let (limit, stopping) = (self.0.config().max_stream_queries, self.0.stopping());
        let (searcher, admission) = (self.0.clone(), self.0.admission()?);
        let one =
            move |request| stream::one(searcher.clone(), admission.clone(), request, deadline);
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
        let limit = self.limit();
        let responses = convert::range_responses(answer, limit).into_iter();
        let responses = responses.map(|response| Ok(fitting(response, limit, SMALLER_HITS)?));
        Ok(Response::new(tokio_stream::iter(responses.collect::<Vec<_>>())))
    }

    async fn get_vectors(
        &self,
        request: Request<v1::GetVectorsRequest>,
    ) -> Result<Response<v1::GetVectorsResponse>, Status> {
        let (request, arrival, time_left) = unwrap(request);
        let answer = self.0.vectors(convert::images(request), arrival, time_left).await?;
        let response = convert::vectors_response(answer);
        Ok(Response::new(fitting(response, self.limit(), SMALLER_IMAGES)?))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let (request, arrival, time_left) = unwrap(request);
        let query = convert::inner_query(request.search)?;
        let answer = self.0.explain(query, arrival, time_left).await?;
        Ok(Response::new(fitting(convert::explain_response(answer), self.limit(), SMALLER_HITS)?))
    }
}
