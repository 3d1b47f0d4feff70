//! Diffusion: hits in the order in which a walk that begins at the query reaches them through each
//! other.
//!
//! An image that looks like the query's neighbours, but not like the query, is found through them:
//! similarity flows along the graph of mutual nearest neighbours (Zhou, Weston, Gretton, Bousquet,
//! Schölkopf, *Ranking on Data Manifolds*, NIPS 2003; Iscen, Tolias, Avrithis, Furon, Chum,
//! *Efficient Diffusion on Region Manifolds*, CVPR 2017, of which this is the form for global
//! descriptors, on the graph of what one search has found):
//!
//! - s(x, z) = max(0, ⟨x, z⟩)^γ of vectors at unit length;
//! - a_ij = s(x_i, x_j) where each is among the other's k nearest, else 0; S = D^−½ A D^−½ with D
//!   the sums of rows;
//! - y_i = s(q, x_i) for the query's k_q nearest, else 0;
//! - f solves (I − α S) f = y, and ranks.
//!
//! The matrix is symmetric and positive definite for α < 1, so conjugate gradients solve it.
//! Similarities are f32 as [`dense::dots_of`] defines them, the rest is f64 in one fixed order: the
//! same order of hits on every machine.

use ocelli_vector::{Simd, dense, l2_normalize};

use super::MAX_EXPONENT;
use crate::base::error::{Error, Result};

#[cfg(test)]
mod tests;

/// The most candidates: the graph takes their square in time and memory.
pub const MAX_DIFFUSION_CANDIDATES: usize = 4096;
/// Where the error is so small a part of y, it decides between no hits that differ.
const TOLERANCE: f64 = 1e-10;
/// An upper limit that is not reached: the condition of the matrix is at most (1 + α) / (1 − α).
const MAX_STEPS: usize = 10_000;

/// How hits are ranked by diffusion. Neighbours and α of Iscen et al. (50, 10 of the query, .99)
/// are for graphs of whole databases: among 200 hits the walk would end where most hits are like
/// each other. The default was chosen on one half of the generated landmarks (`./bench rerank`
/// shows the other half).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diffusion {
    /// The best hits of the search, which take part; those after them keep their places.
    pub candidates: usize,
    /// Nearest neighbours of each of them that may be neighbours in the graph, at least 1.
    pub neighbours: usize,
    /// Hits nearest to the query where the walk begins, at least 1.
    pub query_neighbours: usize,
    /// Exponent of similarities, 0 to 100.
    pub gamma: f32,
    /// Share of a hit's score that flows on to its neighbours, 0 to less than 1. With 0, the hits
    /// at which the walk begins keep the order of the search.
    pub alpha: f32,
}

impl Default for Diffusion {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Diffusion {
    /// The defaults: see [`Diffusion`].
    pub const DEFAULT: Self =
        Self { candidates: 200, neighbours: 10, query_neighbours: 5, gamma: 3.0, alpha: 0.8 };

