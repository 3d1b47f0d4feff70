//! Training a model: transform, coarse centroids, product quantizer.

mod options;
mod steps;

use std::collections::BTreeMap;
use std::time::Instant;

use clap::ValueEnum;
use ocelli_index::model::{MAX_M, MAX_NLIST};
use ocelli_index::{DescriptorSpec, Metric, Model, ModelParts, Part};
use serde::{Deserialize, Serialize, Serializer};

use crate::dimension::{DIMS_PER_BYTE, dim_for_codes, is_sorted, is_too_much};
use crate::kmeans::Comparisons;
use crate::sample::{common_spec, count_distinct, count_rows, gather_rows};
use crate::threads::pool;
use crate::{BoxError, Error, ProgressFn, Result};
pub use options::TrainOptions;
use steps::{Rows, Stages, Transform};

/// Rows per centroid below which k-means fits noise: FAISS's `min_points_per_centroid`.
pub const ROWS_PER_CENTROID: usize = 39;

/// Codewords per sub-quantizer by default: a code of one byte.
pub const KSUB: usize = 256;

/// The largest nlist whose centroids are trained by comparing every row with each of them.
pub const MAX_FLAT_NLIST: usize = 1 << 16;

/// The way in which coarse centroids are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CoarseKmeans {
    /// In two levels above nlist 65536.
    #[default]
    Auto,
    /// Every row is compared with every centroid.
    Flat,
    /// Groups first, centroids within them, and some iterations across neighbouring groups.
    TwoLevel,
}

/// Codewords of each sub-quantizer while OPQ learns its rotation.
const OPQ_KSUB: usize = 256;

/// Rows for which OPQ is to learn a rotation.
#[derive(Clone, Copy, Debug)]
pub struct OpqRows<'a> {
    /// Vectors `(n, d)`, row-major; n is at least 256.
    pub x: &'a [f32],
    /// Dimension of the vectors.
    pub d: usize,
    /// Sub-quantizers, of 256 codewords each; divides `d`.
    pub m: usize,
    /// Rounds of quantizer training and rotation update.
    pub niter: usize,
    /// Threads; 0: one per core.
    pub threads: usize,
}

