//! Rows compared with the centroids near their own, not with all of them.
//!
//! From one iteration to the next a row stays with its centroid or moves to one close by. So the
//! first iteration compares it with all centroids, and later ones with those that are nearest to
//! the centroid that the row has: it is found there again, so that no iteration makes the error
//! larger. (Wang, Wang, Ke, Zeng, Li, *Fast approximate k-means via cluster closures*, CVPR 2012,
//! has the same idea, with neighbourhoods of rows.) Which centroids those are is computed in floats
//! of a fixed order, so the bits are the same everywhere.

use ocelli_vector::Simd;
use ocelli_vector::nearest::{NearestRows, NearestScratch, SeveralScratch};
use rayon::prelude::*;

use super::{Lists, TASK_ROWS};

/// Centroids that a row is compared with, its own included.
pub(super) const COUNT: usize = 256;
/// Fewer centroids than this are all compared with each row: the gain would be small.
pub(super) const FEWEST: usize = 4 * COUNT;
/// Iterations that neighbours of centroids serve, while the centroids move.
pub(super) const SERVE: usize = 4;
/// Centroids whose neighbours one task finds.
const TASK: usize = 96;

/// The nearest of the rows `x` (k, d) to each of them: (k, count), itself first, then ascending by
/// distance; of two at equal distance the smaller index first. `count` is at most k.
pub(super) fn neighbours(simd: Simd, x: &[f32], d: usize, count: usize) -> Vec<u32> {
    let rows = NearestRows::new(x, d);
    let mut near = vec![0; x.len() / d * count];
    let tasks = near.par_chunks_mut(TASK * count).zip(x.par_chunks(TASK * d)).enumerate();
    tasks.for_each_init(SeveralScratch::default, |scratch, (task, (near, x))| {
        rows.several(simd, x, count, near, scratch);
        for (own, near) in (task as u32 * TASK as u32..).zip(near.chunks_exact_mut(count)) {
            // Copies of a row may come before it, even all that there is room for.
            let at = near.iter().position(|&id| id == own).unwrap_or(count - 1);
            near[..=at].rotate_right(1);
            near[0] = own;
        }
    });
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
