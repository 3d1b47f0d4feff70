//! The steps of a training, each on rows `(n, width)`.

use std::time::Instant;

use ocelli_index::simd;
use ocelli_vector::encode::encode;
use ocelli_vector::{dense, encode, l2_normalize};
use rayon::prelude::*;

use super::{CoarseKmeans, LearnOpq, MAX_FLAT_NLIST, OpqRows, TrainOptions};
use crate::kmeans::{
    Comparisons, KmeansOptions, TwoLevelOptions, assign, codebooks, kmeans, two_level_kmeans,
    two_level_steps,
};
use crate::numbering::Numbering;
use crate::pca::{Covariance, Mean};
use crate::sample::{BLOCK_ROWS, SplitMix64, chosen_rows};
use crate::{Error, Progress, ProgressFn, Result};

/// Rows for each codeword that a codebook is trained on at most: FAISS's `max_points_per_centroid`.
const ROWS_PER_WORD: usize = 256;
/// Rows for each list below which codebooks are learned on residuals of centroids that have not
/// seen the row: see [`residuals`].
pub(super) const ROWS_PER_OWN_LIST: usize = 256;
/// Blocks of neighbouring rows that the two halves take in turn: a photo's regions stay together.
const HALVING_BLOCKS: usize = 64;
/// Rows that FAISS's OPQ takes at most.
const OPQ_ROWS: usize = 65_536;

/// Rows of one width.
pub(super) struct Rows {
    pub(super) x: Vec<f32>,
    pub(super) d: usize,
}

impl Rows {
    pub(super) fn n(&self) -> usize {
        self.x.len() / self.d
    }

    /// At most `count` of them, in order.
    fn sample(&self, count: usize, seed: u64) -> Self {
        self.chosen(&SplitMix64::new(seed).sorted_sample(self.n(), count.min(self.n())))
    }

    /// Rows of these numbers.
    fn chosen(&self, rows: &[usize]) -> Self {
        let x = chosen_rows(&self.x, self.d, rows.iter().copied());
        Self { x, d: self.d }
    }

    /// Whether a row is in the second half.
    fn in_second_half(&self, row: usize) -> bool {
        row / self.n().div_ceil(HALVING_BLOCKS) % 2 == 1
    }
}

/// z = R (x − mean), optionally divided by its norm.
#[derive(Default)]
pub(super) struct Transform {
    /// (dim,).
    pub(super) mean: Option<Vec<f32>>,
    /// (d, dim).
    pub(super) rotation: Option<Vec<f32>>,
    pub(super) renormalize: bool,
    /// Share of the variance that a PCA kept.
    pub(super) variance_kept: Option<f64>,
}

impl Transform {
    /// Learns what the options ask for.
    pub(super) fn learn(
        rows: &Rows,
        options: &TrainOptions,
        learn_opq: LearnOpq<'_>,
        stages: &mut Stages<'_>,
    ) -> Result<Self> {
        let mut this = Self { renormalize: options.renormalize, ..Self::default() };
        if let Some(kept) = options.dim.filter(|&kept| kept > 0) {
            this.rotation = Some(first_rows(kept, rows.d));
            this.renormalize = true;
        }
        if options.pca > 0 {
            stages.time("PCA", 0, |_| this.learn_pca(rows, options.pca))?;
        }
        if options.opq == Some(true) {
            let sample = rows.sample(OPQ_ROWS, u64::from(options.seed));
            let z = stages.time("transform", 0, |_| this.apply(sample))?;
            let TrainOptions { m, opq_niter: niter, threads, .. } = *options;
            let rows = OpqRows { x: &z.x, d: z.d, m, niter, threads };
            let turn = stages.time("OPQ", 0, |_| learn_opq(rows).map_err(Error::Opq))?;
            if turn.len() != z.d * z.d {
                return Err(Error::Invalid(format!(
                    "OPQ: expected a rotation of {} x {} values, found {}",
                    z.d,
                    z.d,
                    turn.len()
                )));
            }
            this.turn(turn, z.d);
        }
        Ok(this)
    }

    fn learn_pca(&mut self, rows: &Rows, d: usize) -> Result<()> {
        let mut mean = Mean::new(rows.d);
        rows.x.chunks(BLOCK_ROWS * rows.d).for_each(|block| mean.add(block));
        let mean = mean.finish();
        self.mean = Some(mean.iter().map(|&x| x as f32).collect());
        let mut covariance = Covariance::new(mean);
        rows.x.chunks(BLOCK_ROWS * rows.d).for_each(|block| covariance.add(block));
        let components = covariance.finish()?;
        let sum = |v: &[f64]| v.iter().map(|v| v.max(0.0)).sum::<f64>();
        let all = sum(&components.variances);
        let kept = sum(&components.variances[..d]);
        self.variance_kept = Some(if all > 0.0 { kept / all } else { 1.0 });
        self.rotation = Some(components.axes[..d].iter().flatten().map(|&x| x as f32).collect());
        Ok(())
    }

