//! An index as a database.

use std::collections::HashMap;

use ocelli_index::{DescriptorSpec, FineKind, Row, SearchParams, Snapshot};
use ocelli_text::{counted, thousands};

use super::{Ranked, Ranking, cut, with_ties};
use crate::{Error, Result};

/// How an index is searched when it is judged; by default all lists, and no refinement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexSearch {
    /// Lists that are scanned; None: all.
    pub nprobe: Option<usize>,
    /// Candidates that are scored again; 0: none. None: none from finer codes, which cost bytes and
    /// are judged if one says so, and 150 by the cosine.
    pub refine_candidates: Option<usize>,
}

/// Candidates that are compared again by the cosine, if nobody says how many: the server's default.
const COSINE_CANDIDATES: usize = 150;

/// An index of which as many rows are asked for as are judged.
pub struct IndexRanking {
    snapshot: Snapshot,
    search: IndexSearch,
    keys: Vec<String>,
    rows: Vec<Row>,
    image_of: HashMap<u64, u32>,
}

impl IndexRanking {
    /// Takes an opened generation. Reads all its keys.
    ///
    /// # Errors
    /// A damaged index.
    pub fn new(snapshot: Snapshot, search: IndexSearch) -> Result<Self> {
        let mut this =
            Self { keys: Vec::new(), rows: Vec::new(), image_of: HashMap::new(), snapshot, search };
        for (shard, entry) in this.snapshot.generation().shards.iter().enumerate() {
            for ordinal in 0..entry.rows {
                let row = Row { shard: shard as u32, ordinal: ordinal as u32 };
                this.image_of.insert(this.snapshot.id(row)?, this.keys.len() as u32);
                this.keys.push(this.snapshot.key(row)?);
                this.rows.push(row);
            }
        }
        Ok(this)
    }

    fn nprobe(&self) -> usize {
        let nlist = self.snapshot.model().parts().nlist;
        self.search.nprobe.map_or(nlist, |nprobe| nprobe.min(nlist))
    }

    fn is_by_cosine(&self) -> bool {
        self.snapshot.fine_codec().is_some_and(|codec| codec.kind() == FineKind::Cosine)
    }

    fn refine_candidates(&self) -> usize {
        let default = if self.is_by_cosine() { COSINE_CANDIDATES } else { 0 };
        self.search.refine_candidates.unwrap_or(default)
    }
}

impl Ranking for IndexRanking {
    fn keys(&self) -> &[String] {
        &self.keys
    }

    fn spec(&self) -> &DescriptorSpec {
        &self.snapshot.model().parts().spec
    }

    fn describe(&self) -> String {
        let model = self.snapshot.model().parts();
        let how = if self.is_by_cosine() { "by the cosine" } else { "from finer codes" };
        let refined = match self.refine_candidates() {
            0 => String::new(),
            n => format!(", the best {} scored again {how}", thousands(n as u64)),
        };
        format!(
            "index of {}, generation {}, m {}, ksub {}, {} of {} lists{refined}",
            counted(self.keys.len() as u64, "image"),
            self.snapshot.generation().number,
            model.m,
            model.ksub,
            thousands(self.nprobe() as u64),
            thousands(model.nlist as u64),
        )
    }

    fn rank(&self, x: &[f32], depth: usize) -> Result<Vec<Ranked>> {
        // One more tells whether the last score goes on; if it does, twice as many are looked at.
        let mut k = depth.saturating_add(1);
        loop {
            let mut ranked = self.best(x, k.min(self.keys.len()))?;
            let goes_on = ranked.len() > depth && ranked[depth..].iter().all(|next| next.tied);
            if k < self.keys.len() && ranked.len() >= k && goes_on {
                k = k.saturating_mul(2);
                continue;
            }
            cut(&mut ranked, depth);
            return Ok(ranked);
        }
    }

    fn descriptor(&self, image: u32) -> Result<Vec<f32>> {
        let row = self
            .rows
            .get(image as usize)
            .ok_or_else(|| Error::Invalid(format!("image {image}: beyond {}", self.rows.len())))?;
        Ok(self.snapshot.vector(*row)?)
    }
}

impl IndexRanking {
    /// The best `k` rows.
    fn best(&self, x: &[f32], k: usize) -> Result<Vec<Ranked>> {
        let params = SearchParams {
            k,
            nprobe: self.nprobe(),
            refine_candidates: self.refine_candidates(),
            allow_partial: false,
            ..SearchParams::default()
        };
        let metric = self.snapshot.model().parts().metric;
        let hits = self.snapshot.search(x, &params)?.hits;
        let scored: Vec<(f64, u32)> = hits
            .iter()
            .map(|hit| match self.image_of.get(&hit.id) {
                Some(&image) => Ok((0.0 - f64::from(metric.cost(hit.score)), image)),
                None => Err(Error::Invalid(format!(
                    "the search answered id {}, which no shard holds",
                    hit.id
                ))),
            })
            .collect::<Result<_>>()?;
        Ok(with_ties(scored))
    }
}
