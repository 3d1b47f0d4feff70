//! A feature map to vectors: R-MAC's regional maxima, MAC, SPoC, GeM and SuperGlobal's pooling, on
//! the CPU ([`pool`]) and on a device.

mod grid;
mod map;
mod superglobal;
pub(crate) mod tensor;

use ocelli_index::{Grid, Pooling};

use crate::error::Error;
pub use grid::{Region, image_grid, rigid_grid};
pub use map::FeatureMap;

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
        // A map of one cell.
        Pooling::Cls => map.max(),
        Pooling::Gem { p } => map.generalized_mean(p),
        Pooling::SuperGlobal { p, region_p, window, floor } => {
            superglobal::pool(map, superglobal::Parameters { p, region_p, window, floor })
        }
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

/// The rows of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Row-major, as many as were asked for.
    pub rows: Vec<f32>,
    /// Whether any unit fired anywhere.
    pub active: bool,
}

fn not_finite() -> Error {
    let what = "the feature map has values that are not finite".to_owned();
    Error::NoActivation { what }
}
