//! A feature map to vectors: maxima of regions (R-MAC's or proposed ones), MAC, SPoC, GeM and
//! SuperGlobal's pooling, on the CPU ([`pool`]) and on a device.

mod grid;
mod map;
mod superglobal;
pub(crate) mod tensor;

use ocelli_index::{Grid, Pooling};

use crate::error::Error;
pub(crate) use grid::region_of;
pub use grid::{Region, image_grid, rigid_grid};
pub use map::FeatureMap;

/// Rows (n, C) of a feature map, not normalised: one per region for R-MAC and for proposals, one in
/// all for the others. `regions` are those of [`grid`], or proposed ones.
pub fn pool(map: &FeatureMap, pooling: &Pooling, regions: &[Region]) -> Vec<f32> {
    match *pooling {
        Pooling::Rmac { .. } | Pooling::Proposals { .. } => map.max_over(regions),
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

/// The regions of the images of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Regions {
    /// Regions of all images alike: these have one size.
    Same(Vec<Region>),
    /// Regions of each image for itself, equally many.
    Each(Vec<Vec<Region>>),
}

impl Regions {
    /// The regions of an image of the batch.
    pub fn of(&self, image: usize) -> &[Region] {
        match self {
            Regions::Same(regions) => regions,
            Regions::Each(regions) => regions.get(image).map_or(&[], Vec::as_slice),
        }
    }
}

/// The regions of R-MAC's grid on a map of `size`, (height, width) like `image`, that of the image
/// which entered the network; none for other poolings. `stride` is its pixels per cell; both matter
/// for the grid in image pixels only.
pub fn grid(
    pooling: &Pooling,
    size: (usize, usize),
    image: (usize, usize),
    stride: u32,
) -> Regions {
    Regions::Same(match *pooling {
        Pooling::Rmac { levels, grid: Grid::FeatureMap } => rigid_grid(size.0, size.1, levels),
        Pooling::Rmac { levels, grid: Grid::ImagePixels } => {
            image_grid(image, size, stride, levels)
        }
        _ => Vec::new(),
    })
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
