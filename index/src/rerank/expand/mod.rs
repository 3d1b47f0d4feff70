//! Query expansion and database-side augmentation: arithmetic on descriptors and hits.
//!
//! All of it works in the space of x (dim,): a hit's vector is what its finest code says
//! ([`Snapshot::vector`]). Sums are taken in f64, in the order of the hits, and rounded once.
//!
//! - **AQE**, the mean of the query and its k best hits, not normalised again (Chum, Philbin,
//!   Sivic, Isard, Zisserman, *Total Recall*, ICCV 2007; the form of Gordo et al., IJCV 2017).
//! - **αQE**, hits weighted by their similarity to the power α, at unit length (Radenovic, Tolias,
//!   Chum, *Fine-tuning CNN Image Retrieval with No Human Annotation*, TPAMI 2019; the form of
//!   Revaud et al., ICCV 2019).
//! - **DBA**, each descriptor of the database replaced by a weighted mean of itself and its k
//!   nearest, not normalised again (Turcot, Lowe, 2009; Arandjelović, Zisserman, CVPR 2012; weights
//!   of Gordo et al.).

use ocelli_vector::dot;

use super::MAX_EXPONENT;
use crate::base::error::{Error, ErrorCode, Result};
use crate::search::engine::Scratch;
use crate::search::hit::Hit;
use crate::search::params::{SearchParams, SearchResult};
use crate::search::snapshot::Snapshot;
use crate::search::stages::StageTimes;

#[cfg(test)]
mod tests;

/// How a new query is made of the query and its best hits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ExpansionMethod {
    /// AQE: q' = (q + Σ d_j) / (1 + k).
    Average,
    /// αQE: q' = L2(q + Σ max(0, ⟨q, d_j⟩)^α · d_j), for descriptors of about unit length.
    Alpha(f32),
}

/// Query expansion: how, with how many hits, how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expansion {
    /// How a new query is made.
    pub method: ExpansionMethod,
    /// Hits that go into it, at least 1.
    pub k: usize,
    /// How often, at least 1: each round takes the hits of the round before and the query as it was
    /// given.
    pub rounds: usize,
}

impl Expansion {
    /// Hits that go into a new query unless it is said.
    pub const DEFAULT_K: usize = 5;
    /// Exponent of [`ExpansionMethod::Alpha`] unless it is said.
    pub const DEFAULT_ALPHA: f32 = 3.0;
    /// Rounds unless it is said.
    pub const DEFAULT_ROUNDS: usize = 1;

