//! Pairs of near rows of an index, or of two.
//!
//! 1. Rows that are equal are found by hashes ([`GroupCounts`]); one of them stands for the others.
//! 2. The index is joined with itself by its codes, list by list: what is near enough is scored
//!    again, by stored vectors, or else by finer codes, or else by codes. How near is near enough
//!    is measured on pairs of the index ([`Margin`]).
//! 3. Pairs that reach the threshold get a [`Label`](super::Label), by their perceptual hashes.
//! 4. A [`SecondOpinion`], where there is one, looks at the nearest pairs of each row, and may
//!    change their labels.
//!
//! [`dedup`] does all of it. [`plan`], [`task`] and [`commit`] do it by any number of processes;
//! the bytes of the result are the same. What grows with the number of pairs is sorted in bounded
//! memory; rows take two bits each.

mod budget;
mod edge_file;
mod finish;
mod groups;
mod join;
mod label;
mod looks;
mod margin;
mod opinion;
mod options;
mod plan;
mod row_set;
mod run;
mod score;
mod session;
mod vectors;

pub use edge_file::Edges;
pub use finish::{DedupReport, Found, JoinSummary, ResolveFn};
pub use groups::{GroupCounts, MOST_COMPARED};
pub use margin::Margin;
pub use opinion::{Look, Question, SecondOpinion, Side};
pub use options::{DEFAULT_LOOKS, DEFAULT_NPROBE, DEFAULT_PHASH_BITS, DedupOptions};
pub(super) use plan::work_folder;
pub use row_set::RowSet;
pub use run::{after, commit, dedup, plan, task};
pub use vectors::VectorCounts;
