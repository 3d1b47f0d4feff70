//! Databases that rank all their images for a query.

use std::collections::HashMap;

use ocelli_index::{DescriptorSpec, Diffusion, Expansion, Part, SearchParams, Snapshot};

use crate::dba::Neighbours;
use crate::sample::require_descriptors;
use crate::train::default_metric;
use crate::{Error, Result};

/// Steps beyond one ranking by scores; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rerank {
    /// A new query of the query and its best images.
    pub expansion: Option<Expansion>,
    /// The best images, of that query, ranked again.
    pub diffusion: Option<Diffusion>,
}

/// An image in its place of a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Number of the image in the database.
    pub image: u32,
    /// Whether the image before has the same score, so that their order means nothing.
    pub tied: bool,
}

/// Marks as tied what has the score of the one before. Scores that are not numbers are equal.
fn with_ties(scored: Vec<(f32, u32)>) -> Vec<Ranked> {
    let mut last = None;
    let mut tied = |score: f32| {
        let last = last.replace(score);
        last.is_some_and(|last: f32| last == score || last.is_nan() && score.is_nan())
    };
    scored.into_iter().map(|(score, image)| Ranked { image, tied: tied(score) }).collect()
}

/// A set of images that can be ranked. Images are numbered 0 to `keys().len()`.
pub trait Ranking: Sync {
    /// The images' keys by number.
    fn keys(&self) -> &[String];

    /// Descriptor spec of the database.
    fn spec(&self) -> &DescriptorSpec;

    /// All images, best first, for the query `x` `(dim,)`.
    ///
    /// # Errors
    /// A query of another dimension; a damaged index.
    fn rank(&self, x: &[f32]) -> Result<Vec<Ranked>>;

    /// The descriptor `(dim,)` of an image as it queries: stored, or as the index reconstructs it.
    ///
    /// # Errors
    /// No image of this number; a damaged index.
    fn descriptor(&self, image: u32) -> Result<Vec<f32>>;

    /// The vector `(dim,)` of an image as it is ranked, which augmentation makes another.
    ///
    /// # Errors
    /// No image of this number; a damaged index.
    fn ranked(&self, image: u32) -> Result<Vec<f32>> {
        self.descriptor(image)
    }

    /// [`Self::rank`] for the query that the expansion of `rerank` makes of `x` and its best
    /// images, the best of them in the order of its diffusion. For neither does `itself` count (the
    /// image that queries, where it is taken out of the ranking). Diffusion cannot tell equal
    /// vectors apart: they are tied after it, and no other images are.
    ///
    /// # Errors
    /// As [`Self::rank`]; what expansion and diffusion refuse.
    fn rank_again(&self, x: &[f32], rerank: &Rerank, itself: Option<u32>) -> Result<Vec<Ranked>> {
        let best = |ranking: &[Ranked], n| -> Result<(Vec<u32>, Vec<Vec<f32>>)> {
            let images = ranking.iter().map(|ranked| ranked.image);
            let best = images.filter(|&image| Some(image) != itself).take(n);
            best.map(|image| Ok((image, self.ranked(image)?))).collect()
        };
        let mut query = x.to_vec();
        if let Some(expansion) = &rerank.expansion {
            for _ in 0..expansion.rounds {
                let (_, hits) = best(&self.rank(&query)?, expansion.k)?;
                query = expansion.combine(x, &hits)?;
            }
        }
        let mut ranking = self.rank(&query)?;
        if let Some(diffusion) = &rerank.diffusion {
            let (images, vectors) = best(&ranking, diffusion.candidates)?;
            let order = diffusion.order(ocelli_index::simd(), &query, &vectors)?;
            let mut last: Option<&[f32]> = None;
            let mut order = order.into_iter();
            for place in &mut ranking {
                if Some(place.image) == itself {
                    // It belongs to the group around it, and is taken out.
                    place.tied = true;
                } else if let Some(hit) = order.next() {
                    let tied = last.replace(&vectors[hit]) == Some(&vectors[hit]);
                    *place = Ranked { image: images[hit], tied };
                } else if last.take().is_some() {
                    // The first after the candidates.
                    place.tied = false;
                }
            }
        }
        Ok(ranking)
    }
}

/// Exact scores of float descriptors: inner product for those of a network, L2 distance for vectors
/// from elsewhere, as `train` chooses by default.
pub struct ExactRanking {
    keys: Vec<String>,
    spec: DescriptorSpec,
    /// `(images, dim)` row-major.
    descriptors: Vec<f32>,
    /// The same augmented, where that is asked for: what is ranked.
    augmented: Option<Vec<f32>>,
}