    /// Appends a rotation (d, d): R ← turn · R.
    fn turn(&mut self, turn: Vec<f32>, d: usize) {
        self.rotation = Some(match self.rotation.take() {
            None => turn,
            Some(first) => {
                let dim = first.len() / d;
                let rows = turn.par_chunks_exact(d).map(|weights| {
                    let mut sum = vec![0f64; dim];
                    for (&w, row) in weights.iter().zip(first.chunks_exact(dim)) {
                        sum.iter_mut()
                            .zip(row)
                            .for_each(|(s, &x)| *s += f64::from(w) * f64::from(x));
                    }
                    sum.into_iter().map(|x| x as f32).collect::<Vec<f32>>()
                });
                rows.flatten_iter().collect()
            }
        });
    }

    /// The rows as `Model::transform` makes them.
    pub(super) fn apply(&self, mut rows: Rows) -> Result<Rows> {
        let dim = rows.d;
        if let Some(mean) = &self.mean {
            rows.x
                .par_chunks_exact_mut(dim)
                .for_each(|x| x.iter_mut().zip(mean).for_each(|(x, m)| *x -= m));
        }
        if let Some(rotation) = &self.rotation {
            let d = rotation.len() / dim;
            let all: Vec<u32> = (0..d as u32).collect();
            let mut z = vec![0f32; rows.n() * d];
            z.par_chunks_exact_mut(d).zip(rows.x.par_chunks_exact(dim)).for_each_init(
                Vec::new,
                |out, (z, x)| {
                    dense::dots_of(simd(), x, rotation, &all, out);
                    z.copy_from_slice(out);
                },
            );
            rows = Rows { x: z, d };
        }
        if self.renormalize {
            let bad = rows
                .x
                .par_chunks_exact_mut(rows.d)
                .enumerate()
                .find_map_first(|(i, row)| (!l2_normalize(row)).then_some(i));
            if let Some(row) = bad {
                return Err(Error::Invalid(format!(
                    "training row {row} has no direction after the transform, and is to be \
                     normalised again"
                )));
            }
        }
        Ok(rows)
    }
}

/// The first `kept` rows of the unit matrix, (kept, dim).
fn first_rows(kept: usize, dim: usize) -> Vec<f32> {
    let mut rows = vec![0.0; kept * dim];
    rows.iter_mut().step_by(dim + 1).for_each(|one| *one = 1.0);
    rows
}

/// Whether `nlist` centroids are trained in two levels.
pub(super) fn in_two_levels(options: &TrainOptions) -> bool {
    match options.coarse {
        CoarseKmeans::Auto => options.nlist > MAX_FLAT_NLIST,
        CoarseKmeans::Flat => false,
        CoarseKmeans::TwoLevel => true,
    }
}

/// Coarse centroids (nlist, d).
pub(super) fn coarse(
    z: &Rows,
    options: &TrainOptions,
    stages: &mut Stages<'_>,
) -> Result<Vec<f32>> {
    let kmeans_options =
        KmeansOptions { niter: options.niter, seed: seed(options, 0), ..KmeansOptions::default() };
    if in_two_levels(options) {
        let two = TwoLevelOptions { kmeans: kmeans_options, ..TwoLevelOptions::default() };
        return stages.time("coarse k-means (two levels)", two_level_steps(&two), |step| {
            two_level_kmeans(&z.x, z.n(), z.d, options.nlist, &two, step)
        });
    }
    stages.time("coarse k-means", options.niter as u64, |step| {
        kmeans(&z.x, z.n(), z.d, options.nlist, &kmeans_options, step)
    })
}

/// What k-means compares on the way to centroids of `rows` rows of `d` coordinates, and to those of
/// their halves, which serve the codebooks.
pub(super) fn comparisons(rows: usize, d: usize, options: &TrainOptions) -> Comparisons {
    let kmeans = KmeansOptions { niter: options.niter, ..KmeansOptions::default() };
    let seen = rows.min(kmeans.max_points_per_centroid.saturating_mul(options.nlist));
    let [seen, d, lists, niter] = [seen, d, options.nlist, options.niter].map(|n| n as u64);
    if in_two_levels(options) {
        let two = TwoLevelOptions { kmeans, ..TwoLevelOptions::default() };
        return Comparisons::two_level(seen, d, lists, &two);
    }
    let all = Comparisons::flat(seen, d, lists, niter);
    if !is_cross_fitted(rows, options) {
        return all;
    }
    let half = Comparisons::flat(seen / 2, d, lists, niter);
    all + half + half
}

/// Codebooks, and how well they do.
pub(super) struct Quantizer {
    /// (m, ksub, d / m).
    pub(super) codebooks: Vec<f32>,
    pub(super) mse_coarse: f64,
    pub(super) mse: f64,
}

