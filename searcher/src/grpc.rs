//! `ocelli.v1.SearchService`: unwrap, call the service, convert.

use std::sync::Arc;
use std::time::Instant;

use ocelli_proto::server::deadline;
use ocelli_proto::v1;
use ocelli_proto::v1::search_service_server::{SearchService, SearchServiceServer};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::convert;
use crate::service::Searcher;

/// The services of this server, for health reports.
pub const SERVICE_NAMES: [&str; 1] = ["ocelli.v1.SearchService"];

struct Adapter(Arc<Searcher>);

/// The routes that answer from `searcher`, with requests of at most `max_message_bytes`.
pub fn routes(searcher: Arc<Searcher>, max_message_bytes: usize) -> Routes {
    let service = SearchServiceServer::new(Adapter(searcher));
    Routes::new(service.max_decoding_message_size(max_message_bytes))
}

#[tonic::async_trait]
impl SearchService for Adapter {
    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let arrival = Instant::now();
        let time_left = deadline(request.metadata());
        let query = convert::query(request.into_inner())?;
        let answer = self.0.search(query, arrival, time_left).await?;
        Ok(Response::new(convert::response(answer)))
    }
}
