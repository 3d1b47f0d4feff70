//! Learning a PCA whitening on a sample of vectors.

use std::time::Instant;

use clap::ValueEnum;
use ocelli_index::model::MAX_M;
use ocelli_index::{DescriptorSpec, Part, Whitening};
use serde::{Deserialize, Serialize};

use crate::dimension::{DEFAULT_CODE_BYTES, DIMS_PER_BYTE, dim_for_codes, is_too_much};
use crate::near::{self, MAX_PHOTOS};
use crate::pca::{Components, Covariance, Mean};
use crate::sample::{common_spec, count_rows, for_each_block, refuse_copies};
use crate::{Error, Progress, ProgressFn, Result};

/// A direction with less than this share of the largest variance is noise of float32 input;
/// dividing by its root would blow the noise up to full size.
const MIN_VARIANCE_SHARE: f64 = 1e-10;
/// The dimension is a multiple of this if too few directions vary and no bytes of a code are given,
/// so that code sizes divide it.
const DIM_STEP: usize = 64;
/// Default power for very many photos, and the number of photos for which it is half of that. With
/// few photos even shrunken variances fit those photos too well. Chosen on Paris and INRIA Holidays
/// (docs/evaluation.md).
const NEAR_POWER: f64 = 0.75;
const NEAR_HALF_PHOTOS: f64 = 20.0;
/// Mean cosine before whitening above which photos are nearly copies. Different photos of one place
/// have about .95, photos of many things .9.
const ALIKE_COSINE: f64 = 0.97;

/// The rows whose covariance is whitened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WhitenCovariance {
    /// The differences between near photos: those of each photo's rows from their mean, and of that
    /// mean from the means of the nearest photos. May be learned on photos that are searched, and
    /// on few.
    #[default]
    Near,
    /// The differences of all rows from their mean, as published. For many photos that are not
    /// searched.
    All,
}

/// Options of the whitening.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WhitenOptions {
    /// Output dimension, at most the input's; None: 8 for each byte of a code, or fewer where fewer
    /// directions vary.
    pub dim: Option<usize>,
    /// Bytes of the codes that the vectors will get; None: 32.
    pub code_bytes: Option<usize>,
    /// Column j of the projection is `axis_j * variance_j^(-power / 2)`: 1 whitens fully, 0 only
    /// rotates and truncates. None: .75 n / (n + 20) for n near photos, 1 for the covariance of
    /// all.
    pub power: Option<f64>,
    /// The vectors or differences whose covariance is whitened.
    pub covariance: WhitenCovariance,
}

/// Report of a whitening that was learned.
#[derive(Clone, Debug, Serialize)]
pub struct WhitenReport {
    /// Photos that the covariance saw.
    pub photos: usize,
    /// Rows of these photos.
    pub rows: usize,
    /// Input dimension.
    pub dim_in: usize,
    /// Output dimension.
    pub dim_out: usize,
    /// The vectors or differences whose covariance is whitened.
    pub covariance: WhitenCovariance,
    /// Power that was used.
    pub power: f64,
    /// Part by which each variance was moved to the mean of all, 0 to 1.
    pub shrinkage: f64,
    /// Photos that each was compared with; 0 for the covariance of all.
    pub neighbours: usize,
    /// Directions that vary.
    pub varying: usize,
    /// Share of the total variance in the kept directions, 0 to 1.
    pub variance_kept: f64,
    /// Mean cosine of two different photos before whitening; None for the covariance of all.
    pub mean_cosine: Option<f64>,
    /// Why power and dimension are what they are, a sentence each.
    pub reasons: Vec<String>,
    /// Warnings, a sentence each.
    pub warnings: Vec<String>,
    /// Wall time.
    pub seconds: f64,
}

/// Mean and principal components, and what they came of.
struct Sample {
    mean: Vec<f64>,
    components: Components,
    photos: usize,
    rows: usize,
    /// Facts about near photos; none for the covariance of all.
    near: Option<NearFacts>,
}

struct NearFacts {
    shrinkage: f64,
    neighbours: usize,
    mean_cosine: f64,
}

