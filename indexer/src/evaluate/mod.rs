//! Retrieval quality against ground truth: mean average precision (mAP).
//!
//! Two protocols. *Named queries*, each a photo and a box in it. In the official setup of Oxford5k
//! and Paris6k (Philbin et al., CVPR 2007) good and ok photos are positive, junk ones are taken out
//! of the ranking, and the query's own photo stays in the database; the setups easy, medium and
//! hard of Revisited Oxford and Paris (Radenović et al., CVPR 2018) are [`Setup`]'s.
//! *Leave-one-out*: every labelled photo queries, the others of its label are positive, itself is
//! taken out.
//!
//! The database is a [`Ranking`]: exact float descriptors, or an index searched through all lists.

pub mod answers;
mod average_precision;
pub mod bootstrap;
pub mod compare;
pub mod dataset;
pub mod expect;
pub mod files;
mod groundtruth;
pub mod judge;
pub mod measures;
mod names;
pub mod page;
mod protocol;
mod queries;
pub mod ranking;
pub mod report;
pub mod run;
pub mod vectors;

pub use average_precision::average_precision;
pub use groundtruth::{BoundingBox, GroundTruth, Query, RevisitedQuery, Setup};
pub use measures::Ties;
pub use protocol::{Judging, MapReport, QueryScore, leave_one_out, named_queries};
pub use queries::{QueryList, write_query_list};
pub use ranking::{ExactRanking, IndexRanking, IndexSearch, Ranked, Ranking, Rerank};
