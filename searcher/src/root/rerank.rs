//! Expansion and diffusion: expansion makes a new query from the vectors of hits, diffusion a new
//! order.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_index::{Diffusion, Expansion, Row, Scratch, StageTimes, out_of_range};
use ocelli_proto::status::Code;

use super::{LeafHit, Root};
use crate::error::{Error, Result};
use crate::options::Options;

/// The input of a round of expansion.
struct Round<'a> {
    expansion: Expansion,
    options: &'a Options,
    /// The queries that are expanded, (n, dim).
    given: &'a [f32],
}

impl Root {
    /// The descriptors, (n, dim), that the expansion of `options` makes of `x`, (n, dim), and the
    /// times of its searches for each of them. A search for them gives the expanded answers.
    /// Without an expansion, this is `x`. If a partial answer is allowed, a shard that fails or
    /// whose vectors are lost takes no part.
    ///
    /// # Errors
    /// As [`Root::search`]; vectors whose mean is not finite, has no direction, or is out of range.
    pub fn expand(
        &self,
        x: Vec<f32>,
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<(Vec<f32>, Vec<StageTimes>)> {
        let Some(expansion) = options.expansion else { return Ok((x, Vec::new())) };
        let mut asked = options.clone();
        asked.search.k = expansion.k;
        let (mut times, mut queries) = (Vec::new(), x.clone());
        for _ in 0..expansion.rounds {
            queries = loop {
                let mut lost = BTreeMap::new();
                let round = Round { expansion, options: &asked, given: &x };
                let next = self.round(&round, &queries, &mut times, &mut lost, scratch)?;
                if lost.is_empty() {
                    break next;
                }
                Arc::make_mut(&mut asked.search.without).extend(lost);
            };
        }
        Ok((queries, times))
    }

    /// The descriptors that one round of expansion makes of `queries`, (n, dim); the times of its
    /// searches are added to `times`. If shards come into `lost`, the round must be repeated
    /// without them.
    fn round(
        &self,
        round: &Round<'_>,
        queries: &[f32],
        times: &mut Vec<StageTimes>,
        lost: &mut BTreeMap<String, String>,
        scratch: &mut Scratch,
    ) -> Result<Vec<f32>> {
        let Round { expansion, options, given } = round;
        let found = self.ask(queries, options, scratch)?;
        times.resize_with(found.len(), StageTimes::default);
        let dim = (given.len() / found.len().max(1)).max(1);
        let mut next = Vec::with_capacity(given.len());
        for (((merged, mut hits), given), times) in
            found.into_iter().zip(given.chunks_exact(dim)).zip(times)
        {
            *times += merged.times;
            self.rank(&mut hits);
            hits.truncate(expansion.k);
            let vectors = self.vectors_at(&hits, options, lost)?;
            let vectors: Vec<Vec<f32>> = vectors.into_iter().flatten().collect();
            let combined = expansion.combine(given, &vectors)?;
            if let Some(why) = out_of_range(&combined) {
                return Err(Error::invalid(format!("the expanded query: {why}")));
            }
            next.extend(combined);
        }
        Ok(next)
    }

    /// Ranks hits by diffusion from `x`, (dim,). If a partial answer is allowed, hits with lost
    /// vectors come last of the candidates.
    pub(super) fn diffuse(
        &self,
        x: &[f32],
        diffusion: &Diffusion,
        hits: &mut [LeafHit],
        options: &Options,
    ) -> Result<()> {
        let count = hits.len().min(diffusion.candidates);
        let candidates = &mut hits[..count];
        let (mut readable, mut vectors, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        let of_hits = self.vectors_at(candidates, options, &mut BTreeMap::new())?;
        for (hit, vector) in candidates.iter().zip(of_hits) {
            match vector {
                Some(vector) => {
                    readable.push(*hit);
                    vectors.push(vector);
                }
                None => lost.push(*hit),
            }
        }
        let order = diffusion.order(ocelli_index::simd(), x, &vectors)?;
        let ranked = order.into_iter().map(|hit| readable[hit]).chain(lost);
        candidates.iter_mut().zip(ranked).for_each(|(place, hit)| *place = hit);
        Ok(())
    }

    /// The vectors, (dim,), of hits, in their order. If a partial answer is allowed, hits of a
    /// damaged shard have `None`, and the shard goes into `lost`.
    fn vectors_at(
        &self,
        hits: &[LeafHit],
        options: &Options,
        lost: &mut BTreeMap<String, String>,
    ) -> Result<Vec<Option<Vec<f32>>>> {
        options.check_cancelled()?;
        let mut vectors = vec![None; hits.len()];
        for (number, leaf) in self.leaves.iter().enumerate() {
            let places: Vec<usize> = (0..hits.len()).filter(|&hit| hits[hit].0 == number).collect();
            let rows: Vec<Row> = places.iter().map(|&hit| hits[hit].1.row).collect();
            for ((place, row), vector) in places.into_iter().zip(&rows).zip(leaf.vectors_at(&rows)?)
            {
                match self.noted(vector) {
                    Ok(vector) => vectors[place] = Some(vector),
                    Err(error) if options.search.allow_partial && error.code == Code::DataLoss => {
                        lost.insert(leaf.shard_name(*row), error.message);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(vectors)
    }
}
