//! The covariance of the differences between near photos. A whitening from it may be learned on the
//! photos that are searched.
//!
//! A whitening from the covariance of all region vectors harms such a collection. If a few places
//! have many photos each, the directions in which the places differ vary most, and the whitening
//! makes them as small as noise. Labels would tell places from noise. Without labels, nearness
//! replaces them: of all photos, the nearest ones are most likely to show the same thing. So each
//! photo gives the differences of its regions from their mean, and those of its mean from the means
//! of its nearest photos. This follows the whitening learned from matching pairs (Mikolajczyk and
//! Matas, ICCV 2007; Radenović, Tolias and Chum, ECCV 2016), with near photos for the pairs.
//!
//! Regions of a photo overlap, so the samples are photos. Few photos estimate small variances
//! badly. So all variances are moved towards their mean, by the part that Ledoit and Wolf (2004)
//! derive from the samples' spread.

use ocelli_index::{Metric, Part};
use ocelli_vector::{dot, l2_normalize};
use rayon::prelude::*;

use crate::dba::Neighbours;
use crate::pca::{Components, Covariance, Mean};
use crate::sample::SplitMix64;
use crate::{Error, Progress, ProgressFn, Result};

/// Photos of the sample; of more photos, so many are drawn with equal chances. The time to find
/// neighbours grows with their square.
pub(crate) const MAX_PHOTOS: usize = 8192;
/// Seed of that draw.
const SEED: u64 = 1234;
/// A photo is compared with one neighbour for so many photos, within the range below.
const PHOTOS_PER_NEIGHBOUR: usize = 32;
const MIN_NEIGHBOURS: usize = 3;
const MAX_NEIGHBOURS: usize = 10;
/// Photos that are read at once: about 20 MiB of regions at 1,024 dimensions.
const BLOCK_PHOTOS: usize = 256;

/// The covariance, and facts of the sample.
pub(crate) struct Near {
    /// Mean of all rows looked at, (dim,).
    pub(crate) mean: Vec<f64>,
    /// Principal components of the covariance, before its variances are moved.
    pub(crate) components: Components,
    /// The part by which each variance is to be moved to the mean of all, 0 to 1.
    pub(crate) shrinkage: f64,
    /// Photos looked at.
    pub(crate) photos: usize,
    /// Rows of these photos.
    pub(crate) rows: usize,
    /// Photos that each was compared with.
    pub(crate) neighbours: usize,
    /// Mean cosine of two different photos' descriptors before whitening.
    pub(crate) mean_cosine: f64,
}

