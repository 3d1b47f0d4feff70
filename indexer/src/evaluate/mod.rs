//! Retrieval quality against ground truth: mean average precision (mAP).
//!
//! Two protocols. *Official*, of Oxford5k and Paris6k (Philbin et al., CVPR 2007): named queries,
//! each a photo and a box in it; good and ok photos are positive, junk ones are taken out of the
//! ranking, and the query's own photo stays in the database. *Leave-one-out*: every labelled photo
//! queries, the others of its label are positive, itself is taken out.
//!
//! The database is a [`Ranking`]: exact float descriptors, or an index searched through all lists.

mod average_precision;
mod groundtruth;
mod oxford;
mod protocol;
mod queries;
mod ranking;

pub use average_precision::average_precision;
pub use groundtruth::{BoundingBox, GroundTruth, Query};
pub use protocol::{MapReport, QueryScore, leave_one_out, official};
pub use queries::{QueryList, write_query_list};
pub(crate) use ranking::require_descriptors;
pub use ranking::{ExactRanking, IndexRanking, Ranking, Rerank};

/// The name that ground truth knows a key by: the last path element up to its last dot.
pub fn stem(key: &str) -> &str {
    let name = key.rsplit('/').next().unwrap_or(key);
    match name.rfind('.') {
        None | Some(0) => name,
        Some(dot) => &name[..dot],
    }
}
