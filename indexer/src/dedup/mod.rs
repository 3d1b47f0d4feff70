//! Deduplication: from an index to pairs of rows that show the same picture, to clusters, to what
//! stays, and to files for people and programs.
//!
//! | module | what it does |
//! |---|---|
//! | [`edge`] | pairs of rows with score and label |
//! | [`pairs`] | finds them: equal rows, the self-join, scores, labels |
//! | [`rows`] | the facts of rows, as the steps behind the join ask for them |
//! | [`keeper`] | the order in which rows are kept, by the user's rules |
//! | [`clusters`] | clusters that do not chain, and what each row is a duplicate of |
//! | [`output`] | tables, the summary, and the lists of what may be removed |
//! | [`report`] | the page on which people look at clusters and judge pairs |
//! | [`calibrate`] | precision and recall by threshold, from judged pairs |
//! | [`resolve`](mod@resolve) | what becomes of pairs, in one call |
//! | [`index_rows`], [`photos`] | facts of the rows of an index; what photos of pairs show |
//! | [`threshold`] | the threshold for a wanted precision |
//! | [`quarantine`] | moves listed files away, and puts them back |
//! | [`run`] | all of it, from options to files |

pub mod calibrate;
pub mod clusters;
pub mod edge;
pub mod index_rows;
pub mod keeper;
pub mod order;
pub mod output;
pub mod pairs;
pub mod photos;
pub mod quarantine;
pub mod report;
pub mod resolve;
pub mod rows;
pub mod run;
pub mod threshold;

mod files;
#[cfg(test)]
mod fixture;

pub use crate::sort::SortMemory;
pub use edge::{Edge, Label, RowNumber, ScoredBy};
pub use resolve::{ResolveOptions, Resolved, resolve};