    /// The first value that is out of range: the field, and what is wrong.
    pub fn out_of_range(&self) -> Option<(&'static str, String)> {
        let Self { candidates, neighbours, query_neighbours, gamma, alpha } = *self;
        let (field, found, expected) = match self {
            _ if !(1..=MAX_DIFFUSION_CANDIDATES).contains(&candidates) => {
                let expected = format!("1 to {MAX_DIFFUSION_CANDIDATES}");
                ("candidates", candidates.to_string(), expected)
            }
            _ if neighbours == 0 => ("neighbours", "0".into(), "at least 1".into()),
            _ if query_neighbours == 0 => ("query_neighbours", "0".into(), "at least 1".into()),
            _ if !(0.0..=MAX_EXPONENT).contains(&gamma) => {
                ("gamma", gamma.to_string(), format!("0 to {MAX_EXPONENT}"))
            }
            _ if !(0.0..1.0).contains(&alpha) => {
                ("alpha", alpha.to_string(), "0 to less than 1".into())
            }
            _ => return None,
        };
        Some((field, format!("{field} is {found}; expected {expected}")))
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the first value that is out of range.
    pub fn check(&self) -> Result<()> {
        match self.out_of_range() {
            Some((_, what)) => Err(Error::invalid(format!("diffusion: {what}"))),
            None => Ok(()),
        }
    }

    /// The numbers of the hits, best first, whose vectors (dim,) are given in the order of the
    /// search, for the query `q` (dim,). Those whose f is equal, which the walk does not reach,
    /// say, stay in that order, and so do all after the candidates.
    ///
    /// # Errors
    /// What [`Self::check`] refuses; [`Error::Dim`] for a hit of another dimension.
    pub fn order<V: AsRef<[f32]>>(&self, simd: Simd, q: &[f32], hits: &[V]) -> Result<Vec<usize>> {
        let f = self.solve(simd, q, &hits[..hits.len().min(self.candidates)])?;
        let mut order: Vec<usize> = (0..f.len()).collect();
        order.sort_by(|&a, &b| f[b].total_cmp(&f[a]));
        order.extend(f.len()..hits.len());
        Ok(order)
    }

    /// f, (n,), of n hits.
    fn solve<V: AsRef<[f32]>>(&self, simd: Simd, q: &[f32], hits: &[V]) -> Result<Vec<f64>> {
        self.check()?;
        let (n, d) = (hits.len(), q.len());
        let mut rows = Vec::with_capacity((n + 1) * d);
        for vector in hits.iter().map(AsRef::as_ref).chain([q]) {
            if vector.len() != d {
                let what = "vector of a hit".into();
                return Err(Error::Dim { what, expected: d, found: vector.len() });
            }
            let start = rows.len();
            rows.extend_from_slice(vector);
            if !l2_normalize(&mut rows[start..]) {
                // What has no direction is like nothing.
                rows[start..].fill(0.0);
            }
        }
        let gamma = f64::from(self.gamma);
        let power = |s: f32| if s > 0.0 { f64::from(s).powf(gamma) } else { 0.0 };
        let (hits, q) = rows.split_at(n * d);
        let all: Vec<u32> = (0..n as u32).collect();
        let mut similarities = Vec::new();
        let mut nearest = |x: &[f32], k: usize, itself: Option<usize>| {
            dense::dots_of(simd, x, hits, &all, &mut similarities);
            nearest(&similarities, k, itself)
        };
        let mut y = vec![0f64; n];
        for (hit, similarity) in nearest(q, self.query_neighbours, None) {
            y[hit] = power(similarity);
        }
        let lists = (0..n).map(|i| nearest(&hits[i * d..][..d], self.neighbours, Some(i)));
        let graph = Graph::mutual(lists.collect(), power);
        Ok(graph.solve(self.alpha.into(), &y))
    }
}

/// The `k` largest of `similarities`, but `itself`, by number; ties go to the smaller.
fn nearest(similarities: &[f32], k: usize, itself: Option<usize>) -> Vec<(usize, f32)> {
    let others = similarities.iter().copied().enumerate().filter(|&(i, _)| Some(i) != itself);
    let mut others: Vec<(usize, f32)> = others.collect();
    if k < others.len() {
        others.select_nth_unstable_by(k, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        others.truncate(k);
    }
    others.sort_unstable_by_key(|&(i, _)| i);
    others
}

/// A sparse symmetric matrix: for each row its columns and values.
struct Graph(Vec<Vec<(usize, f64)>>);

impl Graph {
    /// S of the lists of nearest neighbours of each node, ascending.
    fn mutual(lists: Vec<Vec<(usize, f32)>>, power: impl Fn(f32) -> f64) -> Graph {
        let knows = |i: usize, j: usize| lists[i].binary_search_by_key(&j, |&(j, _)| j).is_ok();
        let edges = |i: usize| -> Vec<(usize, f64)> {
            let mutual = lists[i].iter().filter(|&&(j, _)| knows(j, i));
            mutual.map(|&(j, s)| (j, power(s))).filter(|&(_, a)| a > 0.0).collect()
        };
        let mut rows: Vec<Vec<(usize, f64)>> = (0..lists.len()).map(edges).collect();
        let sums: Vec<f64> = rows.iter().map(|row| row.iter().map(|&(_, a)| a).sum()).collect();
        for (row, &d_i) in rows.iter_mut().zip(&sums) {
            for (j, a) in row {
                *a /= (d_i * sums[*j]).sqrt();
            }
        }
        Graph(rows)
    }

    /// (I − α S) x.
    fn apply(&self, alpha: f64, x: &[f64], out: &mut [f64]) {
        for ((out, row), &own) in out.iter_mut().zip(&self.0).zip(x) {
            let flows: f64 = row.iter().map(|&(j, s)| s * x[j]).sum();
            *out = own - alpha * flows;
        }
    }

    /// f of (I − α S) f = y, by conjugate gradients (Hestenes, Stiefel 1952).
    fn solve(&self, alpha: f64, y: &[f64]) -> Vec<f64> {
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let (mut f, mut rest, mut direction) = (vec![0f64; y.len()], y.to_vec(), y.to_vec());
        let mut image = vec![0f64; y.len()];
        let mut error = dot(&rest, &rest);
        let enough = error * TOLERANCE * TOLERANCE;
        for _ in 0..MAX_STEPS {
            if error <= enough {
                break;
            }
            self.apply(alpha, &direction, &mut image);
            let step = error / dot(&direction, &image);
            for i in 0..f.len() {
                f[i] += step * direction[i];
                rest[i] -= step * image[i];
            }
            let before = std::mem::replace(&mut error, dot(&rest, &rest));
            for (direction, rest) in direction.iter_mut().zip(&rest) {
                *direction = rest + error / before * *direction;
            }
        }
        f
    }
}
