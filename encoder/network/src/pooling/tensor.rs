//! Pooling with libtorch's operations, where the maps are on a device.
//!
//! Pooling is cheapest there. The map of ResNet-101's last stage at 800 x 600 pixels, 25 x 19
//! cells of 2,048 channels, is 3.9 MB as float32, and pooling it takes a CPU about a millisecond;
//! the 20 rows that R-MAC of three levels makes of it are 164 KB, and a device makes them in one
//! small operation a region for a whole batch.

use ocelli_index::Pooling;
use tch::{Kind, Tensor};

use super::map::GEM_FLOOR;
use super::{Region, Regions, Rows, superglobal};
use crate::error::Result;
use crate::torch::Torch;

/// Numbers that stand behind the rows of an image: whether all of its map is finite, and whether
/// any of it is not zero.
const FLAGS: usize = 2;

/// Rows of a batch of maps as [`super::pool`] makes them, on the maps' device: (N, n, C), f32, or
/// f64 of maps in f64. `maps` are (N, C, h, w) of any floating kind and layout.
///
/// Maxima have the same bits as those of [`super::pool`]. Means are summed in float64 in another
/// order, so they may differ in the last bit.
pub(crate) fn pool(maps: &Tensor, pooling: &Pooling, regions: &Regions) -> Torch<Tensor> {
    let (n, channels, _, _) = maps.size4()?;
    let cells = [2i64, 3];
    // Means in float64, as on the CPU: no sum of many may depend on where it is made.
    let rows = match *pooling {
        // A class token is a map of one cell.
        Pooling::Mac | Pooling::Cls => maps.f_amax(cells, false)?,
        Pooling::Spoc => maps.f_mean_dim(cells.as_slice(), false, Kind::Double)?,
        Pooling::Gem { p } => {
            let p = f64::from(p);
            let maps = maps.f_to_kind(Kind::Float)?.f_clamp_min(f64::from(GEM_FLOOR))?;
            let powers = maps.f_to_kind(Kind::Double)?.f_pow_tensor_scalar(p)?;
            let means = powers.f_mean_dim(cells.as_slice(), false, Kind::Double)?;
            means.f_pow_tensor_scalar(p.recip())?
        }
        Pooling::SuperGlobal { p, region_p, window, floor } => {
            let parameters = superglobal::Parameters { p, region_p, window, floor };
            superglobal::pool_tensor(maps, parameters)?
        }
        Pooling::Rmac { .. } | Pooling::Proposals { .. } => match regions {
            Regions::Same(regions) => maxima(maps, regions)?,
            Regions::Each(regions) => {
                let each = regions.iter().zip(0..);
                let each = each.map(|(regions, at)| maxima(&maps.f_narrow(0, at, 1)?, regions));
                Tensor::f_cat(&each.collect::<Torch<Vec<_>>>()?, 0)?
            }
        },
    };
    // Only training in double precision has maps in it.
    let kind = if maps.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    rows.f_to_kind(kind)?.f_reshape([n, -1, channels])
}

/// Maxima (N, n, C) of maps over regions.
fn maxima(maps: &Tensor, regions: &[Region]) -> Torch<Tensor> {
    let maximum = |region: &Region| {
        let rows = maps.f_narrow(2, region.y as i64, region.height as i64)?;
        let region = rows.f_narrow(3, region.x as i64, region.width as i64)?;
        region.f_amax([2i64, 3], false)
    };
    Tensor::f_stack(&regions.iter().map(maximum).collect::<Torch<Vec<_>>>()?, 1)
}

/// `rows` (N, n, D) of `maps`, behind those of each image what [`split`] wants to know of its map:
/// (N, n D + [`FLAGS`]).
pub(crate) fn with_flags(rows: &Tensor, maps: &Tensor) -> Torch<Tensor> {
    let map = [1i64, 2, 3];
    let n = rows.size().first().copied().unwrap_or(0);
    let finite = maps.f_isfinite()?.f_all_dims(map.as_slice(), false)?;
    let active = maps.f_ne(0)?.f_any_dims(map.as_slice(), false)?;
    let flags = Tensor::f_stack(&[finite, active], 1)?.f_to_kind(Kind::Float)?;
    Tensor::f_cat(&[rows.f_reshape([n, -1])?, flags], 1)
}

