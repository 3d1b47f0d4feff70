//! One opened generation: its model and its shards. Answers queries.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_vector::adc;
use roaring::RoaringBitmap;

use crate::engine::{Engine, Scratch};
use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::manifest::{Generation, IndexDir};
use crate::model::{Metric, Model, Query};
use crate::search::{Best, Hit, Merge, scan_shard};
use crate::shard::Shard;

/// A row of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// Which of the generation's shards.
    pub shard: u32,
    /// Row number in it.
    pub ordinal: u32,
}

/// How to search.
#[derive(Clone, Debug)]
pub struct SearchParams {
    /// Number of hits, at least 1.
    pub k: usize,
    /// Lists scanned in each shard, at least 1; cut to nlist.
    pub nprobe: usize,
    /// Whether to answer from the other shards where one fails.
    pub allow_partial: bool,
}

/// A shard that could not answer.
#[derive(Debug)]
pub struct ShardFailure {
    /// Its name in the generation.
    pub name: String,
    /// Why.
    pub error: Error,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageTimes {
    /// Transforming the query and choosing lists.
    pub probe: Duration,
    /// Building the table.
    pub lut: Duration,
    /// Scanning codes and keeping the best.
    pub scan: Duration,
}

/// Answer of a search.
#[derive(Debug)]
pub struct SearchResult {
    /// Best first, ties by smaller id; fewer than k where the probed lists hold fewer.
    pub hits: Vec<Hit>,
    /// What the scores are.
    pub metric: Metric,
    /// Shards that were asked.
    pub shards_asked: usize,
    /// Those of them that failed; empty unless a partial answer was allowed.
    pub failed: Vec<ShardFailure>,
    /// Where the time went.
    pub times: StageTimes,
}

/// Queries of a batch whose probed lists are in memory at a time.
const BATCH: usize = 4096;

/// A query with its lists.
struct Probed {
    query: Query,
    lists: Vec<(u32, f32)>,
    time: Duration,
}

/// A shard of a snapshot with its deleted rows.
#[derive(Debug)]
struct Member {
    name: String,
    shard: Shard,
    tombstones: Option<RoaringBitmap>,
}

impl Member {
    fn alive(&self, ordinal: u32) -> bool {
        self.tombstones.as_ref().is_none_or(|t| !t.contains(ordinal))
    }
}

/// One opened generation. Immutable; share it by `Arc` and keep it for the whole of a query.
#[derive(Debug)]
pub struct Snapshot {
    generation: Generation,
    model: Arc<Model>,
    members: Vec<Member>,
}

impl Snapshot {
    /// Opens a generation of the index directory `root`: the current one, or the one asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`] for no such directory or generation; [`Error::ModelMismatch`];
    /// [`Error::Corrupt`]; [`Error::Io`].
    pub fn open(root: &Path, generation: Option<u64>) -> Result<Self> {
        let dir = IndexDir::open(root)?;
        let generation = match generation {
            Some(number) => dir.generation(number)?,
            None => dir.current()?.ok_or_else(|| {
                Error::not_found(format!("{}: the index has no generation yet", root.display()))
            })?,
        };
        let model = Arc::new(Model::open(&dir.model_path(&generation.model))?);
        if model.hash() != generation.model {
            return Err(Error::ModelMismatch {
                path: dir.model_path(&generation.model),
                expected: generation.model,
                found: model.hash(),
            });
        }
        let mut members = Vec::with_capacity(generation.shards.len());
        for entry in &generation.shards {
            let path = dir.shard_path(&entry.name)?;
            let shard = Shard::open(&path, &model)?;
            if (shard.file().bytes(), u64::from(shard.rows())) != (entry.bytes, entry.rows) {
                return Err(Error::corrupt(
                    &path,
                    format!(
                        "{} bytes and {} rows, the generation says {} and {}",
                        shard.file().bytes(),
                        shard.rows(),
                        entry.bytes,
                        entry.rows
                    ),
                ));
            }
            let tombstones = match generation.tombstones.get(&entry.name) {
                Some(hash) => Some(read_tombstones(&dir.tombstones_path(hash), hash)?),
                None => None,
            };
            members.push(Member { name: entry.name.clone(), shard, tombstones });
        }
        Ok(Self { generation, model, members })
    }