/// Learns from the vectors of `parts`, a photo's rows together.
///
/// # Errors
/// Fewer than two photos; a damaged part.
pub(crate) fn learn(parts: &[Part], dim: usize, progress: ProgressFn<'_>) -> Result<Near> {
    let photos = choose(parts);
    let n = photos.len();
    if n < 2 {
        return Err(Error::TooFewRows {
            what: "whitening by near photos (one photo is one row here)".to_owned(),
            needed: 2,
            found: n,
            hint: "; give more photos, or --covariance all".to_owned(),
        });
    }
    let stage = |done: usize| {
        let (done, total) = (done as u64, 2 * n as u64);
        progress(Progress { stage: "covariance", done, total });
    };
    let pooled = Pooled::read(&photos, dim, &stage)?;
    let regions = pooled.rows > n;
    let most = if regions { MAX_NEIGHBOURS } else { MIN_NEIGHBOURS };
    let k = (n / PHOTOS_PER_NEIGHBOUR).clamp(MIN_NEIGHBOURS, most).min(n - 1);
    let neighbours = Neighbours::exact(&pooled.descriptors, dim, Metric::InnerProduct, k)?;

    // The covariance is the mean over the photos of A^T A, with these rows in a photo's A.
    let region_scale = (n as f64 / pooled.rows.abs_diff(n).max(1) as f64).sqrt() as f32;
    let photo_scale = (0.5 / k as f64).sqrt() as f32;
    let differences = |i: usize| -> Result<Vec<f32>> {
        let own = pooled.mean_of(i, dim);
        let subtract = |x: &[f32], y: &[f32], scale: f32| -> Vec<f32> {
            x.iter().zip(y).map(|(x, y)| (x - y) * scale).collect()
        };
        let mut a = Vec::new();
        if regions {
            for row in photos[i].read()?.chunks_exact(dim) {
                a.extend(subtract(row, own, region_scale));
            }
        }
        for &near in neighbours.of(i) {
            a.extend(subtract(own, pooled.mean_of(near as usize, dim), photo_scale));
        }
        Ok(a)
    };
    let mut covariance = Covariance::new(vec![0.0; dim]);
    let mut fourth = 0.0;
    for start in (0..n).step_by(BLOCK_PHOTOS) {
        let block = start..(start + BLOCK_PHOTOS).min(n);
        let end = block.end;
        let samples: Vec<Vec<f32>> =
            block.into_par_iter().map(differences).collect::<Result<_>>()?;
        let norms: Vec<f64> = samples.par_iter().map(|a| gram_norm_sq(a, dim)).collect();
        fourth += norms.iter().sum::<f64>();
        covariance.add(&samples.concat());
        stage(n + end);
    }
    progress(Progress { stage: "eigenvectors", done: 0, total: 0 });
    let components = covariance.finish_over(n as f64)?;
    let shrinkage = shrinkage(&components.variances, fourth, n as f64);
    let mean_cosine = mean_cosine(&pooled.descriptors, dim);
    Ok(Near {
        mean: pooled.mean,
        components,
        shrinkage,
        photos: n,
        rows: pooled.rows,
        neighbours: k,
        mean_cosine,
    })
}

/// One vector for each photo, of two kinds.
struct Pooled {
    /// Mean of all rows, `(dim,)`.
    mean: Vec<f64>,
    /// Mean of each photo's rows, `(n, dim)`.
    means: Vec<f32>,
    /// Descriptor of each photo (see [`pool`]), `(n, dim)`.
    descriptors: Vec<f32>,
    /// Number of rows of all photos.
    rows: usize,
}

impl Pooled {
    /// Reads all photos once; `stage` is called with the number of photos done.
    fn read(photos: &[Photo<'_>], dim: usize, stage: &dyn Fn(usize)) -> Result<Self> {
        let n = photos.len();
        let mut mean = Mean::new(dim);
        let mut means = Vec::with_capacity(n * dim);
        let mut descriptors = Vec::with_capacity(n * dim);
        let mut rows = 0;
        for (i, photo) in photos.iter().enumerate() {
            let x = photo.read()?;
            rows += x.len() / dim;
            mean.add(&x);
            let mut own = Mean::new(dim);
            own.add(&x);
            means.extend(own.finish().into_iter().map(|v| v as f32));
            descriptors.extend(pool(&x, dim));
            stage(i + 1);
        }
        Ok(Self { mean: mean.finish(), means, descriptors, rows })
    }

    /// Mean of the rows of photo `i`, `(dim,)`.
    fn mean_of(&self, i: usize, dim: usize) -> &[f32] {
        &self.means[i * dim..][..dim]
    }
}

/// A photo of a part.
struct Photo<'a> {
    part: &'a Part,
    image: usize,
}

impl Photo<'_> {
    /// Rows of the photo, `(n, dim)`.
    fn read(&self) -> Result<Vec<f32>> {
        Ok(self.part.read(self.part.rows_of(self.image))?)
    }
}

