//! Search: one opened generation answers queries.
//!
//! A [`Snapshot`](snapshot::Snapshot) is an opened generation. A query passes through three stages:
//!
//! 1. *probe*: the query is transformed, and the lists with the nearest centroids are chosen;
//! 2. *scan* (`engine`): the codes of these lists are scanned in every shard;
//! 3. *refine* (`refine`): the best rows are scored again by their finer codes, where the index has
//!    them.
//!
//! `run` puts the stages together; [`join`] finds the near pairs among an index's own rows. `naive`
//! is the definition that the scan is tested against.

pub mod cancel;
pub(crate) mod engine;
pub mod filter;
pub mod hit;
pub mod join;
mod naive;
pub mod params;
mod reach;
mod refine;
mod run;
pub mod snapshot;
pub mod stages;

#[cfg(test)]
mod tests;