/// Learns the rotation of OPQ (Ge et al. 2013): R `(d, d)`, row-major with orthonormal rows, for
/// z = R x. The crate `ocelli-quantizer` does it by FAISS.
pub type LearnOpq<'a> = &'a (dyn Fn(OpqRows<'_>) -> std::result::Result<Vec<f32>, BoxError> + Sync);

/// A [`LearnOpq`] that refuses, for callers that never ask for OPQ.
///
/// # Errors
/// Always.
pub fn no_opq(_: OpqRows<'_>) -> std::result::Result<Vec<f32>, BoxError> {
    Err("expected a learner of the rotation of OPQ, found none".into())
}

/// The metric by default: inner product for those of a
/// network, which have unit norm, L2 for vectors from elsewhere.
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
/// So each centroid is the mean of many rows; in small collections fewer lists also rank better
/// (see `default.toml`).
#[must_use]
pub fn auto_nlist(rows: usize) -> usize {
    (rows / ROWS_PER_AUTO_LIST).checked_ilog2().map_or(1, |log| 1 << log).min(MAX_AUTO_NLIST)
}

/// Report of a training.
#[derive(Clone, Debug, Serialize)]
pub struct TrainReport {
    /// Rows trained on, and rows that the parts held.
    pub rows: usize,
    /// Number of the rows trained on that differ from each other. Copies teach nothing.
    pub rows_distinct: usize,
    /// Rows of all parts.
    pub rows_available: usize,
    /// Dimension of the vectors.
    pub dim: usize,
    /// Coarse centroids.
    pub nlist: usize,
    /// Whether nlist followed from the number of rows.
    pub nlist_auto: bool,
    /// Whether they were trained in two levels.
    pub two_level: bool,
    /// Dimension after the transform.
    pub d: usize,
    /// Sub-quantizers.
    pub m: usize,
    /// Codewords of each.
    pub ksub: usize,
    /// Bytes per code.
    pub code_bytes: usize,
    /// The reasons for the dimension, a sentence each; none where nothing was chosen.
    pub reasons: Vec<String>,
    /// Warnings, a sentence each.
    pub warnings: Vec<String>,
    /// Share of the variance that the PCA kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance_kept: Option<f64>,
    /// Whether a rotation was learned.
    pub opq: bool,
    /// Mean of ‖z − c‖² over the rows that the codebooks were trained on.
    pub mse_coarse: f64,
    /// Mean of ‖z − c − r̂‖² over the same rows.
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
/// z = R (x − mean), from a cut or a PCA and OPQ where asked for, optionally normalised again;
/// coarse centroids by plain L2 k-means, centroids keeping their length; one codebook of `ksub`
/// codewords per sub-vector of the residuals (Jégou et al. 2011), with fewer than 256 rows for each
/// list of the residuals of centroids that have not seen the row. Equal input, options and seed
/// give equal bits on every machine, but for OPQ, which is FAISS's: there on one kind of machine,
/// with equal threads.
///
/// # Errors
/// Parts of different specs; `m` that does not divide the dimension or is too large; `nlist`,
/// `ksub` or `pca` out of range; fewer than 39 different rows per codeword or coarse centroid,
/// unless forced; a part that cannot be read; FAISS's own.
pub fn train(
    parts: &[Part],
    options: &TrainOptions,
    learn_opq: LearnOpq<'_>,
    progress: ProgressFn<'_>,
) -> Result<(Model, TrainReport)> {
    let start = Instant::now();
    let spec = common_spec(parts)?;
    let dim = spec.dim();
    let nlist_auto = options.nlist == 0;
    let (options, reason) = &settle(parts, options)?;
    let TrainOptions { nlist, m, ksub, .. } = *options;

    let pool = pool(options.threads)?;
    let mut stages = Stages { progress, seconds: Vec::new() };
    let (x, n) = stages
        .time("read", 0, |_| gather_rows(parts, options.max_rows, u64::from(options.seed)))?;
    let rows_distinct = pool.install(|| count_distinct(&x, dim));
    check_rows(options, rows_distinct, n)?;
    let (transform, z, coarse, quantizer) = pool.install(|| {
        let x = Rows { x, d: dim };
        let transform = Transform::learn(&x, options, learn_opq, &mut stages)?;
        let z = stages.time("transform", 0, |_| transform.apply(x))?;
        let coarse = steps::coarse(&z, options, &mut stages)?;
        let quantizer = steps::quantizer(&z, &coarse, options, &mut stages)?;
        Ok::<_, Error>((transform, z, coarse, quantizer))
    })?;

    let rows_available = count_rows(parts);
    let metric = options.metric.unwrap_or_else(|| default_metric(spec));
    let model = Model::from_parts(ModelParts {
        spec: spec.clone(),
        metric,
        mean: transform.mean,
        rotation: transform.rotation,
        renormalize: transform.renormalize,
        dim,
        d: z.d,
        nlist,
        coarse: coarse.into(),
        m,
        ksub,
        codebooks: quantizer.codebooks,
        training: how_trained(options, n, rows_available, [quantizer.mse_coarse, quantizer.mse]),
    })?;
    let report = TrainReport {
        rows: n,
        rows_distinct,
        rows_available,
        dim,
        nlist,
        nlist_auto,
        two_level: steps::in_two_levels(options),
        d: z.d,
        m,
        ksub,
        code_bytes: options.code_bytes(),
        reasons: reason.iter().cloned().collect(),
        warnings: too_many(options, spec, z.d).into_iter().collect(),
        variance_kept: transform.variance_kept,
        opq: options.opq == Some(true),
        mse_coarse: quantizer.mse_coarse,
        mse: quantizer.mse,
        stage_seconds: stages.seconds,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((model, report))
}

/// The options with what follows from the parts, and the reason for the dimension if that was
/// chosen. All that can be refused without reading rows is refused.
fn settle(parts: &[Part], options: &TrainOptions) -> Result<(TrainOptions, Option<String>)> {
    let spec = common_spec(parts)?;
    let rows = match options.max_rows {
        0 => count_rows(parts),
        most => most.min(count_rows(parts)),
    };
    let nlist = if options.nlist == 0 { auto_nlist(rows) } else { options.nlist };
    let opq = Some(options.opq.unwrap_or_else(|| default_opq(spec)));
    let (kept, reason) = choose_dim(options, spec);
    let options = TrainOptions { nlist, opq, dim: Some(kept), ..options.clone() };
    check_options(&options, spec, rows)?;
    Ok((options, reason))
}

/// Facts of a training that are known before it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outline {
    /// Rows trained on.
    pub(crate) rows: usize,
    /// Coarse centroids.
    pub(crate) nlist: usize,
    /// Dimension after the transform.
    pub(crate) d: usize,
    /// Whether a rotation is learned.
    pub(crate) opq: bool,
}

/// Facts of a training of `parts`.
///
/// # Errors
/// Those of [`train`] that are found without reading rows.
pub(crate) fn outline(parts: &[Part], options: &TrainOptions) -> Result<Outline> {
    let dim = common_spec(parts)?.dim();
    let (settled, _) = settle(parts, options)?;
    let rows = count_rows(parts);
    Ok(Outline {
        rows: if options.max_rows == 0 { rows } else { rows.min(options.max_rows) },
        nlist: settled.nlist,
        d: reduced_dim(&settled, dim),
        opq: settled.opq == Some(true),
    })
}

/// What k-means compares to train a model under `options` on so many rows of `d` coordinates.
pub(crate) fn comparisons(rows: usize, d: usize, options: &TrainOptions) -> Comparisons {
    steps::comparisons(rows, d, options)
}

/// Whether each half of the rows is trained by itself, too.
pub(crate) fn is_cross_fitted(rows: usize, options: &TrainOptions) -> bool {
    steps::is_cross_fitted(rows, options)
}

/// Whether a rotation is learned by default (`./bench opq`: recall10@10 at 64 bytes .598
/// without and .644 with it for region vectors of 1024 dimensions, .805 and .806 for the same
/// whitened to 256).
fn default_opq(spec: &DescriptorSpec) -> bool {
    match spec {
        DescriptorSpec::Network(network) => network.whitening.is_none() && !network.image_whitening,
        DescriptorSpec::Foreign { .. } => false,
    }
}

/// Coordinates that are kept, 0 for all, and why if that was chosen here.
///
/// Of whitened descriptors the first ones rank as well as a whitening to so many dimensions, and a
/// PCA of them much worse: what a whitening makes equal it cannot sort.
fn choose_dim(options: &TrainOptions, spec: &DescriptorSpec) -> (usize, Option<String>) {
    let (dim, bytes) = (spec.dim(), options.code_bytes());
    // One for each bit; for an odd number of half bytes a little less than for whole bytes.
    let fits = options.m.saturating_mul(options.ksub.checked_ilog2().unwrap_or(0) as usize);
    match options.dim {
        Some(given) if given < dim => (given, None),
        None if is_sorted(spec)
            && options.pca == 0
            && !options.finer
            && (1..dim).contains(&fits) =>
        {
            let reason = format!(
                "dimension {fits}: the first of {dim}, {DIMS_PER_BYTE} for each byte of codes of \
                 {bytes} bytes, at unit length again; --dim 0 keeps all"
            );
            (fits, Some(reason))
        }
        _ => (0, None),
    }
}

/// The warning for a dimension `d` that is too high for the codes.
fn too_many(options: &TrainOptions, spec: &DescriptorSpec, d: usize) -> Option<String> {
    let bytes = options.code_bytes();
    if options.finer || !is_too_much(d, bytes) {
        return None;
    }
    let (fits, dim) = (dim_for_codes(bytes), spec.dim());
    let way = match spec {
        _ if is_sorted(spec) => "leave --dim and --pca away".to_owned(),
        DescriptorSpec::Network(_) => {
            format!("whiten first, by `ocelli whiten --code-bytes {bytes}`")
        }
        DescriptorSpec::Foreign { .. } if fits < dim => format!("try --pca {fits}"),
        DescriptorSpec::Foreign { .. } => "try a smaller --pca".to_owned(),
    };
    Some(format!(
        "{d} dimensions are many for codes of {bytes} bytes: of descriptors of photos about {fits} \
         rank better; {way}"
    ))
}

fn check_options(options: &TrainOptions, spec: &DescriptorSpec, rows: usize) -> Result<()> {
    let TrainOptions { nlist, m, ksub, pca, .. } = *options;
    let (dim, kept) = (spec.dim(), options.dim.unwrap_or(0));
    if !matches!(ksub, 16 | 256) {
        return Err(Error::Invalid(format!(
            "ksub (codewords): expected 256 (8 bits) or 16 (4 bits), found {ksub}"
        )));
    }
    if pca > dim {
        return Err(Error::Invalid(format!(
            "pca: expected 1 to {dim} dimensions (the input's), or 0 for none, found {pca}"
        )));
    }
    if pca > 0 && kept > 0 {
        return Err(Error::Invalid(format!(
            "expected --dim or --pca, found both: the first {kept} coordinates, and a PCA to {pca}"
        )));
    }
    if m == 0 || !reduced_dim(options, dim).is_multiple_of(m) {
        return Err(Error::Invalid(refuse_m(options, spec)));
    }
    // The model would refuse too, but only after the training.
    if m > MAX_M {
        return Err(Error::Invalid(format!(
            "m (sub-quantizers): expected at most {MAX_M}, found {m}"
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
    if pca >= rows {
        return Err(Error::TooFewRows {
            what: format!("PCA to {pca} dimensions"),
            needed: pca + 1,
            found: rows,
            hint: String::new(),
        });
    }
    check_rows(options, rows, rows)?;
    if options.opq == Some(true) {
        check_opq_rows(rows)?;
    }
    Ok(())
}

/// Refuses fewer than 256 rows: OPQ trains so many codewords for each sub-quantizer.
fn check_opq_rows(rows: usize) -> Result<()> {
    if rows >= OPQ_KSUB {
        return Ok(());
    }
    Err(Error::TooFewRows {
        what: "learning a rotation (OPQ)".to_owned(),
        needed: OPQ_KSUB,
        found: rows,
        hint: "; give more rows, or --opq false (opq = \"off\" in a configuration)".to_owned(),
    })
}

/// Refuses fewer than 39 different rows for each codeword and coarse centroid, unless forced.
///
/// `distinct` of the `rows` differ from each other.
fn check_rows(options: &TrainOptions, distinct: usize, rows: usize) -> Result<()> {
    let TrainOptions { nlist, ksub, force, .. } = *options;
    let needed = ROWS_PER_CENTROID * ksub.max(nlist);
    if distinct >= needed || force {
        return Ok(());
    }
    let of = if nlist > ksub { format!("nlist {nlist}") } else { format!("{ksub} codewords") };
    let copies = match rows - distinct {
        0 => String::new(),
        copies => format!(" that differ; {copies} more are copies of these"),
    };
    Err(Error::TooFewRows {
        what: format!("training with {of} ({ROWS_PER_CENTROID} rows each)"),
        needed,
        found: distinct,
        hint: format!("{copies}; give more images or their region vectors, or --force"),
    })
}

/// The dimension after a cut or a PCA.
fn reduced_dim(options: &TrainOptions, dim: usize) -> usize {
    [options.dim.unwrap_or(0), options.pca].into_iter().find(|&d| d > 0).unwrap_or(dim)
}

/// The error text for an `m` that does not divide the dimension: the divisors, and the dimension to
/// which a cut or a PCA would have to reduce.
fn refuse_m(options: &TrainOptions, spec: &DescriptorSpec) -> String {
    let (m, dim) = (options.m, spec.dim());
    let d = reduced_dim(options, dim);
    let divisors: Vec<_> =
        (1..=d.min(MAX_M)).filter(|m| d.is_multiple_of(*m)).map(|m| m.to_string()).collect();
    let of = if options.pca > 0 { "PCA's dimension" } else { "dimension" };
    let way = if is_sorted(spec) { "dim" } else { "pca" };
    let fits = match dim.checked_div(m).unwrap_or(0) * m {
        0 => String::new(),
        fits => format!("; with --{way} {fits}, m = {m} would fit"),
    };
    format!(
        "m (sub-quantizers): expected a divisor of the {of} {d} ({}), found {m}{fits}",
        divisors.join(", ")
    )
}

/// Training notes of the model: enough to train it again.
fn how_trained(
    options: &TrainOptions,
    rows: usize,
    rows_available: usize,
    [mse_coarse, mse]: [f64; 2],
) -> BTreeMap<String, String> {
    let mut how = BTreeMap::from([
        // Against these, rows that are added later show whether the model still fits.
        ("mse_coarse".to_owned(), format!("{mse_coarse:.3e}")),
        ("mse".to_owned(), format!("{mse:.3e}")),
        ("rows".to_owned(), rows.to_string()),
        ("rows_available".to_owned(), rows_available.to_string()),
        ("seed".to_owned(), options.seed.to_string()),
        ("niter".to_owned(), options.niter.to_string()),
        ("opq".to_owned(), (options.opq == Some(true)).to_string()),
        ("forced".to_owned(), options.force.to_string()),
    ]);
    if let Some(kept) = options.dim.filter(|&kept| kept > 0) {
        how.insert("dim".to_owned(), kept.to_string());
    }
    if options.pca > 0 {
        how.insert("pca".to_owned(), options.pca.to_string());
    }
    if steps::is_cross_fitted(rows, options) {
        how.insert("codebooks".to_owned(), "cross-fitted".to_owned());
    }
    if steps::in_two_levels(options) {
        how.insert("coarse".to_owned(), "two-level".to_owned());
    }
    if options.opq == Some(true) {
        how.insert("opq_niter".to_owned(), options.opq_niter.to_string());
    }
    how
}