/// The photos that are looked at, in the order of the parts.
fn choose(parts: &[Part]) -> Vec<Photo<'_>> {
    let all =
        parts.iter().flat_map(|part| (0..part.images()).map(move |image| Photo { part, image }));
    let mut all: Vec<_> = all.filter(|photo| !photo.part.rows_of(photo.image).is_empty()).collect();
    if all.len() > MAX_PHOTOS {
        let mut chosen =
            SplitMix64::new(SEED).sorted_sample(all.len(), MAX_PHOTOS).into_iter().peekable();
        let mut number = 0;
        all.retain(|_| {
            let keep = chosen.next_if_eq(&number).is_some();
            number += 1;
            keep
        });
    }
    all
}

/// R-MAC of the rows as they are: each at unit length, their sum at unit length; zeros where there
/// is no direction.
fn pool(x: &[f32], dim: usize) -> Vec<f32> {
    let mut sum = vec![0.0; dim];
    for row in x.chunks_exact(dim) {
        let mut row = row.to_vec();
        if l2_normalize(&mut row) {
            sum.iter_mut().zip(&row).for_each(|(sum, x)| *sum += x);
        }
    }
    l2_normalize(&mut sum);
    sum
}

/// ‖AᵀA‖² (Frobenius) of A (n, dim), as that of A Aᵀ, which is smaller.
fn gram_norm_sq(a: &[f32], dim: usize) -> f64 {
    let rows: Vec<&[f32]> = a.chunks_exact(dim).collect();
    let mut sum = 0.0;
    for (i, x) in rows.iter().enumerate() {
        for y in &rows[..i] {
            sum += 2.0 * f64::from(dot(x, y)).powi(2);
        }
        sum += f64::from(dot(x, x)).powi(2);
    }
    sum
}

/// Ledoit and Wolf's share of the mean variance: the samples' spread about their mean over that
/// mean's distance from a multiple of the identity. `fourth`: the sum of ‖AᵀA‖² over the `n`
/// samples.
fn shrinkage(variances: &[f64], fourth: f64, n: f64) -> f64 {
    let norm_sq: f64 = variances.iter().map(|v| v * v).sum();
    let mean = variances.iter().sum::<f64>() / variances.len() as f64;
    let spread = (fourth / n - norm_sq) / n;
    let distance = norm_sq - mean * mean * variances.len() as f64;
    if distance > 0.0 { (spread / distance).clamp(0.0, 1.0) } else { 1.0 }
}

/// The mean cosine of all pairs of the unit vectors `x` (n, dim).
fn mean_cosine(x: &[f32], dim: usize) -> f64 {
    let n = (x.len() / dim) as f64;
    let mut mean = Mean::new(dim);
    mean.add(x);
    let norm_sq: f64 = mean.finish().iter().map(|v| v * v).sum();
    (n * norm_sq - 1.0) / (n - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two samples of one row each, (2, 0) and (0, 1): the covariance is diag(2, ½), the fourth
    /// moments 16 + 1; spread (17/2 − 4¼)/2 = 2.125, distance 4¼ − 2·1¼² = 1.125, so all of it.
    /// With 10 of each kind the spread is a tenth: .2125 / 1.125.
    #[test]
    fn shrinkage_by_hand() {
        assert_eq!(gram_norm_sq(&[2.0, 0.0], 2), 16.0);
        // AᵀA of (1, 1), (0, 2) is (1 1; 1 5).
        assert_eq!(gram_norm_sq(&[1.0, 1.0, 0.0, 2.0], 2), 28.0);
        assert_eq!(shrinkage(&[2.0, 0.5], 17.0, 2.0), 1.0);
        assert!((shrinkage(&[2.0, 0.5], 170.0, 20.0) - 0.2125 / 1.125).abs() < 1e-12);
        assert_eq!(shrinkage(&[1.0, 1.0], 2.0, 2.0), 1.0);
    }

    #[test]
    fn mean_cosine_by_hand() {
        // Cosines 0, 1 and 0.
        let cosine = mean_cosine(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0], 2);
        assert!((cosine - 1.0 / 3.0).abs() < 1e-12, "{cosine}");
    }
}
