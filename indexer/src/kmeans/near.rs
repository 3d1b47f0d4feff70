//! Rows compared with the centroids near their own, not with all of them.
//!
//! From one iteration to the next a row stays with its centroid or moves to one close by. So the
//! first iteration compares it with all centroids, and later ones with those that are nearest to
//! the centroid that the row has: it is found there again, so that no iteration makes the error
//! larger. (Wang, Wang, Ke, Zeng, Li, *Fast approximate k-means via cluster closures*, CVPR 2012,
//! has the same idea, with neighbourhoods of rows.) Which centroids those are is computed in floats
//! of a fixed order, so the bits are the same everywhere.

use ocelli_vector::nearest::{NearestRows, NearestScratch};
use ocelli_vector::{Simd, dense};
use rayon::prelude::*;

use super::{Lists, TASK_ROWS};

/// Centroids that a row is compared with, its own included.
pub(super) const COUNT: usize = 256;
/// Fewer centroids than this are all compared with each row: the gain would be small.
pub(super) const FEWEST: usize = 4 * COUNT;
/// Iterations that neighbours of centroids serve, while the centroids move.
pub(super) const SERVE: usize = 4;

/// The nearest of the rows `x` (k, d) to each of them: (k, count), itself first, then ascending by
/// distance; of two at equal distance the smaller index first. `count` is at most k.
pub(super) fn neighbours(simd: Simd, x: &[f32], d: usize, count: usize) -> Vec<u32> {
    let k = x.len() / d;
    let all: Vec<u32> = (0..k as u32).collect();
    let mut near = vec![0; k * count];
    near.par_chunks_exact_mut(count).zip(x.par_chunks_exact(d)).enumerate().for_each_init(
        || (Vec::new(), Vec::new()),
        |(distances, keys), (own, (near, row))| {
            dense::l2_sqs_of(simd, row, x, &all, distances);
            keys.clear();
            // Floats that are not negative are ordered as their bits are.
            let key = |(id, x): (u32, &f32)| u64::from(x.to_bits()) << 32 | u64::from(id);
            keys.extend((0..).zip(&*distances).map(key));
            keys.swap_remove(own);
            near[0] = own as u32;
            let rest = &mut near[1..];
            if rest.is_empty() {
                return;
            }
            keys.select_nth_unstable(rest.len() - 1);
            let keys = &mut keys[..rest.len()];
            keys.sort_unstable();
            rest.iter_mut().zip(keys).for_each(|(near, key)| *near = *key as u32);
        },
    );
    near
}

/// Writes to `labels` (n,) for each of the rows `x` (n, d) which centroid is the nearest among
/// those that `candidates` names for the row's list; ties to the smaller index. A list with rows
/// has a candidate.
pub(super) fn assign_lists<'a>(
    simd: Simd,
    x: &[f32],
    d: usize,
    centroids: &[f32],
    lists: &Lists,
    candidates: impl Fn(usize) -> &'a [u32],
    labels: &mut [u32],
) {
    let prepared = NearestRows::new(centroids, d);
    let mut tasks = Vec::new();
    let mut found = vec![(0, 0.0); lists.order.len()];
    let mut rest = &mut found[..];
    for list in (0..lists.count()).filter(|&list| !lists.rows(list).is_empty()) {
        let candidates = candidates(list);
        // Laying the candidates in tiles is to cost little beside comparing with them.
        for rows in lists.rows(list).chunks(TASK_ROWS.max(4 * candidates.len())) {
            let (found, others) = rest.split_at_mut(rows.len());
            rest = others;
            tasks.push((rows, candidates, found));
        }
    }
    tasks.into_par_iter().for_each_init(
        || (NearestScratch::default(), Vec::new()),
        |(scratch, gathered), (rows, candidates, found)| {
            gathered.clear();
            for &row in rows {
                gathered.extend_from_slice(&x[row as usize * d..][..d]);
            }
            prepared.assign_among(simd, gathered, candidates, found, scratch);
        },
    );
    for (&row, &(label, _)) in lists.order.iter().zip(&found) {
        labels[row as usize] = label;
    }
}
