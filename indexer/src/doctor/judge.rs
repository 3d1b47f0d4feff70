//! One model, judged on descriptors that it was not trained on.

use std::cmp::Ordering;

use ocelli_index::{Encoded, Metric, Model, RowEncoder, RowEncoderScratch};
use ocelli_vector::dense::l2_sq;
use rayon::prelude::*;
use serde::Serialize;

use super::NEIGHBOURS;
use crate::Result;
use crate::sample::BLOCK_ROWS;

/// Descriptors of a collection.
pub(super) struct Sample {
    /// Dimension of a descriptor.
    pub(super) dim: usize,
    /// Descriptors that are judged, (n, dim).
    pub(super) judged: Vec<f32>,
    /// Numbers of the judged descriptors that are queries.
    pub(super) queries: Vec<usize>,
    /// Descriptors to train on, (n, dim).
    pub(super) others: Vec<f32>,
}

/// What a model does to the judged descriptors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// Lists of the model.
    pub nlist: usize,
    /// The part that codes lose: the mean of ‖x − x̂‖² over the variance of x.
    pub error: f64,
    /// The share of each query's [`NEIGHBOURS`] nearest that are among as many nearest by their
    /// codes, with all lists scanned. The query itself takes no part.
    pub recall: f64,
}

impl Sample {
    /// The nearest of the judged rows of each query, by the descriptors themselves, in order of
    /// their numbers.
    pub(super) fn nearest(&self, metric: Metric) -> Vec<Vec<u32>> {
        let query = |&q: &usize| {
            let x = &self.judged[q * self.dim..][..self.dim];
            nearest(metric, x, &self.judged, self.dim, q)
        };
        self.queries.par_iter().map(query).collect()
    }

    /// The mean squared distance of the judged rows to their mean.
    pub(super) fn variance(&self) -> f64 {
        let n = (self.judged.len() / self.dim) as f64;
        let mut mean = vec![0f64; self.dim];
        for x in self.judged.chunks_exact(self.dim) {
            mean.iter_mut().zip(x).for_each(|(m, &x)| *m += f64::from(x) / n);
        }
        let squares = self
            .judged
            .chunks_exact(self.dim)
            .map(|x| x.iter().zip(&mean).map(|(&x, m)| (f64::from(x) - m).powi(2)).sum::<f64>());
        squares.sum::<f64>() / n
    }
}

/// The [`NEIGHBOURS`] best of `rows` (n, dim) for `q` but for row `itself`, in order of their
/// numbers; ties go to the smaller number.
fn nearest(metric: Metric, q: &[f32], rows: &[f32], dim: usize, itself: usize) -> Vec<u32> {
    let score = |(i, x): (usize, &[f32])| (metric.of(q, x), i as u32);
    let mut scored: Vec<(f32, u32)> = rows.chunks_exact(dim).enumerate().map(score).collect();
    scored.swap_remove(itself);
    let order =
        |a: &(f32, u32), b: &(f32, u32)| -> Ordering { metric.order(a.0, b.0).then(a.1.cmp(&b.1)) };
    let k = NEIGHBOURS.min(scored.len());
    if k < scored.len() {
        scored.select_nth_unstable_by(k, order);
        scored.truncate(k);
    }
    let mut numbers: Vec<u32> = scored.into_iter().map(|(_, i)| i).collect();
    numbers.sort_unstable();
    numbers
}

/// Codes the judged rows by a model and looks for `expected`, the nearest ones of each query: the
/// judgement, and the recall of each query.
pub(super) fn judge(
    model: &Model,
    sample: &Sample,
    expected: &[Vec<u32>],
) -> Result<(Judgement, Vec<f64>)> {
    let (p, dim) = (model.parts(), sample.dim);
    let encoder = RowEncoder::new(model);
    let blocks: Vec<(Vec<f32>, f64)> = sample
        .judged
        .par_chunks(BLOCK_ROWS.min(1024) * dim)
        .map(|block| {
            let (mut scratch, mut coded) = (RowEncoderScratch::default(), Encoded::default());
            encoder.encode(block, &mut scratch, &mut coded)?;
            let mut decoded = Vec::with_capacity(coded.z.len());
            let mut lost = 0f64;
            let rows = coded.lists.iter().zip(coded.codes.chunks_exact(p.m));
            for ((&list, code), x) in rows.zip(block.chunks_exact(dim)) {
                decoded.extend(model.decode(list, code));
                lost += f64::from(l2_sq(x, &model.reconstruct(list, code)));
            }
            Ok((decoded, lost))
        })
        .collect::<Result<_>>()?;
    let lost: f64 = blocks.iter().map(|(_, lost)| lost).sum();
    let decoded: Vec<f32> = blocks.into_iter().flat_map(|(z, _)| z).collect();
    let recalls: Vec<f64> = sample
        .queries
        .par_iter()
        .zip(expected)
        .map(|(&q, expected)| {
            let query = model.prepare(&sample.judged[q * dim..][..dim])?;
            let found = nearest(p.metric, &query.z, &decoded, p.d, q);
            let common = found.iter().filter(|i| expected.binary_search(i).is_ok()).count();
            Ok(common as f64 / expected.len().max(1) as f64)
        })
        .collect::<Result<_>>()?;
    let n = (sample.judged.len() / dim) as f64;
    let variance = sample.variance();
    let judgement = Judgement {
        nlist: p.nlist,
        error: if variance > 0.0 { lost / n / variance } else { 0.0 },
        recall: recalls.iter().sum::<f64>() / recalls.len().max(1) as f64,
    };
    Ok((judgement, recalls))
}