impl ExactRanking {
    /// Reads descriptor parts of one spec into memory, and ranks them by their augmented
    /// descriptors if `dba` (the number of neighbours) is not 0.
    ///
    /// # Errors
    /// No part, region parts, parts of different specs, a damaged part, as many neighbours as
    /// images.
    pub fn open(parts: &[Part], dba: usize) -> Result<Self> {
        let spec = crate::sample::common_spec(parts)?.clone();
        let (mut keys, mut descriptors) = (Vec::new(), Vec::new());
        for part in parts {
            require_descriptors(part)?;
            keys.extend(part.keys()?);
            descriptors.extend(part.read(0..part.rows())?);
        }
        let augmented = match dba {
            0 => None,
            k => {
                let (dim, metric) = (spec.dim(), default_metric(&spec));
                let neighbours = Neighbours::exact(&descriptors, dim, metric, k)?;
                let row = |row: usize| Ok(descriptors[row * dim..][..dim].to_vec());
                Some(neighbours.augment(0, &descriptors, dim, row)?)
            }
        };
        Ok(Self { keys, spec, descriptors, augmented })
    }
}

impl ExactRanking {
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

    fn rank(&self, x: &[f32]) -> Result<Vec<Ranked>> {
        let dim = self.spec.dim();
        if x.len() != dim {
            return Err(Error::Invalid(format!("query: expected {dim} values, found {}", x.len())));
        }
        let metric = default_metric(&self.spec);
        let cost = |row: &[f32]| metric.cost(metric.of(x, row));
        let ranked = self.augmented.as_ref().unwrap_or(&self.descriptors);
        let mut scored: Vec<(f32, u32)> =
            ranked.chunks_exact(dim).zip(0u32..).map(|(row, image)| (cost(row), image)).collect();
        scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Ok(with_ties(scored))
    }

    fn descriptor(&self, image: u32) -> Result<Vec<f32>> {
        self.row(&self.descriptors, image)
    }

    fn ranked(&self, image: u32) -> Result<Vec<f32>> {
        self.row(self.augmented.as_ref().unwrap_or(&self.descriptors), image)
    }
}

/// An index with all lists probed and all rows asked for.
pub struct IndexRanking {
    snapshot: Snapshot,
    keys: Vec<String>,
    rows: Vec<ocelli_index::Row>,
    image_of: HashMap<u64, u32>,
}

impl IndexRanking {
    /// Takes an opened generation. Reads all its keys.
    ///
    /// # Errors
    /// A damaged index.
    pub fn new(snapshot: Snapshot) -> Result<Self> {
        let mut this =
            Self { keys: Vec::new(), rows: Vec::new(), image_of: HashMap::new(), snapshot };
        for (shard, entry) in this.snapshot.generation().shards.iter().enumerate() {
            for ordinal in 0..entry.rows {
                let row = ocelli_index::Row { shard: shard as u32, ordinal: ordinal as u32 };
                this.image_of.insert(this.snapshot.id(row)?, this.keys.len() as u32);
                this.keys.push(this.snapshot.key(row)?);
                this.rows.push(row);
            }
        }
        Ok(this)
    }
}

impl Ranking for IndexRanking {
    fn keys(&self) -> &[String] {
        &self.keys
    }

    fn spec(&self) -> &DescriptorSpec {
        &self.snapshot.model().parts().spec
    }

    fn rank(&self, x: &[f32]) -> Result<Vec<Ranked>> {
        let params = SearchParams {
            k: self.keys.len(),
            nprobe: self.snapshot.model().parts().nlist,
            refine_candidates: 0,
            allow_partial: false,
            ..SearchParams::default()
        };
        let hits = self.snapshot.search(x, &params)?.hits;
        let scored: Vec<(f32, u32)> = hits
            .iter()
            .map(|hit| match self.image_of.get(&hit.id) {
                Some(&image) => Ok((hit.score, image)),
                None => Err(Error::Invalid(format!(
                    "the search answered id {}, which no shard holds",
                    hit.id
                ))),
            })
            .collect::<Result<_>>()?;
        Ok(with_ties(scored))
    }

    fn descriptor(&self, image: u32) -> Result<Vec<f32>> {
        let row = self
            .rows
            .get(image as usize)
            .ok_or_else(|| Error::Invalid(format!("image {image}: beyond {}", self.rows.len())))?;
        Ok(self.snapshot.vector(*row)?)
    }
}
