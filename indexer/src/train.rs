//! Training a model: rotation, coarse centroids, product quantizer.

use std::collections::BTreeMap;
use std::time::Instant;

use ocelli_index::model::{MAX_M, MAX_NLIST};
use ocelli_index::{DescriptorSpec, Metric, Model, ModelParts, Part};
use rayon::prelude::*;
use serde::{Serialize, Serializer};

use crate::faiss::{KmeansOptions, OpqOptions, Session};
use crate::sample::{common_spec, count_rows, gather_rows};
use crate::{Error, Progress, ProgressFn, Result};

/// Rows per centroid below which k-means fits noise: FAISS's `min_points_per_centroid`.
pub const ROWS_PER_CENTROID: usize = 39;

/// Codewords per sub-quantizer: one byte.
pub const KSUB: usize = 256;

/// How a model is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Coarse centroids (inverted lists); 0: as many as [`auto_nlist`] says for the training rows.
    pub nlist: usize,
    /// Sub-quantizers, which is bytes per code; divides the dimension.
    pub m: usize,
    /// None: inner product for descriptors of a network, L2 for vectors from elsewhere.
    pub metric: Option<Metric>,
    /// Learn a rotation first (OPQ).
    pub opq: bool,
    /// OPQ rounds.
    pub opq_niter: usize,
    /// k-means iterations.
    pub niter: usize,
    /// Seed of sample and k-means.
    pub seed: u32,
    /// FAISS threads; 0: one per core.
    pub threads: usize,
    /// Rows to train on at most; 0: all.
    pub max_rows: usize,
    /// Train on fewer rows than make sense.
    pub force: bool,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            nlist: 0,
            m: 32,
            metric: None,
            opq: false,
            opq_niter: OpqOptions::default().niter,
            niter: 25,
            seed: 1234,
            threads: 0,
            max_rows: 1_000_000,
            force: false,
        }
    }
}

/// How descriptors are compared unless the user says otherwise: inner product for those of a network,
/// which have unit norm, L2 for vectors from elsewhere.
pub(crate) fn default_metric(spec: &DescriptorSpec) -> Metric {
    match spec {
        DescriptorSpec::Network(_) => Metric::InnerProduct,
        DescriptorSpec::Foreign { .. } => Metric::L2,
    }
}

/// Training rows for each list that [`auto_nlist`] gives.
pub const ROWS_PER_AUTO_LIST: usize = 1000;

/// The largest [`auto_nlist`]: with more, a query compares itself with more centroids than codes.
pub const MAX_AUTO_NLIST: usize = 1 << 16;

/// Lists for `rows` training rows: one per 1,000, rounded down to a power of two, 1 to 65,536.
///
/// So each centroid is the mean of many rows; in small collections fewer lists also rank better (see
/// `default.toml`).
#[must_use]
pub fn auto_nlist(rows: usize) -> usize {
    (rows / ROWS_PER_AUTO_LIST).checked_ilog2().map_or(1, |log| 1 << log).min(MAX_AUTO_NLIST)
}

