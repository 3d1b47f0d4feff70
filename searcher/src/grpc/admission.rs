//! Refuses requests before they are read if too many wait. A refusal must cost much less than an
//! answer.

use std::sync::Arc;

use ocelli_proto::v1::search_service_server::SERVICE_NAME;
use ocelli_service::observe::{Gate, Refusal};
use tonic::Status;

use crate::pool::Full;
use crate::service::Searcher;

/// The pool's admission, before the methods of the search service.
pub fn gate(searcher: Arc<Searcher>) -> Gate {
    let refusal = |full| Arc::new(Refusal::from(Status::from(searcher.refusal(full))));
    let (places, time) = (refusal(Full::Places), refusal(Full::Time));
    Gate::new(move |path| {
        let searches = path.strip_prefix('/').is_some_and(|path| path.starts_with(SERVICE_NAME));
        match searches.then(|| searcher.admits().err()).flatten()? {
            Full::Places => Some(Arc::clone(&places)),
            Full::Time => Some(Arc::clone(&time)),
        }
    })
}
