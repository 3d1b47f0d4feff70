//! The root: asks every leaf of an index and merges what they found.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_index::{Hit, Metric, SearchParams, StageTimes};
use ocelli_proto::status::Code;

use crate::error::{Error, Result};
use crate::leaf::{ImageName, Leaf};

/// The leaves that together hold one generation of an index.
pub struct Root {
    leaves: Vec<Arc<dyn Leaf>>,
    metric: Metric,
}

/// What the leaves found, merged: columns of n <= k hits, best first, ties by smaller id.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// Ids, (n,).
    pub ids: Vec<u64>,
    /// Scores, (n,).
    pub scores: Vec<f32>,
    /// Keys, (n,) if asked for, else empty.
    pub keys: Vec<String>,
    /// Shards of all leaves.
    pub shards_asked: usize,
    /// Names of the shards that failed, each once, by name.
    pub failed: BTreeSet<String>,
    /// The slowest leaf's time in each stage.
    pub times: StageTimes,
    /// Time for reading the keys.
    pub keys_time: Duration,
}

impl Root {
    /// A root over `leaves`, which share one model, whose scores are of `metric`.
    pub fn new(leaves: Vec<Arc<dyn Leaf>>, metric: Metric) -> Root {
        Root { leaves, metric }
    }

    /// The vector of an image of the index, (dim,).
    ///
    /// # Errors
    /// [`Code::NotFound`] if no leaf has it; a damaged shard.
    pub fn vector_of(&self, image: &ImageName) -> Result<Vec<f32>> {
        for leaf in &self.leaves {
            if let Some(vector) = leaf.vector_of(image)? {
                return Ok(vector);
            }
        }
        Err(Error::not_found(match image {
            ImageName::Id(id) => format!("no image has id {id}"),
            ImageName::Key(key) => format!("no image has key {key:?}"),
        }))
    }

    /// The `params.k` best images for the descriptor `x`, (dim,).
    ///
    /// # Errors
    /// A damaged shard, unless `params` allow a partial answer; then [`Code::DataLoss`] only if no
    /// shard is left.
    pub fn search(&self, x: &[f32], params: &SearchParams, with_keys: bool) -> Result<Merged> {
        let mut merged = Merged::default();
        let mut hits = Vec::new();
        for (leaf, number) in self.leaves.iter().zip(0..) {
            let found = leaf.search_shards(x, params)?;
            merged.shards_asked += found.shards_asked;
            for failure in found.failed.iter() {
                tracing::error!(shard = failure.name, error = %failure.error, "a shard failed");
                merged.failed.insert(failure.name.clone());
            }
            merged.times = slowest(&merged.times, &found.times);
            hits.extend(found.hits.into_iter().map(|hit| (number, hit)));
        }
        hits.sort_by(|(_, a), (_, b)| a.order(b, self.metric));
        hits.truncate(params.k);

        if with_keys {
            let start = Instant::now();
            self.read_keys(&mut hits, params.allow_partial, &mut merged)?;
            merged.keys_time = start.elapsed();
        }
        merged.ids = hits.iter().map(|(_, hit)| hit.id).collect();
        merged.scores = hits.iter().map(|(_, hit)| hit.score).collect();

        if merged.shards_asked > 0 && merged.failed.len() >= merged.shards_asked {
            let names = Vec::from_iter(merged.failed).join(", ");
            let message = format!("every shard failed: {names}");
            return Err(Error::new(Code::DataLoss, message));
        }
        Ok(merged)
    }

    /// Fills `merged.keys` with the keys of `hits`. A shard whose damage shows only here fails like one
    /// that failed in the scan: where a partial answer is allowed, all of its hits go.
    fn read_keys(
        &self,
        hits: &mut Vec<(usize, Hit)>,
        allow_partial: bool,
        merged: &mut Merged,
    ) -> Result<()> {
        let mut keys = Vec::with_capacity(hits.len());
        for (leaf, hit) in hits.iter() {
            let leaf = &self.leaves[*leaf];
            match leaf.key_of(hit.row) {
                Ok(key) => keys.push(key),
                Err(error) if allow_partial && error.code == Code::DataLoss => {
                    let shard = leaf.shard_name(hit.row);
                    tracing::error!(shard, %error, "a shard failed");
                    merged.failed.insert(shard);
                    keys.push(String::new());
                }
                Err(error) => return Err(error),
            }
        }
        let rows = std::mem::take(hits).into_iter().zip(keys);
        for ((leaf, hit), key) in rows {
            if !merged.failed.contains(&self.leaves[leaf].shard_name(hit.row)) {
                hits.push((leaf, hit));
                merged.keys.push(key);
            }
        }
        Ok(())
    }
}

fn slowest(a: &StageTimes, b: &StageTimes) -> StageTimes {
    StageTimes {
        probe: a.probe.max(b.probe),
        lut: a.lut.max(b.lut),
        scan: a.scan.max(b.scan),
        refine: a.refine.max(b.refine),
    }
}