/// Each image's share of what [`with_flags`] made of `images` > 0 images, once it is on the host.
pub(crate) fn split(made: &[f32], images: usize) -> Vec<Result<Rows>> {
    let length = made.len() / images.max(1);
    made.chunks_exact(length.max(1))
        .map(|made| match made.split_at_checked(length.saturating_sub(FLAGS)) {
            Some((rows, &[finite, active])) if finite > 0.0 => {
                Ok(Rows { rows: rows.to_vec(), active: active > 0.0 })
            }
            _ => Err(super::not_finite()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ocelli_index::Grid;
    use tch::Device;

    use super::super::{self as pooling, FeatureMap};
    use super::*;
    use crate::error::Error;

    /// Against the CPU's pooling, for every kind of it, kinds of numbers, layouts, and maps as
    /// small as they come.
    #[test]
    fn rows_are_those_of_the_cpu() {
        let image = (330, 250);
        for (size, stride) in [((11, 8), 32), ((1, 1), 32), ((2, 9), 64), ((21, 16), 16)] {
            let values =
                Tensor::arange(3 * 40 * (size.0 * size.1) as i64, (Kind::Float, Device::Cpu))
                    .f_mul_scalar(12.9898)
                    .unwrap()
                    .sin()
                    .relu();
            let maps = values.reshape([3, 40, size.0 as i64, size.1 as i64]);
            for pooling in [
                Pooling::Mac,
                Pooling::Spoc,
                Pooling::Gem { p: 2.92 },
                Pooling::SUPERGLOBAL,
                Pooling::SuperGlobal { p: 3.0, region_p: 1.5, window: 7, floor: 0.1 },
                Pooling::Rmac { levels: 3, grid: Grid::FeatureMap },
                Pooling::Rmac { levels: 4, grid: Grid::ImagePixels },
            ] {
                let regions = pooling::grid(&pooling, size, image, stride);
                for kind in [Kind::Float, Kind::BFloat16] {
                    let maps = maps.to_kind(kind);
                    let last = maps.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
                    for maps in [&maps, &last] {
                        let made = pool(maps, &pooling, &regions).unwrap();
                        let made = with_flags(&made, maps).unwrap();
                        let made = split(&Vec::<f32>::try_from(made.reshape([-1])).unwrap(), 3);
                        assert_eq!(made.len(), 3);
                        for (at, made) in made.into_iter().enumerate() {
                            let map = FeatureMap::from_tensor(&maps.get(at as i64)).unwrap();
                            let expected = pooling::pool(&map, &pooling, regions.of(at));
                            let made = made.unwrap();
                            assert_eq!(made.active, !map.is_zero());
                            assert_eq!(made.rows.len(), expected.len());
                            let exact = matches!(pooling, Pooling::Mac | Pooling::Rmac { .. });
                            for (made, expected) in made.rows.iter().zip(&expected) {
                                let near = (made - expected).abs() <= 1e-6 * expected.abs();
                                assert!(
                                    if exact { made == expected } else { near },
                                    "{pooling:?} {made} {expected}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    /// One of a batch is not finite where no region looks first, one is silent: each for itself.
    #[test]
    fn what_is_wrong_with_one_map_stays_with_it() {
        let maps = Tensor::ones([3, 4, 5, 6], (Kind::Float, Device::Cpu));
        let _ = maps.get(1).get(3).get(4).get(5).fill_(f64::NAN);
        let _ = maps.get(2).zero_();
        for pooling in
            [Pooling::Mac, Pooling::Spoc, Pooling::Rmac { levels: 2, grid: Grid::FeatureMap }]
        {
            let regions = pooling::grid(&pooling, (5, 6), (50, 60), 10);
            let made = pool(&maps, &pooling, &regions).unwrap();
            let made = with_flags(&made, &maps).unwrap();
            let made = split(&Vec::<f32>::try_from(made.reshape([-1])).unwrap(), 3);
            assert!(
                made[0]
                    .as_ref()
                    .is_ok_and(|made| made.active && made.rows.iter().all(|&v| v == 1.0))
            );
            assert!(made[1].as_ref().is_err_and(|e| matches!(e, Error::NoActivation { .. })));
            assert!(made[2].as_ref().is_ok_and(|made| !made.active));
        }
    }
}
