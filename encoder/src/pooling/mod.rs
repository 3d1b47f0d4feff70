//! A feature map to vectors: R-MAC's regional maxima, MAC, SPoC and GeM.

mod combine;
mod grid;
mod map;
pub(crate) mod tensor;

pub(crate) use combine::{combine, sum_rows};
pub use grid::{Region, image_grid, rigid_grid};
pub use map::FeatureMap;

use ocelli_index::{Grid, Pooling};

use crate::error::{Error, Result};

/// Levels of the grid that are accepted; the papers use up to 4.
const MAX_LEVELS: u32 = 4;

/// Refuses parameters without a meaning.
///
/// # Errors
/// `Invalid` for levels outside 1 to 4 and exponents that are not positive numbers.
pub fn check(pooling: &Pooling) -> Result<()> {
    match *pooling {
        Pooling::Rmac { levels, .. } if !(1..=MAX_LEVELS).contains(&levels) => {
            Err(Error::invalid(format!("levels: expected 1 to {MAX_LEVELS}, found {levels}")))
        }
        Pooling::Gem { p } if !(p.is_finite() && p > 0.0) => {
            Err(Error::invalid(format!("GeM exponent: expected a number above 0, found {p}")))
        }
        _ => Ok(()),
    }
}

/// Rows (n, C) of a feature map, not normalised: one per region for R-MAC, one in all for the
/// others. `image` is (height, width) of the image that entered the network, `stride` its pixels
/// per cell; both matter for the grid in image pixels only.
pub fn pool(map: &FeatureMap, pooling: &Pooling, image: (usize, usize), stride: u32) -> Vec<f32> {
    match *pooling {
        Pooling::Rmac { levels, grid } => {
            map.max_over(&regions(levels, grid, (map.height(), map.width()), image, stride))
        }
        Pooling::Mac => map.max(),
        Pooling::Spoc => map.mean(),
        Pooling::Gem { p } => map.generalized_mean(p),
    }
}

/// The regions of R-MAC on a map of `size`, (height, width) like `image`.
fn regions(
    levels: u32,
    grid: Grid,
    size: (usize, usize),
    image: (usize, usize),
    stride: u32,
) -> Vec<Region> {
    match grid {
        Grid::FeatureMap => rigid_grid(size.0, size.1, levels),
        Grid::ImagePixels => image_grid(image, size, stride, levels),
    }
}

/// What is left of a feature map when it is pooled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pooled {
    /// As [`pool`] makes them, (n, C); of a network on a device what [`crate::network::Finish`]
    /// makes of them.
    pub(crate) rows: Vec<f32>,
    /// Whether any unit fired anywhere.
    pub(crate) active: bool,
}

fn not_finite() -> Error {
    let what = "the feature map has values that are not finite".to_owned();
    Error::NoActivation { what }
}

/// Scales `v` to length 1. False, and unchanged, where all of it is 0 or some of it is not finite.
pub(crate) use ocelli_vector::l2_normalize as unit;

#[cfg(test)]
mod tests {
    use super::*;

    /// The hazard is 0 / 0 and squares out of range: neither may give NaN.
    #[test]
    fn unit_vectors_without_nan() {
        let mut zero = [0.0f32; 5];
        assert!(!unit(&mut zero));
        assert_eq!(zero, [0.0; 5]);
        for scale in [1e-30f32, 1.0, 1e30] {
            let mut v = [3.0 * scale, 4.0 * scale];
            assert!(unit(&mut v));
            assert!((v[0] - 0.6).abs() < 1e-6 && (v[1] - 0.8).abs() < 1e-6, "{scale}: {v:?}");
        }
        assert!(!unit(&mut [1.0, f32::INFINITY]));
    }

    #[test]
    fn meaningless_parameters_are_refused() {
        for bad in [
            Pooling::Rmac { levels: 0, grid: Grid::FeatureMap },
            Pooling::Rmac { levels: 5, grid: Grid::ImagePixels },
            Pooling::Gem { p: 0.0 },
            Pooling::Gem { p: f32::NAN },
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
