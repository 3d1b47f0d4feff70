//! The fit of a model to rows that it was not trained on.

use ocelli_index::{Encoded, Part, RowEncoder, RowEncoderScratch, Snapshot};
use rayon::prelude::*;
use serde::Serialize;

use crate::Result;
use crate::sample::count_rows;

/// Most rows that are looked at.
const MOST_ROWS: usize = 10_000;
/// Of so many rows one is looked at: to encode them twice is to cost little.
const ONE_OF: usize = 20;
/// Most bytes of their vectors.
const SAMPLE_BYTES: usize = 16 << 20;
/// Rows that lie together.
const BLOCK_ROWS: usize = 100;
/// Most rows that one thread encodes together.
const PIECE_ROWS: usize = 1024;
/// Fewer rows say little about their lists.
const LEAST_ROWS: usize = 1_000;
/// An error so many times that of the training rows is worth a warning.
const WORSE_ERROR: f64 = 1.25;
/// An imbalance so many times that of the index is worth a warning.
const WORSE_IMBALANCE: f64 = 2.0;

/// The fit of a model to new rows, beside that to the rows that it was made for. Errors are means
/// of squared lengths.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fit {
    /// Rows that were looked at; vectors only, codes tell nothing.
    pub rows: usize,
    /// Mean of ‖z − ẑ‖² of the new rows: the quantization error.
    pub error: Option<f64>,
    /// The same of the rows that the model was trained on, if the model says so.
    pub error_of_training: Option<f64>,
    /// Imbalance of the new rows' lists: the rows that a row meets in its own list, as a multiple
    /// of those that it would meet if lists were equally long. 1 is even.
    pub imbalance: Option<f64>,
    /// The same of the rows that the index has.
    pub imbalance_of_index: Option<f64>,
}

impl Fit {
    /// Sentences for what is worse than it was.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let worse = |new: Option<f64>, old: Option<f64>, by: f64| {
            new.zip(old).filter(|&(new, old)| new > by * old)
        };
        if let Some((new, old)) = worse(self.error, self.error_of_training, WORSE_ERROR) {
            warnings.push(format!(
                "the model fits the new rows badly: their quantization error is {new:.3e}, that of \
                 its training rows was {old:.3e} ({:.1} times); `ocelli rebuild` with a model \
                 trained on rows of both kinds",
                new / old
            ));
        }
        let imbalance = worse(self.imbalance, self.imbalance_of_index, WORSE_IMBALANCE);
        if let Some((new, old)) = imbalance.filter(|_| self.rows >= LEAST_ROWS) {
            warnings.push(format!(
                "the new rows crowd into few lists: imbalance {new:.1}, that of the index is \
                 {old:.1}; searches of these lists take longer: `ocelli rebuild` with a model \
                 trained on rows of both kinds"
            ));
        }
        warnings
    }
}

/// Measures the fit of an index's model to rows of `parts`, beside those of the index, with the
/// threads of the caller's pool.
pub(super) fn measure(parts: &[Part], index: &Snapshot) -> Result<Fit> {
    let model = index.model();
    let (dim, m, d) = (model.parts().dim, model.parts().m, model.parts().d);
    let x = sample(parts)?;
    debug_assert_eq!(x.len() % dim, 0, "whole rows");
    let encoder = RowEncoder::new(model);
    // The sum of errors and the lists of some rows.
    let look = |x: &[f32]| -> Result<(f64, Vec<u32>)> {
        let mut out = Encoded::default();
        encoder.encode(x, &mut RowEncoderScratch::default(), &mut out)?;
        let rows = out.z.chunks(d).zip(&out.lists).zip(out.codes.chunks(m));
        let error = |((z, &list), code): ((&[f32], &u32), &[u8])| {
            let decoded = model.decode(list, code);
            z.iter().zip(&decoded).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        Ok((rows.map(error).sum(), out.lists))
    };
    let pieces = x.par_chunks(encoder.rows_at_a_time().min(PIECE_ROWS) * dim).map(look);
    let pieces: Vec<(f64, Vec<u32>)> = pieces.collect::<Result<_>>()?;
    let mut lens = vec![0u64; model.parts().nlist];
    pieces.iter().flat_map(|(_, lists)| lists).for_each(|&list| lens[list as usize] += 1);
    let (rows, sum) = (x.len() / dim, pieces.iter().map(|(sum, _)| sum).sum::<f64>());
    let trained = model.parts().training.get("mse").and_then(|text| text.parse().ok());
    let mut of_index = vec![0u64; model.parts().nlist];
    for shard in index.shards() {
        for (list, len) in (0u32..).zip(&mut of_index) {
            *len += u64::from(shard.list(list)?.len);
        }
        shard.intact()?;
    }
    Ok(Fit {
        rows,
        error: (rows > 0).then(|| sum / rows as f64),
        error_of_training: trained,
        imbalance: imbalance(&lens),
        imbalance_of_index: imbalance(&of_index),
    })
}

/// Vectors (n, dim) of rows that lie all over the parts; of parts of codes none.
fn sample(parts: &[Part]) -> Result<Vec<f32>> {
    let dim = parts.first().map_or(1, Part::dim);
    let fitting = (SAMPLE_BYTES / (4 * dim)).max(BLOCK_ROWS);
    let most = (count_rows(parts) / ONE_OF).clamp(LEAST_ROWS, MOST_ROWS).min(fitting);
    let blocks = count_rows(parts).div_ceil(BLOCK_ROWS);
    let step = blocks.div_ceil(most / BLOCK_ROWS).max(1);
    let mut x = Vec::new();
    for part in parts.iter().filter(|part| part.code_form().is_none()) {
        for start in (0..part.rows()).step_by(BLOCK_ROWS * step) {
            x.extend(part.read(start..(start + BLOCK_ROWS).min(part.rows()))?);
        }
    }
    Ok(x)
}

/// Imbalance of lists of these lengths, free of the bias of few rows; none for fewer than two rows.
fn imbalance(lens: &[u64]) -> Option<f64> {
    let rows: u64 = lens.iter().sum();
    let pairs: f64 = lens.iter().map(|&len| len as f64 * (len as f64 - 1.0)).sum();
    (rows > 1).then(|| pairs * lens.len() as f64 / (rows as f64 * (rows as f64 - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_lists_have_imbalance_one_and_a_single_one_has_all() {
        let even = imbalance(&[1000; 10]).unwrap();
        assert!((even - 1.0).abs() < 0.01, "{even}");
        let one = imbalance(&[0, 0, 500, 0]).unwrap();
        assert!((one - 4.0).abs() < 1e-9, "{one}");
        assert_eq!(imbalance(&[1, 0]), None);
    }
}