    /// The generation.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Its model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its shards, in plan order.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &Shard> {
        self.members.iter().map(|m| &m.shard)
    }

    /// Rows that are not deleted.
    pub fn rows(&self) -> u64 {
        let dead = |m: &Member| m.tombstones.as_ref().map_or(0, RoaringBitmap::len);
        self.members
            .iter()
            .map(|m| u64::from(m.shard.rows()) - dead(m).min(u64::from(m.shard.rows())))
            .sum()
    }

    /// The first row for which `find` finds an ordinal that is not deleted.
    fn find(&self, find: impl Fn(&Shard) -> Result<Option<u32>>) -> Result<Option<Row>> {
        for (shard, member) in (0u32..).zip(&self.members) {
            if let Some(ordinal) = find(&member.shard)?.filter(|&o| member.alive(o)) {
                return Ok(Some(Row { shard, ordinal }));
            }
        }
        Ok(None)
    }

    /// Row of an id.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn find_id(&self, id: u64) -> Result<Option<Row>> {
        self.find(|shard| shard.find_id(id))
    }

    /// Row of a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn find_key(&self, key: &str) -> Result<Option<Row>> {
        self.find(|shard| shard.find_key(key))
    }

    fn shard_of(&self, row: Row) -> Result<&Shard> {
        let member = self.members.get(row.shard as usize);
        member
            .map(|m| &m.shard)
            .ok_or_else(|| Error::not_found(format!("no shard {} in the generation", row.shard)))
    }

    /// Vector of a row in the space of x, (dim,): what its code says.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`].
    pub fn vector(&self, row: Row) -> Result<Vec<f32>> {
        let (list, code) = self.shard_of(row)?.code(row.ordinal)?;
        Ok(self.model.reconstruct(list, &code))
    }

    /// Key of a row, empty where it has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`].
    pub fn key(&self, row: Row) -> Result<String> {
        self.shard_of(row)?.key(row.ordinal)
    }

    /// Id of a row.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`].
    pub fn id(&self, row: Row) -> Result<u64> {
        self.shard_of(row)?.id(row.ordinal)
    }

    /// The k best rows for the query x (dim,).
    ///
    /// # Errors
    /// [`Error::Dim`] or [`Error::Invalid`] for the query or the parameters; [`Error::Corrupt`] if a
    /// shard fails and no partial answer is allowed, or all shards fail.
    pub fn search(&self, x: &[f32], params: &SearchParams) -> Result<SearchResult> {
        self.search_with(x, params, &mut Scratch::default())
    }

    /// [`Self::search`] with buffers that the caller's thread keeps from query to query.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn search_with(
        &self,
        x: &[f32],
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<SearchResult> {
        let probed = self.probe(x, params, scratch)?;
        self.scan(&probed, params, scratch)
    }

    /// One search for each of the queries `x` (n, dim), in their order; the answers are those of
    /// [`Self::search`]. Queries are scanned in the order of their nearest lists, so that codes stay warm.
    ///
    /// # Errors
    /// As [`Self::search`], for the first query that fails.
    pub fn search_batch(
        &self,
        x: &[f32],
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<Vec<SearchResult>> {
        let dim = self.model.parts().dim;
        if !x.len().is_multiple_of(dim) {
            return Err(Error::Dim {
                what: "batch of queries".into(),
                expected: dim,
                found: x.len(),
            });
        }
        let mut out: Vec<Option<SearchResult>> = Vec::new();
        // Probed lists wait in memory: so many queries at a time.
        for (start, block) in (0..).step_by(BATCH).zip(x.chunks(BATCH * dim)) {
            let mut probed = Vec::with_capacity(block.len() / dim);
            for (i, x) in (start..).zip(block.chunks_exact(dim)) {
                probed.push((i, self.probe(x, params, scratch)?));
            }
            probed.sort_by_key(|(i, p)| (p.lists.first().map(|l| l.0), *i));
            out.resize_with(start + probed.len(), || None);
            for (i, probed) in probed {
                out[i] = Some(self.scan(&probed, params, scratch)?);
            }
        }
        Ok(out.into_iter().flatten().collect())
    }

    /// Transforms a query and chooses its lists.
    fn probe(&self, x: &[f32], params: &SearchParams, scratch: &mut Scratch) -> Result<Probed> {
        if params.k == 0 || params.nprobe == 0 {
            return Err(Error::invalid(format!(
                "k = {} and nprobe = {}: both must be at least 1",
                params.k, params.nprobe
            )));
        }
        let start = Instant::now();
        let query = self.model.prepare(x)?;
        let lists = self.model.probe_with(
            scratch.simd,
            &query,
            params.nprobe,
            &mut scratch.probe,
            &mut scratch.candidates,
        );
        Ok(Probed { query, lists, time: start.elapsed() })
    }

    /// Scans a query's lists in every shard.
    fn scan(
        &self,
        probed: &Probed,
        params: &SearchParams,
        scratch: &mut Scratch,
    ) -> Result<SearchResult> {
        let metric = self.model.metric();
        let start = Instant::now();
        let mut engine = Engine::new(&self.model, &probed.query, &probed.lists, scratch);
        let tabled = Instant::now();
        let k = params.k.min(self.rows() as usize).max(1);
        let mut best = Merge::new(k, metric);
        let mut failed = Vec::new();
        for (index, member) in (0u32..).zip(&self.members) {
            let deleted = member.tombstones.as_ref();
            match engine.scan(&member.shard, index, deleted, best.ceiling(), k) {
                Ok(hits) => best.add(hits),
                Err(error) if params.allow_partial => {
                    failed.push(ShardFailure { name: member.name.clone(), error });
                }
                Err(error) => return Err(error),
            }
        }
        if failed.len() == self.members.len()
            && let Some(first) = failed.pop()
        {
            return Err(first.error);
        }
        let times = StageTimes { probe: probed.time, lut: tabled - start, scan: tabled.elapsed() };
        Ok(SearchResult {
            hits: best.into_sorted(),
            metric,
            shards_asked: self.members.len(),
            failed,
            times,
        })
    }

    /// The naive float scan: every code of every probed list scored one by one. The specification of
    /// [`Self::search`] and the oracle of its tests.
    ///
    /// # Errors
    /// As [`Self::search`], without partial answers.
    pub fn search_naive(&self, x: &[f32], params: &SearchParams) -> Result<Vec<Hit>> {
        let p = self.model.parts();
        let query = self.model.prepare(x)?;
        let lists = self.model.probe(&query, params.nprobe);
        let mut lut = Vec::new();
        adc::build_lut(&query.z, &p.codebooks, p.m, p.ksub, &mut lut);
        let mut best = Best::new(params.k, p.metric);
        for (index, member) in (0u32..).zip(&self.members) {
            let alive = |o| member.alive(o);
            scan_shard(&self.model, &member.shard, index, alive, &lists, &lut, &mut best)?;
        }
        Ok(best.into_sorted())
    }

    /// Proves every checksum of every shard, against the generation's too, and the model's hash.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first thing that is wrong.
    pub fn verify(&self) -> Result<()> {
        self.model.verify()?;
        let want: BTreeMap<&str, Hash> =
            self.generation.shards.iter().map(|s| (s.name.as_str(), s.checksum)).collect();
        for member in &self.members {
            member.shard.verify()?;
            let found = member.shard.file().checksum();
            if want.get(member.name.as_str()) != Some(&found) {
                return Err(Error::corrupt(
                    member.shard.path(),
                    format!("SHA-256 {found} is not the one that the generation names"),
                ));
            }
        }
        Ok(())
    }
}

/// Deleted rows of one shard: a roaring bitmap whose file is named by its SHA-256.
fn read_tombstones(path: &Path, hash: &Hash) -> Result<RoaringBitmap> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    let found = Hash::of(&bytes);
    if found != *hash {
        return Err(Error::corrupt(path, format!("SHA-256 {found}, expected {hash}")));
    }
    RoaringBitmap::deserialize_from(bytes.as_slice())
        .map_err(|e| Error::corrupt(path, e.to_string()))
}