/// PCA whitening `y = L2((x - mean) P)` with `P = V_k diag(variance_k^(-power/2))` (Jégou and Chum,
/// ECCV 2012), where the covariance is that of what near photos differ in, or of all rows of
/// `parts`. Mean and covariance are summed in float64 over two passes; equal parts in equal order
/// give equal bits on one kind of machine, whatever the number of threads.
///
/// # Errors
/// Parts of different specs, parts already whitened, `dim` of 0 or above the input's, fewer than
/// two photos or `dim + 1` rows, a part that is given twice, and a sample in which fewer than `dim`
/// directions vary.
pub fn learn_whitening(
    parts: &[Part],
    options: &WhitenOptions,
    progress: ProgressFn<'_>,
) -> Result<(Whitening, WhitenReport)> {
    let start = Instant::now();
    let spec = common_spec(parts)?;
    if let DescriptorSpec::Network(network) = spec
        && let Some(whitening) = &network.whitening
    {
        return Err(Error::Invalid(format!(
            "{}: expected vectors without whitening, found them whitened by {whitening}",
            parts[0].path().display()
        )));
    }
    let dim_in = spec.dim();
    check_options(options, dim_in, count_rows(parts))?;
    refuse_copies(parts)?;
    let sample = match options.covariance {
        WhitenCovariance::Near => near_photos(parts, dim_in, progress)?,
        WhitenCovariance::All => all_rows(parts, dim_in, progress)?,
    };

    let variances = &sample.components.variances;
    let floor = variances[0].max(0.0) * MIN_VARIANCE_SHARE;
    let varying = variances.iter().filter(|v| **v > floor).count();
    let (k, dim_reason) = choose_dim(options, varying, sample.rows)?;
    let (power, power_reason) = choose_power(options, sample.photos);
    let shrinkage = sample.near.as_ref().map_or(0.0, |near| near.shrinkage);
    let sum = |v: &[f64]| v.iter().map(|v| v.max(0.0)).sum::<f64>();
    let all = sum(variances) / dim_in as f64;
    let scales: Vec<f64> = variances[..k]
        .iter()
        .map(|v| ((1.0 - shrinkage) * v + shrinkage * all).powf(-power / 2.0))
        .collect();
    let mut projection = Vec::with_capacity(dim_in * k);
    for i in 0..dim_in {
        for (axis, scale) in sample.components.axes.iter().zip(&scales) {
            projection.push((axis[i] * scale) as f32);
        }
    }
    let mut reasons = sample.reasons();
    reasons.extend([power_reason, dim_reason]);
    let report = WhitenReport {
        photos: sample.photos,
        rows: sample.rows,
        dim_in,
        dim_out: k,
        covariance: options.covariance,
        power,
        shrinkage,
        neighbours: sample.near.as_ref().map_or(0, |near| near.neighbours),
        varying,
        variance_kept: sum(&variances[..k]) / sum(variances),
        mean_cosine: sample.near.as_ref().map(|near| near.mean_cosine),
        reasons,
        warnings: sample.warnings().into_iter().chain(too_many(options, k)).collect(),
        seconds: start.elapsed().as_secs_f64(),
    };
    let mean = sample.mean.into_iter().map(|v| v as f32).collect();
    Ok((Whitening { mean, projection, learned_on: spec.clone() }, report))
}

fn near_photos(parts: &[Part], dim: usize, progress: ProgressFn<'_>) -> Result<Sample> {
    let near = near::learn(parts, dim, progress)?;
    Ok(Sample {
        mean: near.mean,
        components: near.components,
        photos: near.photos,
        rows: near.rows,
        near: Some(NearFacts {
            shrinkage: near.shrinkage,
            neighbours: near.neighbours,
            mean_cosine: near.mean_cosine,
        }),
    })
}

fn all_rows(parts: &[Part], dim: usize, progress: ProgressFn<'_>) -> Result<Sample> {
    let rows = count_rows(parts);
    let total = 2 * rows as u64;
    let mut done = 0;
    let mut report = |block: &[f32]| {
        done += (block.len() / dim) as u64;
        progress(Progress { stage: "covariance", done, total });
    };
    let mut mean = Mean::new(dim);
    for_each_block(parts, |block| {
        mean.add(&block);
        report(&block);
        Ok(())
    })?;
    let mean = mean.finish();
    let mut covariance = Covariance::new(mean.clone());
    for_each_block(parts, |block| {
        covariance.add(&block);
        report(&block);
        Ok(())
    })?;
    progress(Progress { stage: "eigenvectors", done: 0, total: 0 });
    let photos = parts.iter().map(Part::images).sum();
    Ok(Sample { mean, components: covariance.finish()?, photos, rows, near: None })
}

impl Sample {
    fn reasons(&self) -> Vec<String> {
        let Some(near) = &self.near else {
            return vec!["covariance all: of all rows about their mean".to_owned()];
        };
        let regions = if self.rows > self.photos { "the regions of each photo, and " } else { "" };
        let mut reasons = vec![
            format!(
                "covariance near: of {regions}each photo and its {} nearest; what sets groups of \
                 photos apart keeps its size",
                near.neighbours
            ),
            format!(
                "shrinkage {:.2}: each variance is moved by so much to the mean of all, as {} \
                 photos leave it unsure",
                near.shrinkage, self.photos
            ),
        ];
        if self.photos == MAX_PHOTOS {
            reasons.push(format!(
                "photos {MAX_PHOTOS}: at most so many are looked at, drawn at random"
            ));
        }
        reasons
    }

