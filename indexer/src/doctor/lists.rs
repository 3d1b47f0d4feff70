//! How evenly the rows of a collection lie in a model's lists.

use ocelli_index::{Encoded, Model, RowEncoder, RowEncoderScratch, Snapshot};
use rayon::prelude::*;
use serde::Serialize;

use super::judge::Sample;
use crate::Result;

/// The lists of a model with the rows of a collection in them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lists {
    /// Number of lists.
    pub nlist: usize,
    /// Rows of the collection.
    pub rows: u64,
    /// Whether all rows were counted; otherwise lengths follow from a sample.
    pub counted: bool,
    /// Rows of the list in the middle, by length.
    pub median: f64,
    /// Rows of the longest list.
    pub longest: f64,
    /// Lists without a row.
    pub empty: usize,
    /// nlist · Σ n² / (Σ n)² over the lengths n: 1 for lists of equal length. Rows that a search
    /// scans grow with it.
    pub imbalance: f64,
}

impl Lists {
    /// The lists of an index.
    pub(super) fn of_index(index: &Snapshot) -> Result<Self> {
        let mut lengths = vec![0u64; index.model().parts().nlist];
        for shard in index.shards() {
            for (list, length) in lengths.iter_mut().enumerate() {
                *length += u64::from(shard.list(list as u32)?.len);
            }
        }
        let rows = lengths.iter().sum();
        Ok(Self::of_lengths(lengths, rows))
    }

    /// The lists that the rows of a sample fall into, for a collection of `rows`.
    pub(super) fn of_sample(model: &Model, sample: &Sample, rows: usize) -> Result<Self> {
        let encoder = RowEncoder::new(model);
        let lists: Vec<Vec<u32>> = [&sample.judged, &sample.others]
            .into_iter()
            .flat_map(|x| x.chunks(1024 * sample.dim))
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|block| {
                let (mut scratch, mut coded) = (RowEncoderScratch::default(), Encoded::default());
                encoder.encode(block, &mut scratch, &mut coded)?;
                Ok(coded.lists)
            })
            .collect::<Result<_>>()?;
        let mut lengths = vec![0u64; model.parts().nlist];
        for list in lists.iter().flatten() {
            lengths[*list as usize] += 1;
        }
        Ok(Self::of_lengths(lengths, rows as u64))
    }

    /// Lists of these lengths, of a collection of `rows`.
    pub(super) fn of_lengths(mut lengths: Vec<u64>, rows: u64) -> Self {
        lengths.sort_unstable();
        let nlist = lengths.len();
        let sum: u64 = lengths.iter().sum();
        let scale = rows as f64 / sum.max(1) as f64;
        let squares: f64 = lengths.iter().map(|&n| (n as f64).powi(2)).sum();
        let middle = lengths[(nlist - 1) / 2] + lengths[nlist / 2];
        Self {
            nlist,
            rows,
            counted: sum == rows,
            median: middle as f64 / 2.0 * scale,
            longest: lengths[nlist - 1] as f64 * scale,
            empty: lengths.iter().filter(|&&n| n == 0).count(),
            imbalance: nlist as f64 * squares / (sum.max(1) as f64).powi(2),
        }
    }
}
