//! Databases that rank their images for a query.

mod exact;
mod index;

use ocelli_index::{DescriptorSpec, Diffusion, Expansion};

pub use exact::{ExactRanking, Similarity};
pub use index::{IndexRanking, IndexSearch};

use crate::Result;

/// Steps beyond one ranking by scores; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rerank {
    /// A new query of the query and its best images.
    pub expansion: Option<Expansion>,
    /// The best images, of that query, ranked again.
    pub diffusion: Option<Diffusion>,
}

/// An image in its place of a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Number of the image in the database.
    pub image: u32,
    /// Similarity: the inner product, or the squared L2 distance with a minus. Larger is better.
    pub score: f64,
    /// Whether the image before has the same score, so that their order means nothing.
    pub tied: bool,
}

/// Marks as tied what has the score of the one before. Scores that are not numbers are equal.
pub fn with_ties(scored: impl IntoIterator<Item = (f64, u32)>) -> Vec<Ranked> {
    let mut last = None;
    let mut tied = |score: f64| {
        let last = last.replace(score);
        last.is_some_and(|last: f64| last == score || last.is_nan() && score.is_nan())
    };
    scored.into_iter().map(|(score, image)| Ranked { image, score, tied: tied(score) }).collect()
}

/// Cuts a ranking after `depth` images, and after those that are tied with the last of them.
pub fn cut(ranking: &mut Vec<Ranked>, depth: usize) {
    let rest = ranking.get(depth..).unwrap_or_default();
    let tied = rest.iter().take_while(|ranked| ranked.tied).count();
    ranking.truncate(depth.saturating_add(tied));
}

/// A set of images that can be ranked. Images are numbered 0 to `keys().len()`.
pub trait Ranking: Sync {
    /// The images' keys by number.
    fn keys(&self) -> &[String];

    /// Descriptor spec of the database.
    fn spec(&self) -> &DescriptorSpec;

    /// What is searched and how, for a report: `exact inner product of 1,224 descriptors`.
    fn describe(&self) -> String;

    /// The best `depth` images, best first, for the query `x` `(dim,)`, and all others that have
    /// the score of the last of them; all images if there are fewer. An index that does not scan
    /// all its lists may give fewer.
    ///
    /// # Errors
    /// A query of another dimension; a damaged index.
    fn rank(&self, x: &[f32], depth: usize) -> Result<Vec<Ranked>>;

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
    /// images, the best of them in the order of its diffusion. The images `hidden` (ascending) are
    /// left out, as if the database lacked them. Diffusion cannot tell equal vectors apart: they
    /// are tied after it, and no other candidates are. It keeps the scores of the search. The
    /// images that have the score of the last are not cut off.
    ///
    /// # Errors
    /// As [`Self::rank`]; what expansion and diffusion refuse.
    fn rank_again(
        &self,
        x: &[f32],
        rerank: &Rerank,
        hidden: &[u32],
        depth: usize,
    ) -> Result<Vec<Ranked>> {
        let visible = |x: &[f32], depth: usize| -> Result<Vec<Ranked>> {
            let all = self.rank(x, depth.saturating_add(hidden.len()))?;
            let left = all.iter().filter(|ranked| hidden.binary_search(&ranked.image).is_err());
            let mut left = with_ties(left.map(|ranked| (ranked.score, ranked.image)));
            cut(&mut left, depth);
            Ok(left)
        };
        let mut query = x.to_vec();
        if let Some(expansion) = &rerank.expansion {
            for _ in 0..expansion.rounds {
                let hits = visible(&query, expansion.k)?;
                let hits = hits.iter().take(expansion.k).map(|ranked| self.ranked(ranked.image));
                query = expansion.combine(x, &hits.collect::<Result<Vec<_>>>()?)?;
            }
        }
        let candidates = rerank.diffusion.map_or(0, |diffusion| diffusion.candidates);
        let mut ranking = visible(&query, depth.max(candidates))?;
        if let Some(diffusion) = &rerank.diffusion {
            self.diffuse(&query, diffusion, &mut ranking)?;
        }
        cut(&mut ranking, depth);
        Ok(ranking)
    }

    /// Orders the first images of `ranking` by diffusion from `query`.
    ///
    /// # Errors
    /// What diffusion refuses; a damaged index.
    fn diffuse(&self, query: &[f32], diffusion: &Diffusion, ranking: &mut [Ranked]) -> Result<()> {
        let count = diffusion.candidates.min(ranking.len());
        let (candidates, rest) = ranking.split_at_mut(count);
        let vectors: Vec<Vec<f32>> =
            candidates.iter().map(|ranked| self.ranked(ranked.image)).collect::<Result<_>>()?;
        let order = diffusion.order(ocelli_index::simd(), query, &vectors)?;
        let before = candidates.to_vec();
        let mut last: Option<&[f32]> = None;
        for (place, hit) in candidates.iter_mut().zip(order) {
            let tied = last.replace(&vectors[hit]) == Some(&vectors[hit]);
            *place = Ranked { tied, ..before[hit] };
        }
        if let Some(first) = rest.first_mut() {
            first.tied = false;
        }
        Ok(())
    }
}
