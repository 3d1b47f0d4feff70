//! A feature map in plain memory, and its global and regional statistics.

use tch::{Kind, Tensor};

use super::grid::Region;
use crate::error::{Error, Result};

/// Activations below this count as this in the generalized mean (Radenović, Tolias, Chum 2018).
pub(super) const GEM_FLOOR: f32 = 1e-6;

/// Channels that [`FeatureMap::max_over`] compares at a time.
const LANES: usize = 16;

/// Activations (C, H, W), row-major f32, at least one of each, all finite.
#[derive(Clone, Debug)]
pub struct FeatureMap {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl FeatureMap {
    /// Takes (channels, height, width) activations.
    ///
    /// # Errors
    /// `Invalid` when the sizes and the number of values do not agree or a size is 0;
    /// `NoActivation` when a value is not finite.
    pub fn new(
        channels: usize,
        height: usize,
        width: usize,
        values: Vec<f32>,
    ) -> Result<FeatureMap> {
        let expected = channels.checked_mul(height).and_then(|n| n.checked_mul(width));
        if expected != Some(values.len()) || values.is_empty() {
            return Err(Error::invalid(format!(
                "feature map: expected {channels} x {height} x {width} values, found {}",
                values.len()
            )));
        }
        // A maximum would silently skip NaN. Whole chunks without a way out are what compilers
        // vectorise.
        let finite = |chunk: &[f32]| chunk.iter().fold(true, |all, v| all & v.is_finite());
        if !values.chunks(1024).all(finite) {
            return Err(super::not_finite());
        }
        Ok(FeatureMap { channels, height, width, values })
    }

    /// Copies a tensor (C, H, W) out of libtorch.
    ///
    /// # Errors
    /// As [`FeatureMap::new`]; `Torch` when the copy fails.
    pub fn from_tensor(tensor: &Tensor) -> Result<FeatureMap> {
        let size = tensor.size();
        let &[channels, height, width] = size.as_slice() else {
            return Err(Error::invalid(format!(
                "feature map: expected 3 axes (C, H, W), found {size:?}"
            )));
        };
        let copy = || {
            let flat = tensor.f_to_kind(Kind::Float)?.f_contiguous()?.f_reshape([-1])?;
            Vec::<f32>::try_from(&flat)
        };
        let values = copy().map_err(Error::torch("reading the feature map"))?;
        FeatureMap::new(channels as usize, height as usize, width as usize, values)
    }

    /// C.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// H, in cells.
    pub fn height(&self) -> usize {
        self.height
    }

    /// W, in cells.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether no unit fired anywhere.
    pub fn is_zero(&self) -> bool {
        self.values.iter().all(|&v| v == 0.0)
    }

    /// Activations of each channel, (H, W) row-major.
    pub(super) fn planes(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.height * self.width)
    }

    /// Maximum of each channel (C,): MAC, not normalised.
    pub fn max(&self) -> Vec<f32> {
        self.planes().map(|plane| plane.iter().copied().fold(f32::NEG_INFINITY, f32::max)).collect()
    }

    /// Maximum of each channel over each of `regions`, which are cut to the map: (n, C).
    ///
    /// Sixteen channels are laid side by side first, so that one instruction compares several of
    /// them; along a row of a region, which is short, there is little to compare at once.
    pub fn max_over(&self, regions: &[Region]) -> Vec<f32> {
        let cells = self.height * self.width;
        let mut rows = vec![0.0; regions.len() * self.channels];
        let mut block = vec![[0.0f32; LANES]; cells];
        for (group, planes) in self.values.chunks(LANES * cells).enumerate() {
            for (lane, plane) in planes.chunks_exact(cells).enumerate() {
                for (cell, &value) in block.iter_mut().zip(plane) {
                    cell[lane % LANES] = value;
                }
            }
            for (row, region) in rows.chunks_exact_mut(self.channels).zip(regions) {
                let largest = self.largest(&block, region);
                let of_group = row.iter_mut().skip(group * LANES);
                of_group.zip(largest).for_each(|(to, value)| *to = value);
            }
        }
        rows
    }

    /// Maximum of each of the channels in `block` (H, W, lanes) over a region.
    fn largest(&self, block: &[[f32; LANES]], region: &Region) -> [f32; LANES] {
        let x = region.x.min(self.width - 1);
        let x_end = region.x.saturating_add(region.width).clamp(x + 1, self.width);
        let y = region.y.min(self.height - 1);
        let y_end = region.y.saturating_add(region.height).clamp(y + 1, self.height);
        let mut largest = [f32::NEG_INFINITY; LANES];
        for row in block.chunks_exact(self.width).take(y_end).skip(y) {
            for cell in row.get(x..x_end).unwrap_or_default() {
                for (largest, &value) in largest.iter_mut().zip(cell) {
                    // Values are finite, so this is `f32::max`, as one instruction.
                    *largest = if value > *largest { value } else { *largest };
                }
            }
        }
        largest
    }

    /// Mean of each channel (C,): SPoC without centre prior (Babenko, Lempitsky 2015).
    pub fn mean(&self) -> Vec<f32> {
        self.mean_of(f64::from).into_iter().map(|v| v as f32).collect()
    }

    /// (mean of x^p)^(1/p) of each channel (C,), p > 0: GeM.
    pub fn generalized_mean(&self, p: f32) -> Vec<f32> {
        let p = f64::from(p);
        let means = self.mean_of(|v| f64::from(v.max(GEM_FLOOR)).powf(p));
        means.into_iter().map(|v| v.powf(p.recip()) as f32).collect()
    }

    /// Sums in float64: a map of a large image has 10^4 cells.
    fn mean_of(&self, f: impl Fn(f32) -> f64) -> Vec<f64> {
        let cells = (self.height * self.width) as f64;
        self.planes().map(|plane| plane.iter().map(|&v| f(v)).sum::<f64>() / cells).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Against the definition: shapes, numbers of channels and regions as they come, also beyond
    /// the edge.
    #[test]
    fn regional_maxima_are_those_of_the_definition() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
        for channels in [1, 15, 16, 17, 40] {
            let (height, width) = (rng.random_range(1..9), rng.random_range(1..9));
            let values = (0..channels * height * width).map(|_| rng.random_range(-1.0..1.0));
            let map = FeatureMap::new(channels, height, width, values.collect()).unwrap();
            let regions: Vec<Region> = (0..20)
                .map(|_| Region {
                    x: rng.random_range(0..10),
                    y: rng.random_range(0..10),
                    width: rng.random_range(0..10),
                    height: rng.random_range(0..10),
                })
                .collect();
            let mut expected = Vec::new();
            for r in &regions {
                let (x, y) = (r.x.min(width - 1), r.y.min(height - 1));
                let x_end = (r.x + r.width).clamp(x + 1, width);
                let y_end = (r.y + r.height).clamp(y + 1, height);
                for plane in map.values.chunks(height * width) {
                    let inside = |cell: &usize| {
                        (x..x_end).contains(&(cell % width)) && (y..y_end).contains(&(cell / width))
                    };
                    let cells = (0..plane.len()).filter(inside).map(|cell| plane[cell]);
                    expected.push(cells.fold(f32::NEG_INFINITY, f32::max));
                }
            }
            assert_eq!(map.max_over(&regions), expected, "{channels} x {height} x {width}");
        }
    }
}
