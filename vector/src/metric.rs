//! How two vectors are compared, and what follows from it: which score is better, and by how much.
//!
//! A *score* is what users see: a squared distance, of which a smaller one is better, or an inner
//! product, of which a larger one is better. A *cost* is what the code minimises: the score with
//! the sign that makes a smaller one better.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::dense::{dot, dots_of, l2_sq, l2_sqs_of};
use crate::level::Simd;

/// How a query and an indexed vector are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Squared Euclidean distance ‖q − x‖²; smaller is better.
    L2,
    /// Inner product ⟨q, x⟩; larger is better.
    InnerProduct,
}

impl Metric {
    /// Both metrics.
    pub const ALL: [Self; 2] = [Self::L2, Self::InnerProduct];
    /// The names of both metrics, for help and errors.
    pub const NAMES: &[&str] = &["l2", "ip"];

    /// The name of this metric in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L2 => Self::NAMES[0],
            Self::InnerProduct => Self::NAMES[1],
        }
    }

    /// The cost of a score. A negation, so that the order of NaN is turned round too.
    #[inline(always)]
    pub fn cost(self, score: f32) -> f32 {
        match self {
            Self::L2 => score,
            Self::InnerProduct => -score,
        }
    }

    /// The score of a cost: the inverse of [`Metric::cost`].
    #[inline(always)]
    pub fn score(self, cost: f32) -> f32 {
        // A negation is its own inverse.
        self.cost(cost)
    }

    /// Turns scores into their costs.
    #[inline]
    pub fn turn_to_costs(self, scores: &mut [f32]) {
        if self == Self::InnerProduct {
            scores.iter_mut().for_each(|score| *score = -*score);
        }
    }

    /// The order of two scores, the better one first. A total order, also of NaN.
    #[inline]
    pub fn order(self, a: f32, b: f32) -> Ordering {
        self.cost(a).total_cmp(&self.cost(b))
    }

    /// Whether `score` is at least as good as `threshold`; false where either is NaN.
    #[inline]
    pub fn reaches(self, score: f32, threshold: f32) -> bool {
        self.cost(score) <= self.cost(threshold)
    }

    /// How often the inner product with the query is counted in the cost, but for its sign: twice
    /// in ‖q‖² + ‖x‖² − 2 ⟨q, x⟩, once in −⟨q, x⟩.
    #[inline(always)]
    pub fn products(self) -> f32 {
        match self {
            Self::L2 => 2.0,
            Self::InnerProduct => 1.0,
        }
    }

    /// How often ‖x‖² is counted in the cost: once in ‖q‖² + ‖x‖² − 2 ⟨q, x⟩, never in −⟨q, x⟩.
    #[inline(always)]
    pub fn norms(self) -> f32 {
        match self {
            Self::L2 => 1.0,
            Self::InnerProduct => 0.0,
        }
    }

    /// The cost, less ‖q‖², of an `x` with ‖x‖² = `norm_sq` and ⟨q, x⟩ = `product`: enough to rank
    /// several `x` for one `q`.
    #[inline(always)]
    pub fn cost_by_product(self, product: f32, norm_sq: f32) -> f32 {
        match self {
            Self::L2 => norm_sq - 2.0 * product,
            Self::InnerProduct => -product,
        }
    }

    /// The score of `q` and `x`, both (d,), in the order of [`crate::dense`].
    ///
    /// # Panics
    /// If the dimensions differ.
    #[inline]
    pub fn of(self, q: &[f32], x: &[f32]) -> f32 {
        match self {
            Self::L2 => l2_sq(q, x),
            Self::InnerProduct => dot(q, x),
        }
    }

    /// The score of `q` (d,) with each of the numbered `rows` (n, d): writes `out` (numbers,). The
    /// bits of [`Metric::of`] at every level.
    ///
    /// # Panics
    /// If a number is not that of a row.
    #[inline]
    pub fn of_rows(self, simd: Simd, q: &[f32], rows: &[f32], numbers: &[u32], out: &mut Vec<f32>) {
        match self {
            Self::L2 => l2_sqs_of(simd, q, rows, numbers, out),
            Self::InnerProduct => dots_of(simd, q, rows, numbers, out),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMetric {
    /// The text.
    pub found: String,
}

impl fmt::Display for UnknownMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Metric::NAMES.join(", ");
        write!(f, "unknown metric {:?}, expected one of {names}", self.found)
    }
}

impl std::error::Error for UnknownMetric {}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(s: &str) -> Result<Self, UnknownMetric> {
        let found = Self::ALL.into_iter().find(|metric| metric.as_str() == s);
        found.ok_or_else(|| UnknownMetric { found: s.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_is_smaller_for_distances_and_larger_for_products() {
        let (l2, ip) = (Metric::L2, Metric::InnerProduct);
        assert_eq!((l2.cost(3.0), ip.cost(3.0)), (3.0, -3.0));
        assert_eq!((l2.order(1.0, 2.0), ip.order(1.0, 2.0)), (Ordering::Less, Ordering::Greater));
        for metric in Metric::ALL {
            assert!(metric.reaches(1.0, 1.0) && !metric.reaches(f32::NAN, 1.0));
            assert_eq!(metric.score(metric.cost(-0.5)), -0.5);
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        assert!(l2.reaches(1.0, 2.0) && ip.reaches(2.0, 1.0));
        assert_eq!((l2.of(&[1.0, 2.0], &[3.0, 3.0]), ip.of(&[1.0, 2.0], &[3.0, 3.0])), (5.0, 9.0));
        let error = "cosine".parse::<Metric>().unwrap_err().to_string();
        assert_eq!(error, "unknown metric \"cosine\", expected one of l2, ip");
    }
}
