//! What a root does with the vectors of hits: expansion makes a new query of them, diffusion another order.

use ocelli_index::{Diffusion, Row, Scratch, StageTimes};
use ocelli_proto::status::Code;

use super::{LeafHit, Root, RootParams};
use crate::error::Result;
use crate::leaf::LeafParams;

impl Root {
    /// The descriptors (n, dim) that the expansion of `params` makes of `x`, (n, dim), and the times that its
    /// searches took for each of them; `x` as it is where no expansion is asked for. Searched next, they give the
    /// expanded answers. A shard that fails takes no part where a partial answer is allowed.
    ///
    /// # Errors
    /// As [`Root::search`]; vectors whose mean is not finite, or has no direction.
    pub fn expand(
        &self,
        x: Vec<f32>,
        params: &RootParams,
        scratch: &mut Scratch,
    ) -> Result<(Vec<f32>, Vec<StageTimes>)> {
        let Some(expansion) = params.expansion else { return Ok((x, Vec::new())) };
        let leaf = LeafParams { k: expansion.k, ..params.leaf.clone() };
        let (mut times, mut queries) = (Vec::new(), x.clone());
        for _ in 0..expansion.rounds {
            let found = self.ask(&queries, &leaf, scratch)?;
            if found.is_empty() {
                break;
            }
            times.resize_with(found.len(), StageTimes::default);
            let dim = x.len() / found.len();
            let mut next = Vec::with_capacity(x.len());
            for (((merged, mut hits), given), times) in
                found.into_iter().zip(x.chunks_exact(dim)).zip(&mut times)
            {
                *times += merged.times;
                self.rank(&mut hits);
                hits.truncate(expansion.k);
                let vectors = self.vectors_at(&hits, &leaf)?;
                let vectors: Vec<Vec<f32>> = vectors.into_iter().flatten().collect();
                next.extend(expansion.combine(given, &vectors)?);
            }
            queries = next;
        }
        Ok((queries, times))
    }

    /// Ranks hits by diffusion from `x`, (dim,). Those whose vectors are lost, where that is allowed, come last of the
    /// candidates.
    pub(super) fn diffuse(
        &self,
        x: &[f32],
        diffusion: &Diffusion,
        hits: &mut [LeafHit],
        params: &LeafParams,
    ) -> Result<()> {
        let count = hits.len().min(diffusion.candidates);
        let candidates = &mut hits[..count];
        let (mut readable, mut vectors, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for (hit, vector) in candidates.iter().zip(self.vectors_at(candidates, params)?) {
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

    /// The vectors, (dim,), of hits, in their order; none of a damaged shard's where that is allowed.
    fn vectors_at(&self, hits: &[LeafHit], params: &LeafParams) -> Result<Vec<Option<Vec<f32>>>> {
        params.cancel.check()?;
        let mut vectors = vec![None; hits.len()];
        for (number, leaf) in self.leaves.iter().enumerate() {
            let places: Vec<usize> = (0..hits.len()).filter(|&hit| hits[hit].0 == number).collect();
            let rows: Vec<Row> = places.iter().map(|&hit| hits[hit].1.row).collect();
            for (place, vector) in places.into_iter().zip(leaf.vectors_at(&rows)?) {
                match self.noted(vector) {
                    Ok(vector) => vectors[place] = Some(vector),
                    Err(error) if params.allow_partial && error.code == Code::DataLoss => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(vectors)
    }
}