    fn warnings(&self) -> Vec<String> {
        if self.photos == 1 {
            let one = "all rows are of one photo: the whitening learns what tells its regions \
                       apart and nothing else; learn it on photos of many things";
            return vec![one.to_owned()];
        }
        let alike = self.near.iter().filter(|near| near.mean_cosine > ALIKE_COSINE);
        alike
            .map(|near| {
                format!(
                    "the photos are nearly equal (mean cosine {:.3} before whitening; different \
                     photos have about .9): the whitening learns what tells these apart and \
                     nothing else; learn it on photos of many things",
                    near.mean_cosine
                )
            })
            .collect()
    }
}

/// The dimension, and why.
fn choose_dim(options: &WhitenOptions, varying: usize, rows: usize) -> Result<(usize, String)> {
    match options.dim {
        Some(k) if varying < k => Err(Error::Invalid(format!(
            "whitening to {k} dimensions needs {k} directions that vary, found {varying} in {rows} \
             rows; choose --dim {} or less, or give other images",
            varying.max(1)
        ))),
        Some(k) => Ok((k, format!("dimension {k}: as given"))),
        None if varying == 0 => Err(Error::Invalid(format!(
            "whitening needs a direction that varies, found {rows} rows that are all equal"
        ))),
        None => Ok(dim_by_bytes(options.code_bytes, varying, rows)),
    }
}

/// The dimension that suits codes, as far as directions vary, and why.
fn dim_by_bytes(code_bytes: Option<usize>, varying: usize, rows: usize) -> (usize, String) {
    let bytes = code_bytes.unwrap_or(DEFAULT_CODE_BYTES);
    let wanted = dim_for_codes(bytes);
    if varying >= wanted {
        let other = if code_bytes.is_none() { "; --code-bytes for others" } else { "" };
        let reason = format!(
            "dimension {wanted}: {DIMS_PER_BYTE} for each byte of codes of {bytes} bytes{other}"
        );
        return (wanted, reason);
    }
    let vary = if varying == 1 { "direction varies" } else { "directions vary" };
    let reason = format!("only {varying} {vary} in {rows} rows");
    let step = code_bytes.unwrap_or(DIM_STEP);
    match varying / step * step {
        0 => (varying, format!("dimension {varying}: {reason}")),
        k if k == varying => (k, format!("dimension {k}: {reason}")),
        k => {
            let up = format!("{k} is the largest multiple of {step} up to that");
            (k, format!("dimension {k}: {reason}, and {up}"))
        }
    }
}

/// The warning for a dimension that is too high for the codes.
fn too_many(options: &WhitenOptions, dim: usize) -> Option<String> {
    let bytes = options.code_bytes.filter(|&bytes| is_too_much(dim, bytes))?;
    Some(format!(
        "{dim} dimensions are many for codes of {bytes} bytes: {} rank better (measured: \
         {DIMS_PER_BYTE} for each byte); leave --dim away",
        dim_for_codes(bytes)
    ))
}

/// The power, and why.
fn choose_power(options: &WhitenOptions, photos: usize) -> (f64, String) {
    match (options.power, options.covariance) {
        (Some(power), _) => (power, format!("power {power}: as given")),
        (None, WhitenCovariance::All) => (1.0, "power 1: as published, for many photos".to_owned()),
        (None, WhitenCovariance::Near) => {
            let n = photos as f64;
            let power = NEAR_POWER * n / (n + NEAR_HALF_PHOTOS);
            let reason = format!(
                "power {power:.2}: {NEAR_POWER} n / (n + {NEAR_HALF_PHOTOS}) for {photos} photos, \
                 weaker for fewer"
            );
            (power, reason)
        }
    }
}

fn check_options(options: &WhitenOptions, dim_in: usize, rows: usize) -> Result<()> {
    if let Some(bytes) = options.code_bytes
        && !(1..=MAX_M).contains(&bytes)
    {
        return Err(Error::Invalid(format!(
            "bytes of a code: expected 1 to {MAX_M}, found {bytes}"
        )));
    }
    if let Some(dim) = options.dim {
        if dim == 0 || dim > dim_in {
            return Err(Error::Invalid(format!(
                "whitening dimension: expected 1 to {dim_in} (the input's), found {dim}"
            )));
        }
        if rows < dim + 1 {
            return Err(Error::TooFewRows {
                what: format!("whitening to {dim} dimensions"),
                needed: dim + 1,
                found: rows,
                hint: "; give more images or a smaller --dim".to_owned(),
            });
        }
    }
    if let Some(power) = options.power
        && !(0.0..=1.0).contains(&power)
    {
        return Err(Error::Invalid(format!(
            "whitening power: expected 0 (only rotates) to 1 (whitens fully), found {power}"
        )));
    }
    Ok(())
}