    /// The first value that is out of range: the field, and what is wrong.
    pub fn out_of_range(&self) -> Option<(&'static str, String)> {
        let (field, found, expected) = match self.method {
            _ if self.k == 0 => ("k", "0".into(), "at least 1".into()),
            _ if self.rounds == 0 => ("rounds", "0".into(), "at least 1".into()),
            ExpansionMethod::Alpha(alpha) if !(0.0..=MAX_EXPONENT).contains(&alpha) => {
                ("alpha", alpha.to_string(), format!("0 to {MAX_EXPONENT}"))
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
            Some((_, what)) => Err(Error::invalid(format!("expansion: {what}"))),
            None => Ok(()),
        }
    }

    /// The new query (dim,) for the query `q` (dim,) as it was given and the vectors (dim,) of its
    /// best hits, of which the first k count. Without hits it is `q`.
    ///
    /// # Errors
    /// [`Error::Dim`] for a hit of another dimension; [`Error::Invalid`] for a result that does not
    /// fit f32, or that has no direction.
    pub fn combine<V: AsRef<[f32]>>(&self, q: &[f32], hits: &[V]) -> Result<Vec<f32>> {
        let hits = hits.get(..self.k).unwrap_or(hits);
        if hits.is_empty() {
            return Ok(q.to_vec());
        }
        let mut sum = Sum::of(q);
        for hit in hits {
            let d = hit.as_ref();
            let weight = match self.method {
                ExpansionMethod::Average => 1.0,
                ExpansionMethod::Alpha(alpha) => similarity(q, d).max(0.0).powf(alpha.into()),
            };
            sum.add(weight, d)?;
        }
        match self.method {
            ExpansionMethod::Average => sum.divided_by(1.0 + hits.len() as f64),
            ExpansionMethod::Alpha(_) => {
                let norm = sum.0.iter().map(|v| v * v).sum::<f64>().sqrt();
                sum.divided_by(norm)
            }
        }
    }
}

/// The augmented descriptor (dim,) of a row x (dim,) of the database: Σ w_j x_j / Σ w_j over
/// itself, w = 1, and its k `nearest` (dim,), best first and without itself, w = k/k, (k − 1)/k, …,
/// 1/k. Not normalised again.
///
/// # Errors
/// [`Error::Dim`] for a neighbour of another dimension; [`Error::Invalid`] for a result that does
/// not fit f32.
pub fn augment<V: AsRef<[f32]>>(x: &[f32], nearest: &[V]) -> Result<Vec<f32>> {
    let k = nearest.len() as f64;
    let (mut sum, mut total) = (Sum::of(x), 1.0);
    for (rank, neighbour) in nearest.iter().enumerate() {
        let weight = (k - rank as f64) / k;
        sum.add(weight, neighbour.as_ref())?;
        total += weight;
    }
    sum.divided_by(total)
}

/// ⟨q, d⟩ in f64: a power of it would multiply what f32 loses.
fn similarity(q: &[f32], d: &[f32]) -> f64 {
    q.iter().zip(d).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// A weighted sum of vectors.
struct Sum(Vec<f64>);

impl Sum {
    fn of(x: &[f32]) -> Self {
        Self(x.iter().map(|&v| v.into()).collect())
    }

    fn add(&mut self, weight: f64, x: &[f32]) -> Result<()> {
        if x.len() != self.0.len() {
            let what = "vector of a hit".into();
            return Err(Error::Dim { what, expected: self.0.len(), found: x.len() });
        }
        for (sum, &v) in self.0.iter_mut().zip(x) {
            *sum += weight * f64::from(v);
        }
        Ok(())
    }

    fn divided_by(self, divisor: f64) -> Result<Vec<f32>> {
        let out: Vec<f32> = self.0.into_iter().map(|sum| (sum / divisor) as f32).collect();
        if out.iter().all(|v| v.is_finite()) && dot(&out, &out).is_finite() {
            return Ok(out);
        }
        Err(Error::invalid(
            "the expanded vector is not finite: values are too large, or cancel out",
        ))
    }
}

impl Snapshot {
    /// Searches for x (dim,), makes a new query of it and its best hits, as often as `expansion`
    /// says, and answers the last one. Times are those of all searches together. With a partial
    /// answer allowed, a hit whose vector cannot be read is left out of the new query.
    ///
    /// # Errors
    /// As [`Self::search`]; what [`Expansion::check`] and [`Expansion::combine`] refuse.
    pub fn search_expanded(
        &self,
        x: &[f32],
        params: &SearchParams,
        expansion: &Expansion,
        scratch: &mut Scratch,
    ) -> Result<SearchResult> {
        expansion.check()?;
        let first = SearchParams { k: expansion.k, ..params.clone() };
        let mut times = StageTimes::default();
        let mut query = x.to_vec();
        for _ in 0..expansion.rounds {
            let found = self.search_with(&query, &first, scratch)?;
            times += found.times;
            let vectors = self.vectors_of(&found.hits, params.allow_partial)?;
            query = expansion.combine(x, &vectors)?;
        }
        let mut result = self.search_with(&query, params, scratch)?;
        result.times += times;
        Ok(result)
    }

    /// The vectors (dim,) of hits, in their order.
    ///
    /// # Errors
    /// [`Error::Corrupt`], unless `allow_partial`: then such hits are left out.
    fn vectors_of(&self, hits: &[Hit], allow_partial: bool) -> Result<Vec<Vec<f32>>> {
        let mut vectors = Vec::with_capacity(hits.len());
        for vector in self.vectors(hits.iter().map(|hit| hit.row))? {
            match vector {
                Ok(vector) => vectors.push(vector),
                Err(error) if allow_partial && error.code() == ErrorCode::DataLoss => {}
                Err(error) => return Err(error),
            }
        }
        Ok(vectors)
    }
}
