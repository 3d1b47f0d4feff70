//! SuperGlobal's pooling: ReLUP, Regional-GeM and GeM+.
//!
//! Shao, Chen, Karpur, Cui, Araujo, Cao: "Global Features are All You Need for Image Retrieval and
//! Reranking" (ICCV 2023). With activations x, floor a, exponents r and p, and windows of w x w
//! cells around each cell, the map being mirrored at its edges (the edge itself not doubled):
//!
//! ```text
//! y = max(x, a)                                                     ReLUP
//! z = (mean over the window of y^r)^(1/r) / 2 + y / 2               Regional-GeM
//! out = (mean over all cells of max(z, 1e-8)^p)^(1/p)               GeM+
//! ```
//!
//! The published code has a floor of .014 between the earlier stages of the network, and 0 before
//! the pooling. The fourth part, Scale-GeM, combines the sizes of an image: `max` and `scale-gem`
//! of [`ocelli_index::Combine`].

use tch::{Kind, Tensor};

use super::map::FeatureMap;
use crate::torch::Torch;

/// Values below this count as this in GeM+, as in the published code.
const FLOOR: f64 = 1e-8;

/// The fields of [`ocelli_index::Pooling::SuperGlobal`].
#[derive(Clone, Copy)]
pub(super) struct Parameters {
    pub(super) p: f32,
    pub(super) region_p: f32,
    pub(super) window: u32,
    pub(super) floor: f32,
}

/// Row (C,) of a map, not normalised.
pub(super) fn pool(map: &FeatureMap, parameters: Parameters) -> Vec<f32> {
    let (height, width) = (map.height(), map.width());
    let Parameters { p, region_p, window, floor } = parameters;
    let (p, region_p) = (f64::from(p), f64::from(region_p));
    let rows = mirrored(height, window as usize);
    let columns = mirrored(width, window as usize);
    let cells_of_window = f64::from(window * window);
    let mut powers = vec![0.0f64; height * width];
    // Sums of `window` cells along a row.
    let mut along = vec![0.0f64; height * width];
    let pool = |plane: &[f32]| {
        for (power, &x) in powers.iter_mut().zip(plane) {
            *power = power_of(f64::from(x.max(floor)), region_p);
        }
        for (power, along) in powers.chunks_exact(width).zip(along.chunks_exact_mut(width)) {
            for (sum, cells) in along.iter_mut().zip(&columns) {
                *sum = cells.iter().filter_map(|&cell| power.get(cell)).sum();
            }
        }
        let mut total = 0.0;
        for (cell, &x) in plane.iter().enumerate() {
            let (row, column) = (cell / width, cell % width);
            let of_rows = rows.get(row).into_iter().flatten();
            let sum: f64 = of_rows.filter_map(|&row| along.get(row * width + column)).sum();
            let regional = power_of(sum / cells_of_window, region_p.recip());
            let z = 0.5 * regional + 0.5 * f64::from(x.max(floor));
            total += z.max(FLOOR).powf(p);
        }
        (total / plane.len() as f64).powf(p.recip()) as f32
    };
    map.planes().map(pool).collect()
}

/// The same of maps (N, C, h, w) on their device: (N, C), float64.
pub(super) fn pool_tensor(maps: &Tensor, parameters: Parameters) -> Torch<Tensor> {
    let (_, _, height, width) = maps.size4()?;
    let Parameters { p, region_p, window, floor } = parameters;
    let (p, region_p) = (f64::from(p), f64::from(region_p));
    let maps = maps.f_to_kind(Kind::Float)?.f_clamp_min(f64::from(floor))?;
    let maps = maps.f_to_kind(Kind::Double)?;
    let mut sums = maps.f_pow_tensor_scalar(region_p)?;
    for (axis, size) in [(2, height), (3, width)] {
        let cells = mirrored(size as usize, window as usize);
        let mut sum: Option<Tensor> = None;
        for step in 0..window as usize {
            let cells = cells.iter().filter_map(|cells| cells.get(step));
            let cells: Vec<i64> = cells.map(|&cell| cell as i64).collect();
            let cells = Tensor::f_from_slice(&cells)?.f_to_device(maps.device())?;
            let shifted = sums.f_index_select(axis, &cells)?;
            sum = Some(match sum {
                Some(sum) => sum.f_add(&shifted)?,
                None => shifted,
            });
        }
        sums = sum.unwrap_or(sums);
    }
    let means = sums.f_div_scalar(f64::from(window * window))?;
    let regional = means.f_pow_tensor_scalar(region_p.recip())?;
    let mixed = regional.f_add(&maps)?.f_mul_scalar(0.5)?.f_clamp_min(FLOOR)?;
    let cells = [2i64, 3];
    let means = mixed.f_pow_tensor_scalar(p)?.f_mean_dim(cells.as_slice(), false, Kind::Double)?;
    means.f_pow_tensor_scalar(p.recip())
}

/// x^p for x >= 0. Many activations are 0, whose power is slow to compute.
fn power_of(x: f64, p: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.powf(p) }
}

/// For each of `size` > 0 cells the `window` cells around it, those beyond an end mirrored at it,
/// as often as it takes.
fn mirrored(size: usize, window: usize) -> Vec<Vec<usize>> {
    let (size, half) = (size as i64, (window / 2) as i64);
    let period = (2 * (size - 1)).max(1);
    let mirror = |cell: i64| {
        let cell = cell.rem_euclid(period);
        cell.min(period - cell).min(size - 1) as usize
    };
    let window = window as i64;
    (0..size).map(|cell| (0..window).map(|step| mirror(cell - half + step)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use ocelli_index::Pooling;

    use super::super::pool;
    use super::*;

    /// What `golden/make_superglobal.py` prints: pooling, (height, width), row.
    const GOLDEN: [(&str, (usize, usize), &[f64]); 5] = [
        ("superglobal", (5, 7), &[0.772825333, 0.772543743, 0.780015966]),
        ("superglobal", (12, 3), &[0.755836481, 0.748226591, 0.760376257]),
        ("superglobal", (2, 1), &[0.989278393, 1.02742584, 0.70632894]),
        ("superglobal", (1, 1), &[1e-08, 1.26399994, 1.102]),
        ("superglobal:3:1.5:3:0.014", (6, 4), &[0.651214527, 0.677095367, 0.693186141]),
    ];

    #[test]
    fn edges_are_mirrors() {
        let flat = |size, window| mirrored(size, window).concat();
        assert_eq!(flat(3, 3), [1, 0, 1, 0, 1, 2, 1, 2, 1]);
        assert_eq!(flat(1, 5), [0; 5]);
        assert_eq!(flat(2, 5), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(mirrored(4, 5)[3], [1, 2, 3, 2, 1]);
        assert_eq!(mirrored(9, 1).concat(), (0..9).collect::<Vec<_>>());
    }

    /// Against NumPy, from the formulas: `golden/make_superglobal.py`.
    #[test]
    fn rows_match_numpy() {
        for (pooling, (height, width), expected) in GOLDEN {
            let pooling: Pooling = pooling.parse().unwrap();
            // As `feature` in the script.
            let count = 3 * height * width;
            let values = (0..count).map(|at| (((at * 7919 + 13) % 1000) as f32) / 500.0 - 0.6);
            let map = FeatureMap::new(3, height, width, values.collect()).unwrap();
            let found = pool(&map, &pooling, &[]);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let error = (f64::from(*found) - expected).abs() / expected.abs();
                assert!(error < 1e-6, "{pooling} {height}x{width}: {found} {expected}");
            }
        }
    }
}