/// What was trained, for people.
#[derive(Clone, Debug, Serialize)]
pub struct TrainReport {
    /// Rows trained on, and rows that the parts held.
    pub rows: usize,
    /// Rows of all parts.
    pub rows_available: usize,
    /// Dimension of the vectors.
    pub dim: usize,
    /// Coarse centroids.
    pub nlist: usize,
    /// Whether nlist followed from the number of rows.
    pub nlist_auto: bool,
    /// Bytes per code.
    pub m: usize,
    /// Whether a rotation was learned.
    pub opq: bool,
    /// Mean of ‖z − c‖² over the training rows.
    pub mse_coarse: f64,
    /// Mean of ‖z − c − r̂‖² over the training rows.
    pub mse: f64,
    /// Wall time of each stage by name, in the order of their run; a JSON object.
    #[serde(serialize_with = "as_object")]
    pub stage_seconds: Vec<(&'static str, f64)>,
    /// Wall time in seconds.
    pub seconds: f64,
}

fn as_object<S: Serializer>(
    pairs: &[(&str, f64)],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

/// Trains a model on all rows of `parts` (regions or descriptors, of one spec) or on a sample.
///
/// z = R x with R from OPQ where asked for; coarse centroids by plain L2 k-means, centroids keeping
/// their length; one codebook of 256 codewords per sub-vector of the residuals (Jégou et al. 2011).
/// Equal input, seed and thread count give equal bits on one kind of machine.
///
/// # Errors
/// Parts of different specs; `m` that does not divide the dimension or is too large; `nlist` out of
/// range; fewer than 39 rows per codeword or coarse centroid, unless forced; a part that cannot be read;
/// FAISS's own.
pub fn train(
    parts: &[Part],
    options: &TrainOptions,
    progress: ProgressFn<'_>,
) -> Result<(Model, TrainReport)> {
    let start = Instant::now();
    let spec = common_spec(parts)?;
    let dim = spec.dim();
    let rows_available = count_rows(parts);
    let rows =
        if options.max_rows == 0 { rows_available } else { options.max_rows.min(rows_available) };
    let nlist_auto = options.nlist == 0;
    let nlist = if nlist_auto { auto_nlist(rows) } else { options.nlist };
    let options = &TrainOptions { nlist, ..options.clone() };
    check_options(options, dim, rows)?;

    let mut stages = Stages { progress, seconds: Vec::new() };
    let (x, n) = stages
        .time("read", 0, |_| gather_rows(parts, options.max_rows, u64::from(options.seed)))?;
    let trained =
        Session::run(options.threads, |faiss| train_on(faiss, x, n, dim, options, &mut stages))??;

    let metric = options.metric.unwrap_or_else(|| default_metric(spec));
    let opq = trained.rotation.is_some();
    let model = Model::from_parts(ModelParts {
        spec: spec.clone(),
        metric,
        mean: None,
        rotation: trained.rotation,
        renormalize: false,
        dim,
        d: dim,
        nlist,
        coarse: trained.coarse.into(),
        m: options.m,
        ksub: KSUB,
        codebooks: trained.codebooks,
        training: how_trained(options, n, rows_available),
    })?;
    let report = TrainReport {
        rows: n,
        rows_available,
        dim,
        nlist,
        nlist_auto,
        m: options.m,
        opq,
        mse_coarse: trained.mse_coarse,
        mse: trained.mse,
        stage_seconds: stages.seconds,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((model, report))
}

fn check_options(options: &TrainOptions, dim: usize, rows: usize) -> Result<()> {
    let TrainOptions { nlist, m, .. } = *options;
    if m == 0 || !dim.is_multiple_of(m) {
        let divisors: Vec<_> = (1..=dim.min(MAX_M))
            .filter(|m| dim.is_multiple_of(*m))
            .map(|m| m.to_string())
            .collect();
        return Err(Error::Invalid(format!(
            "m (bytes per code): expected a divisor of the dimension {dim} ({}), found {m}",
            divisors.join(", ")
        )));
    }
    // The model would refuse too, but only after the training.
    if m > MAX_M {
        return Err(Error::Invalid(format!(
            "m (bytes per code): expected at most {MAX_M}, found {m}"
        )));
    }
    if nlist > MAX_NLIST {
        return Err(Error::Invalid(format!(
            "nlist: expected 1 to {MAX_NLIST}, or 0 for a number that suits the rows; found {nlist}"
        )));
    }
    if rows == 0 {
        return Err(Error::TooFewRows {
            what: "training".to_owned(),
            needed: 1,
            found: 0,
            hint: String::new(),
        });
    }
    let needed = ROWS_PER_CENTROID * KSUB.max(nlist);
    if rows < needed && !options.force {
        let of = if nlist > KSUB { format!("nlist {nlist}") } else { format!("{KSUB} codewords") };
        return Err(Error::TooFewRows {
            what: format!("training with {of} ({ROWS_PER_CENTROID} rows each)"),
            needed,
            found: rows,
            hint: "; give more images or their region vectors, or --force".to_owned(),
        });
    }
    Ok(())
}

/// What is recorded in the model: enough to train it again.
fn how_trained(
    options: &TrainOptions,
    rows: usize,
    rows_available: usize,
) -> BTreeMap<String, String> {
    let mut how = BTreeMap::from([
        ("rows".to_owned(), rows.to_string()),
        ("rows_available".to_owned(), rows_available.to_string()),
        ("seed".to_owned(), options.seed.to_string()),
        ("niter".to_owned(), options.niter.to_string()),
        ("opq".to_owned(), options.opq.to_string()),
        ("forced".to_owned(), options.force.to_string()),
    ]);
    if options.opq {
        how.insert("opq_niter".to_owned(), options.opq_niter.to_string());
    }
    how
}

struct Trained {
    rotation: Option<Vec<f32>>,
    coarse: Vec<f32>,
    codebooks: Vec<f32>,
    mse_coarse: f64,
    mse: f64,
}

/// The part that runs on FAISS's thread; `x` is `(n, dim)`.
fn train_on(
    faiss: &Session,
    x: Vec<f32>,
    n: usize,
    dim: usize,
    options: &TrainOptions,
    stages: &mut Stages<'_>,
) -> Result<Trained> {
    let TrainOptions { nlist, m, .. } = *options;
    let kmeans = |stage: u32| KmeansOptions {
        niter: options.niter,
        // Stages must not share a seed, or sub-quantizers of equal data would be equal.
        seed: options.seed.wrapping_add(stage),
        ..KmeansOptions::default()
    };
    let rotation = match options.opq {
        false => None,
        true => Some(stages.time("OPQ", 0, |_| {
            let opq = OpqOptions { niter: options.opq_niter, ..OpqOptions::default() };
            faiss.opq(&x, n, dim, m, &opq)
        })?),
    };
    let mut z = match &rotation {
        None => x,
        Some(rotation) => stages.time("rotate", 0, |_| Ok(rotate(&x, rotation, dim)))?,
    };
    let coarse =
        stages.time("coarse k-means", 0, |_| faiss.kmeans(&z, n, dim, nlist, &kmeans(0)))?;
    let assigned = stages.time("assign", 0, |_| faiss.assign(&z, n, dim, &coarse))?;
    let mse_coarse = mean(&assigned.distances_sq);
    z.par_chunks_exact_mut(dim).zip(&assigned.labels).for_each(|(row, &list)| {
        let centroid = &coarse[list as usize * dim..][..dim];
        row.iter_mut().zip(centroid).for_each(|(z, c)| *z -= c);
    });

    let dsub = dim / m;
    let mut codebooks = Vec::with_capacity(KSUB * dim);
    let mut mse = 0.0;
    stages.time("product quantizer", m as u64, |step| {
        for sub in 0..m {
            let slice: Vec<f32> = z
                .par_chunks_exact(dim)
                .flat_map_iter(|row| row[sub * dsub..][..dsub].iter().copied())
                .collect();
            let codebook = faiss.kmeans(&slice, n, dsub, KSUB, &kmeans(1 + sub as u32))?;
            mse += mean(&faiss.assign(&slice, n, dsub, &codebook)?.distances_sq);
            codebooks.extend_from_slice(&codebook);
            step(sub as u64 + 1);
        }
        Ok(())
    })?;
    Ok(Trained { rotation, coarse, codebooks, mse_coarse, mse })
}

/// Rows of `x` `(n, dim)` times `rotationᵀ`, as `Model::transform` does it.
fn rotate(x: &[f32], rotation: &[f32], dim: usize) -> Vec<f32> {
    let mut z = vec![0f32; x.len()];
    z.par_chunks_exact_mut(dim).zip(x.par_chunks_exact(dim)).for_each(|(z, x)| {
        for (z, axis) in z.iter_mut().zip(rotation.chunks_exact(dim)) {
            *z = ocelli_vector::dot(axis, x);
        }
    });
    z
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
}

/// Times stages and tells of their progress.
struct Stages<'a> {
    progress: ProgressFn<'a>,
    seconds: Vec<(&'static str, f64)>,
}

impl Stages<'_> {
    /// Runs `work`, which may call its argument with the number of finished units of `total`.
    fn time<R>(
        &mut self,
        stage: &'static str,
        total: u64,
        work: impl FnOnce(&dyn Fn(u64)) -> Result<R>,
    ) -> Result<R> {
        let progress = self.progress;
        progress(Progress { stage, done: 0, total });
        let start = Instant::now();
        let result = work(&|done| progress(Progress { stage, done, total }));
        self.seconds.push((stage, start.elapsed().as_secs_f64()));
        result
    }
}
