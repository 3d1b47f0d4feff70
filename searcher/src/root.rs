//! The root: asks every leaf of an index and merges their hits.

mod rerank;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use ocelli_index::attributes::{Column, Value};
use ocelli_index::{Hit, Metric, Row, Scratch, SearchResult, Stage, StageTimes};
use ocelli_proto::status::Code;
use ocelli_proto::v1::ErrorReason;
use ocelli_text::quoted;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::leaf::{Explained, ImageName, Leaf};
use crate::options::Options;

/// The number of keys that are read between two checks for cancellation.
const KEYS_AT_A_TIME: usize = 256;

/// The leaves that together hold one generation of an index.
pub struct Root {
    leaves: Vec<Arc<dyn Leaf>>,
    metric: Metric,
    /// The shards that fail, by name, each with its first error.
    faults: Mutex<Faults>,
}

/// Shards with a fault, by name: the reason and the error.
pub type Faults = BTreeMap<String, (ErrorReason, String)>;

/// The merged hits of the leaves: columns of n <= k hits, best first, ties by smaller id.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// Ids, (n,).
    pub ids: Vec<u64>,
    /// Scores, (n,).
    pub scores: Vec<f32>,
    /// Keys, (n,) if asked for, else empty.
    pub keys: Vec<String>,
    /// The columns of attributes that were asked for.
    pub columns: Arc<[Column]>,
    /// For each column the values of the hits, (n,); `None` for null.
    pub attributes: Vec<Vec<Option<Value>>>,
    /// The number of shards of all leaves.
    pub shards_asked: usize,
    /// The names of the shards that failed, each once.
    pub failed: BTreeSet<String>,
    /// The time of each stage: the slowest leaf's, and the root's own.
    pub times: StageTimes,
}

/// What was found while the keys and attributes of hits were read.
#[derive(Debug, Default)]
struct Reading {
    /// The shards whose damage showed, by name, each with its error.
    lost: BTreeMap<String, String>,
    /// The bytes of all attributes so far, those of an answer's other queries included.
    bytes: usize,
}

/// A hit and the number of its leaf.
type LeafHit = (usize, Hit);

impl Root {
    /// A root over `leaves`, which share one model with this `metric`. `faults` are the shards that
    /// are known to fail already.
    pub fn new(leaves: Vec<Arc<dyn Leaf>>, metric: Metric, faults: Faults) -> Root {
        Root { leaves, metric, faults: Mutex::new(faults) }
    }

    /// The shards that fail, by name, each with its first error.
    pub fn faults(&self) -> Faults {
        self.faults.lock().clone()
    }

    /// Remembers a shard that fails. It is logged once, because every later query finds the same.
    pub fn note_fault(&self, shard: &str, reason: ErrorReason, message: &str) {
        let mut faults = self.faults.lock();
        if !shard.is_empty() && !faults.contains_key(shard) {
            tracing::error!(shard, reason = reason.as_str_name(), error = message, "a shard fails");
            faults.insert(shard.to_owned(), (reason, message.to_owned()));
        }
    }

