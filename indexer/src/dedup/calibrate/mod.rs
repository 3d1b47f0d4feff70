//! Precision and recall by threshold, from pairs that people judged.
//!
//! A file of labels is CSV with a heading: `verdict` (`right`: the two are duplicates, `wrong`, or
//! empty: not judged), `score` where the pair's score is not looked up, and the names of the rows:
//! `key_a` and `key_b`, or `id_a` and `id_b`. Where `old_a` or `old_b` is `true`, the row is of the
//! other index, which may have a row of the same name. The report saves such files, and
//! [`write_sample`] writes one without verdicts.
//!
//! Pairs of a stratified sample have their `band` and `band_pairs`, the number of pairs that the
//! band has. Each judged pair of a band stands for as many as `band_pairs` divided by the judged
//! ones. With such pairs in a file, those without a band are left out: nobody knows for how many
//! they stand.
//!
//! Recall is the share of the right pairs that were judged, or that judged ones stand for: pairs
//! that the join did not report are not in it.

mod curve;
mod labels;
mod sample;
#[cfg(test)]
mod tests;

pub use curve::{Calibration, Point, calibrate};
pub(super) use labels::read_wrong;
pub use labels::{JudgedPair, Judgements, LabelCounts, Name, RowName, look_up, read_labels};
pub use sample::{SampledPair, sample, write_sample};
