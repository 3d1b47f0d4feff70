//! Float descriptors, all compared with the query.

use ocelli_index::{DescriptorSpec, Part};
use ocelli_text::counted;
use ocelli_vector::Metric;

use super::{Ranked, Ranking, with_ties};
use crate::dba::Neighbours;
use crate::sample::require_descriptors;
use crate::train::default_metric;
use crate::{Error, Result};

/// Exact scores of float descriptors: inner product for those of a network, L2 distance for vectors
/// from elsewhere, as `train` chooses by default.
pub struct ExactRanking {
    keys: Vec<String>,
    spec: DescriptorSpec,
    similarity: Option<Similarity>,
    metric: Metric,
    /// Neighbours of each image that augmentation averages; 0: none.
    dba: usize,
    /// `(images, dim)` row-major.
    descriptors: Vec<f32>,
    /// The same augmented, where that is asked for: what is ranked.
    augmented: Option<Vec<f32>>,
}

/// The comparison of two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Similarity {
    /// The inner product of the vectors as they are.
    InnerProduct,
    /// The L2 distance of the vectors as they are.
    L2,
    /// The inner product of the vectors at unit length.
    Cosine,
}

impl Similarity {
    fn metric(self) -> Metric {
        match self {
            Self::InnerProduct | Self::Cosine => Metric::InnerProduct,
            Self::L2 => Metric::L2,
        }
    }
}

impl ExactRanking {
    /// Reads descriptor parts of one spec into memory, see [`Self::new`].
    ///
    /// # Errors
    /// No part, region parts, parts of different specs, a damaged part; those of [`Self::new`].
    pub fn open(parts: &[Part], dba: usize) -> Result<Self> {
        let spec = crate::sample::common_spec(parts)?.clone();
        let (mut keys, mut descriptors) = (Vec::new(), Vec::new());
        for part in parts {
            require_descriptors(part)?;
            keys.extend(part.keys()?);
            descriptors.extend(part.read(0..part.rows())?);
        }
        Self::new(keys, spec, descriptors, None, dba)
    }

    /// A database of `descriptors` (keys, dim) row-major, which for cosine are of unit length.
    /// Their spec says the similarity if it is None. They are ranked as augmented descriptors if
    /// `dba` (the number of neighbours) is not 0.
    ///
    /// # Errors
    /// As many neighbours as images.
    pub fn new(
        keys: Vec<String>,
        spec: DescriptorSpec,
        descriptors: Vec<f32>,
        similarity: Option<Similarity>,
        dba: usize,
    ) -> Result<Self> {
        let metric = similarity.map_or_else(|| default_metric(&spec), Similarity::metric);
        let augmented = match dba {
            0 => None,
            k => {
                let dim = spec.dim();
                let neighbours = Neighbours::exact(&descriptors, dim, metric, k)?;
                let row = |row: usize| Ok(descriptors[row * dim..][..dim].to_vec());
                let mut augmented = neighbours.augment(0, &descriptors, dim, row)?;
                if similarity == Some(Similarity::Cosine) {
                    augmented.chunks_exact_mut(dim).for_each(|row| {
                        ocelli_vector::l2_normalize(row);
                    });
                }
                Some(augmented)
            }
        };
        Ok(Self { keys, spec, similarity, metric, dba, descriptors, augmented })
    }

    fn row(&self, rows: &[f32], image: u32) -> Result<Vec<f32>> {
        let dim = self.spec.dim();
        let start = image as usize * dim;
        rows.get(start..start + dim)
            .map(<[f32]>::to_vec)
            .ok_or_else(|| Error::Invalid(format!("image {image}: beyond {}", self.keys.len())))
    }
}

impl Ranking for ExactRanking {
    fn keys(&self) -> &[String] {
        &self.keys
    }

    fn spec(&self) -> &DescriptorSpec {
        &self.spec
    }

    fn describe(&self) -> String {
        let metric = match (self.similarity, self.metric) {
            (Some(Similarity::Cosine), _) => "cosine",
            (_, Metric::InnerProduct) => "inner product",
            (_, Metric::L2) => "L2 distance",
        };
        let descriptors = counted(self.keys.len() as u64, "descriptor");
        let augmented = match self.dba {
            0 => String::new(),
            k => format!(", each averaged with its {k} nearest (DBA)"),
        };
        let dimensions = counted(self.spec.dim() as u64, "dimension");
        format!("exact {metric} of {descriptors} of {dimensions}{augmented}")
    }

    fn rank(&self, x: &[f32], depth: usize) -> Result<Vec<Ranked>> {
        let dim = self.spec.dim();
        if x.len() != dim {
            return Err(Error::Invalid(format!("query: expected {dim} values, found {}", x.len())));
        }
        let cost = |row: &[f32]| self.metric.cost(self.metric.of(x, row));
        let ranked = self.augmented.as_ref().unwrap_or(&self.descriptors);
        let mut scored: Vec<(f32, u32)> =
            ranked.chunks_exact(dim).zip(0u32..).map(|(row, image)| (cost(row), image)).collect();
        let order = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if let Some(last) = depth.checked_sub(1)
            && depth < scored.len()
        {
            let (_, &mut (last, _), _) = scored.select_nth_unstable_by(last, order);
            scored.retain(|(cost, _)| *cost <= last);
        }
        scored.sort_unstable_by(order);
        Ok(with_ties(scored.into_iter().map(|(cost, image)| (0.0 - f64::from(cost), image))))
    }

    fn descriptor(&self, image: u32) -> Result<Vec<f32>> {
        self.row(&self.descriptors, image)
    }

    fn ranked(&self, image: u32) -> Result<Vec<f32>> {
        self.row(self.augmented.as_ref().unwrap_or(&self.descriptors), image)
    }
}