/// Whether codebooks are learned on residuals of centroids that have not seen the row.
pub(super) fn is_cross_fitted(rows: usize, options: &TrainOptions) -> bool {
    let lists = options.nlist;
    lists > 1 && !in_two_levels(options) && (4 * lists..ROWS_PER_OWN_LIST * lists).contains(&rows)
}

/// Residuals of a sample, and the mean of their squared norms.
///
/// A centroid of a few rows lies close to just these rows: their residuals are shorter than those
/// of rows to come, and codebooks of them fit badly. With few rows for each list, each half of the
/// rows is therefore compared with centroids of the other half. With 22,000 region vectors and
/// 1,024 lists that brought 3 to 4 points of mAP (Paris322, Holidays and UKBench, 8 to 32 bytes).
fn residuals(
    z: &Rows,
    coarse: &[f32],
    options: &TrainOptions,
    stages: &mut Stages<'_>,
) -> Result<(Rows, f64)> {
    let count = (ROWS_PER_WORD * options.ksub).min(z.n());
    let rows = SplitMix64::new(seed(options, 1)).sorted_sample(z.n(), count);
    let parts: Vec<(Rows, Vec<f32>)> = if is_cross_fitted(z.n(), options) {
        let halves = [false, true].map(|second| {
            let mine = |rows: &mut dyn Iterator<Item = usize>| -> Vec<usize> {
                rows.filter(|&row| z.in_second_half(row) == second).collect()
            };
            let centroids = self::coarse(&z.chosen(&mine(&mut (0..z.n()))), options, stages)?;
            Ok::<_, Error>((z.chosen(&mine(&mut rows.iter().copied())), centroids))
        });
        let [first, second] = halves;
        let ((first, of_first), (second, of_second)) = (first?, second?);
        vec![(first, of_second), (second, of_first)]
    } else {
        vec![(z.chosen(&rows), coarse.to_vec())]
    };
    let d = z.d;
    let (mut x, mut squared) = (Vec::with_capacity(count * d), 0.0);
    for (mut rows, centroids) in parts {
        let lists = stages.time("assign", 0, |_| assign(&rows.x, d, &centroids))?;
        squared += lists.iter().map(|&(_, x)| f64::from(x)).sum::<f64>();
        rows.x.par_chunks_exact_mut(d).zip(&lists).for_each(|(row, &(list, _))| {
            let centroid = &centroids[list as usize * d..][..d];
            row.iter_mut().zip(centroid).for_each(|(z, c)| *z -= c);
        });
        x.append(&mut rows.x);
    }
    Ok((Rows { x, d }, squared / count as f64))
}

/// Codebooks of the residuals of a sample, at most 256 rows a codeword.
pub(super) fn quantizer(
    z: &Rows,
    coarse: &[f32],
    options: &TrainOptions,
    stages: &mut Stages<'_>,
) -> Result<Quantizer> {
    let (m, ksub, d) = (options.m, options.ksub, z.d);
    let (residuals, mse_coarse) = residuals(z, coarse, options, stages)?;
    let n = residuals.n();

    let codebooks = stages.time("product quantizer", m as u64, |step| {
        codebooks(&residuals.x, d, m, ksub, options.niter, |sub| seed(options, 2 + sub), step)
    })?;
    let codebooks = Numbering::of(&codebooks, m, ksub, coarse).books(&codebooks);

    let transposed = encode::transpose(&codebooks, m, ksub);
    let errors: Vec<f64> = residuals
        .x
        .par_chunks(BLOCK_ROWS * d)
        .map(|x| {
            let codes = x.len() / d * m;
            let (mut codes, mut errors) = (vec![0; codes], vec![0.0; codes]);
            encode(simd(), x, &transposed, m, ksub, &mut codes, &mut errors);
            errors.iter().map(|&e| f64::from(e)).sum()
        })
        .collect();
    Ok(Quantizer { codebooks, mse_coarse, mse: errors.iter().sum::<f64>() / n as f64 })
}

fn seed(options: &TrainOptions, stage: u64) -> u64 {
    SplitMix64::new(u64::from(options.seed)).next().wrapping_add(stage)
}

/// Measures the time of stages, and reports their progress.
pub(super) struct Stages<'a> {
    pub(super) progress: ProgressFn<'a>,
    pub(super) seconds: Vec<(&'static str, f64)>,
}

impl Stages<'_> {
    /// Runs `work`, which may call its argument with the number of finished units of `total`.
    pub(super) fn time<R>(
        &mut self,
        stage: &'static str,
        total: u64,
        work: impl FnOnce(&(dyn Fn(u64) + Sync)) -> Result<R>,
    ) -> Result<R> {
        let progress = self.progress;
        progress(Progress { stage, done: 0, total });
        let start = Instant::now();
        let result = work(&|done| progress(Progress { stage, done, total }));
        let seconds = start.elapsed().as_secs_f64();
        match self.seconds.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, sum)) => *sum += seconds,
            None => self.seconds.push((stage, seconds)),
        }
        result
    }
}
