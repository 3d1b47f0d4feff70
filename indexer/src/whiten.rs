//! Learning a PCA whitening on a sample of vectors.

use std::time::Instant;

use ocelli_index::{DescriptorSpec, Part, Whitening};
use serde::Serialize;

use crate::pca::{Covariance, Mean};
use crate::sample::{common_spec, count_rows, for_each_block};
use crate::{Error, Progress, ProgressFn, Result};

/// A direction with less than this share of the largest variance is noise of float32 input;
/// dividing by its root would blow the noise up to full size.
const MIN_VARIANCE_SHARE: f64 = 1e-10;

/// How the whitening is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WhitenOptions {
    /// Output dimension, at most the input's.
    pub dim: usize,
    /// Column j of the projection is `axis_j * variance_j^(-power / 2)`: 1 whitens fully, 0 only
    /// rotates and truncates.
    pub power: f64,
}

/// What was learned, for people.
#[derive(Clone, Debug, Serialize)]
pub struct WhitenReport {
    /// Rows that the covariance saw.
    pub rows: usize,
    /// Input dimension.
    pub dim_in: usize,
    /// Output dimension.
    pub dim_out: usize,
    /// Share of the total variance in the kept directions, 0 to 1.
    pub variance_kept: f64,
    /// Wall time.
    pub seconds: f64,
}

/// PCA whitening `y = L2((x - mean) P)` with `P = V_k diag(variance_k^(-power/2))`, learned on all
/// rows of `parts` (Jégou and Chum, ECCV 2012). Mean and covariance are summed in float64 over two
/// passes; equal parts in equal order give equal bits on one kind of machine, whatever the number of
/// threads.
///
/// # Errors
/// Parts of different specs, parts already whitened, `dim` of 0 or above the input's,
/// fewer than `dim + 1` rows, and a sample in which fewer than `dim` directions vary.
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
    let (dim_in, rows) = (spec.dim(), count_rows(parts));
    check_options(options, dim_in, rows)?;

    let total = 2 * rows as u64;
    let mut done = 0;
    let mut report = |block: &[f32]| {
        done += (block.len() / dim_in) as u64;
        progress(Progress { stage: "covariance", done, total });
    };
    let mut mean = Mean::new(dim_in);
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
    let components = covariance.finish()?;

    let k = options.dim;
    let floor = components.variances[0].max(0.0) * MIN_VARIANCE_SHARE;
    let varying = components.variances.iter().filter(|v| **v > floor).count();
    if varying < k {
        return Err(Error::Invalid(format!(
            "whitening to {k} dimensions needs {k} directions that vary, found {varying} in {rows} rows; \
             choose --dim {} or less, or give other images",
            varying.max(1)
        )));
    }
    let scales: Vec<f64> =
        components.variances[..k].iter().map(|v| v.powf(-options.power / 2.0)).collect();
    let mut projection = Vec::with_capacity(dim_in * k);
    for i in 0..dim_in {
        for (axis, scale) in components.axes.iter().zip(&scales) {
            projection.push((axis[i] * scale) as f32);
        }
    }
    let sum = |v: &[f64]| v.iter().map(|v| v.max(0.0)).sum::<f64>();
    let report = WhitenReport {
        rows,
        dim_in,
        dim_out: k,
        variance_kept: sum(&components.variances[..k]) / sum(&components.variances),
        seconds: start.elapsed().as_secs_f64(),
    };
    let mean = mean.into_iter().map(|v| v as f32).collect();
    Ok((Whitening { mean, projection, learned_on: spec.clone() }, report))
}

fn check_options(options: &WhitenOptions, dim_in: usize, rows: usize) -> Result<()> {
    if options.dim == 0 || options.dim > dim_in {
        return Err(Error::Invalid(format!(
            "whitening dimension: expected 1 to {dim_in} (the input's), found {}",
            options.dim
        )));
    }
    if !(0.0..=2.0).contains(&options.power) {
        return Err(Error::Invalid(format!(
            "whitening power: expected 0 to 2, found {}",
            options.power
        )));
    }
    if rows < options.dim + 1 {
        return Err(Error::TooFewRows {
            what: format!("whitening to {} dimensions", options.dim),
            needed: options.dim + 1,
            found: rows,
            hint: "; give more images or a smaller --dim".to_owned(),
        });
    }
    Ok(())
}