    /// Remembers the shard that an error names.
    fn noted<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.note_fault(&error.shard, error.reason, &error.message))
    }

    /// The vector of an image of the index, (dim,).
    ///
    /// # Errors
    /// [`Code::NotFound`] if no leaf has it; a damaged shard.
    pub fn vector_of(&self, image: &ImageName) -> Result<Vec<f32>> {
        let (leaf, row) = self.find(image)?;
        self.noted(leaf.vector_at(row))
    }

    /// The leaf that has an image, and its row there.
    fn find(&self, image: &ImageName) -> Result<(&dyn Leaf, Row)> {
        for leaf in &self.leaves {
            if let Some(row) = self.noted(leaf.row_of(image))? {
                return Ok((&**leaf, row));
            }
        }
        Err(Error::not_found(match image {
            ImageName::Id(id) => format!("no image has id {id}"),
            ImageName::Key(key) => format!("no image has key {}", quoted(key)),
        }))
    }

    /// The `k` best images for each of the descriptors `x`, (n, dim).
    ///
    /// # Errors
    /// A damaged shard, unless `options` allow a partial answer; then [`Code::DataLoss`] only if no
    /// shard is left. [`Code::DeadlineExceeded`] if the search is cancelled.
    pub fn search(
        &self,
        x: &[f32],
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<Vec<Merged>> {
        let mut asked = options.clone();
        if let Some(diffusion) = options.diffusion {
            asked.search.k = asked.search.k.max(diffusion.candidates);
        }
        // Each round goes without the shards whose damage showed in the round before.
        loop {
            let all = self.ask(x, &asked, scratch)?;
            let queries = x.chunks_exact((x.len() / all.len().max(1)).max(1));
            let mut reading = Reading::default();
            let mut finish = |(x, (mut merged, mut hits)): (&[f32], (Merged, Vec<LeafHit>))| {
                self.rank(&mut hits);
                if let Some(diffusion) = &options.diffusion {
                    let start = Instant::now();
                    self.diffuse(x, diffusion, &mut hits, options)?;
                    merged.times[Stage::Diffuse] = start.elapsed();
                }
                self.finish(merged, hits, options, &mut reading)
            };
            let merged = queries.zip(all).map(&mut finish).collect::<Result<Vec<_>>>()?;
            if reading.lost.is_empty() {
                return Ok(merged);
            }
            Arc::make_mut(&mut asked.search.without).extend(reading.lost);
        }
    }

    /// Sorts the hits of several leaves. The hits of one leaf are sorted already.
    fn rank(&self, hits: &mut [LeafHit]) {
        if self.leaves.len() > 1 {
            hits.sort_by(|(_, a), (_, b)| a.order(b, self.metric));
        }
    }

    /// The hits of every leaf for each of `x`, (n, dim), not ranked yet.
    fn ask(
        &self,
        x: &[f32],
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<Vec<(Merged, Vec<LeafHit>)>> {
        let mut all: Vec<(Merged, Vec<LeafHit>)> = Vec::new();
        for (number, leaf) in self.leaves.iter().enumerate() {
            let found = self.noted(leaf.search_shards(x, options, scratch))?;
            all.resize_with(found.len(), Default::default);
            for ((merged, hits), found) in all.iter_mut().zip(found) {
                self.take(merged, hits, number, found);
            }
        }
        Ok(all)
    }

    /// All images for the descriptor `x`, (dim,), that are at least as good as the threshold of
    /// `options`, at most k; and whether there are more.
    ///
    /// # Errors
    /// As [`Root::search`]; [`Code::InvalidArgument`] without a threshold.
    pub fn search_range(
        &self,
        x: &[f32],
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<(Merged, bool)> {
        let threshold = options.threshold.ok_or_else(|| Error::invalid("no threshold"))?;
        let mut asked = options.clone();
        loop {
            let (mut merged, mut hits) = Default::default();
            let mut truncated = false;
            for (number, leaf) in self.leaves.iter().enumerate() {
                let found = self.noted(leaf.range_shards(x, threshold, &asked, scratch))?;
                truncated |= found.truncated;
                self.take(&mut merged, &mut hits, number, found.result);
            }
            truncated |= hits.len() > options.search.k;
            self.rank(&mut hits);
            let mut reading = Reading::default();
            let merged = self.finish(merged, hits, options, &mut reading)?;
            if reading.lost.is_empty() {
                return Ok((merged, truncated));
            }
            Arc::make_mut(&mut asked.search.without).extend(reading.lost);
        }
    }

    /// What all leaves did for `x`, (dim,).
    ///
    /// # Errors
    /// As [`Root::search`].
    pub fn explain(
        &self,
        x: &[f32],
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<Explained> {
        let mut all = Explained::default();
        for leaf in &self.leaves {
            let one = self.noted(leaf.explain(x, options, scratch))?;
            all.counts.scanned += one.counts.scanned;
            all.counts.survived += one.counts.survived;
            all.allowed = match (all.allowed, one.allowed) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
            (all.direct, all.simd) = (one.direct, one.simd);
            if all.lists.is_empty() {
                all.lists = one.lists;
            } else {
                // Leaves share the model, so they choose the same lists.
                for (all, one) in all.lists.iter_mut().zip(&one.lists) {
                    all.2 += one.2;
                }
            }
        }
        Ok(all)
    }

    fn take(&self, merged: &mut Merged, hits: &mut Vec<LeafHit>, leaf: usize, found: SearchResult) {
        merged.shards_asked += found.shards_asked;
        for failure in found.failed.iter() {
            let error = Error::from(failure.error.clone());
            self.note_fault(&failure.name, error.reason, &error.message);
            merged.failed.insert(failure.name.clone());
        }
        merged.times = merged.times.max(found.times);
        hits.extend(found.hits.into_iter().map(|hit| (leaf, hit)));
    }

    /// Keeps the best k of the ranked hits of all leaves and reads their keys and attributes. If a
    /// partial answer is allowed, shards whose damage shows here go into `reading`. The search must
    /// then be repeated without them, and this result must not be used.
    fn finish(
        &self,
        mut merged: Merged,
        mut hits: Vec<LeafHit>,
        options: &Options,
        reading: &mut Reading,
    ) -> Result<Merged> {
        // Before the cut to k: diffusion does not order hits by their scores.
        if let Some(threshold) = options.threshold {
            hits.retain(|(_, hit)| self.metric.reaches(hit.score, threshold));
        }
        hits.truncate(options.search.k);
        if options.with_keys || !options.attributes.is_empty() {
            let start = Instant::now();
            if options.with_keys {
                merged.keys = self.read_keys(&hits, options, &mut reading.lost)?;
            }
            merged.attributes = self.read_attributes(&hits, options, reading)?;
            merged.columns = Arc::clone(&options.attributes);
            merged.times[Stage::Keys] = start.elapsed();
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

    /// The keys of `hits`. If a partial answer is allowed, a shard with damaged keys goes into
    /// `lost`.
    fn read_keys(
        &self,
        hits: &[LeafHit],
        options: &Options,
        lost: &mut BTreeMap<String, String>,
    ) -> Result<Vec<String>> {
        let mut keys = Vec::with_capacity(hits.len());
        for (number, (leaf, hit)) in hits.iter().enumerate() {
            if number % KEYS_AT_A_TIME == 0 {
                options.check_cancelled()?;
            }
            let leaf = &self.leaves[*leaf];
            match self.noted(leaf.key_of(hit.row)) {
                Ok(key) => keys.push(key),
                Err(error) if options.search.allow_partial && error.code == Code::DataLoss => {
                    lost.insert(leaf.shard_name(hit.row), error.message);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }
}
