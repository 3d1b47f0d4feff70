//! The services of `ocelli.v1`: each method unwraps a request, calls the service, and converts the
//! answer.

mod admin;
pub mod admission;
mod search;
mod stream;

use std::sync::Arc;

use ocelli_proto::v1::admin_service_server::AdminServiceServer;
use ocelli_proto::v1::search_service_server::SearchServiceServer;
use tonic::service::Routes;

use crate::service::Searcher;

/// The names of the services, for health reports.
pub const SERVICE_NAMES: [&str; 2] = ["ocelli.v1.SearchService", "ocelli.v1.AdminService"];

/// The largest request of the administration.
const ADMIN_MESSAGE_BYTES: usize = 64 << 10;

struct Adapter(Arc<Searcher>);

/// The routes that answer from `searcher`, with requests of at most `max_message_bytes`.
pub fn routes(searcher: Arc<Searcher>, max_message_bytes: usize) -> Routes {
    let search = SearchServiceServer::new(Adapter(Arc::clone(&searcher)))
        .max_decoding_message_size(max_message_bytes);
    let admin =
        AdminServiceServer::new(Adapter(searcher)).max_decoding_message_size(ADMIN_MESSAGE_BYTES);
    Routes::new(search).add_service(admin)
}
