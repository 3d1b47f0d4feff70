//! Judges a search by a data set's ground truth.
//!
//! A [`dataset::Dataset`] is what the files of a published set, or of a user's own list, say.
//! [`run`] opens what is searched ([`vectors`], [`ranking`]), ranks for each query ([`answers`]),
//! judges the rankings ([`mod@judge`]) by the formulas of [`measures`], and gives a
//! [`report::Report`]. Rankings may also come from another tool ([`files`]).
//!
//! [`prepare`] makes descriptors and indexes from the photos of a set. [`page`] shows what was
//! found, [`compare`] compares two reports, and [`expect`] holds a report against what is expected.

pub mod answers;
pub mod bootstrap;
pub mod compare;
pub mod dataset;
pub mod expect;
pub mod files;
pub mod judge;
pub mod list;
pub mod measures;
mod names;
pub mod page;
pub mod prepare;
pub mod queries;
pub mod ranking;
pub mod report;
pub mod run;
pub mod vectors;
