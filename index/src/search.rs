//! The naive float scan: every code of every probed list, scored one by one.
//!
//! It is the specification of a search result and stays as the oracle for whatever is faster: the
//! same ids, in the same order, with the same bits.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use ocelli_vector::adc;

use crate::error::Result;
use crate::model::{Metric, Model};
use crate::shard::Shard;
use crate::snapshot::Row;

/// One found image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Its id.
    pub id: u64,
    /// Squared distance or inner product, as the metric says.
    pub score: f32,
    /// Where it stands.
    pub row: Row,
    /// Its number among the candidates of a search that scores it again; 0 when that is done.
    pub(crate) candidate: u32,
}

impl Hit {
    /// The score turned so that smaller is better.
    fn cost(&self, metric: Metric) -> f32 {
        if metric == Metric::L2 { self.score } else { -self.score }
    }

    /// Best first, ties by smaller id. A total order, also of scores that are no numbers.
    pub fn order(&self, other: &Self, metric: Metric) -> Ordering {
        let by_cost = self.cost(metric).total_cmp(&other.cost(metric));
        by_cost.then(self.id.cmp(&other.id))
    }
}

/// A hit with the order in which the *worst* is the greatest.
#[derive(Debug)]
struct Candidate {
    /// Score turned so that smaller is better.
    cost: f32,
    hit: Hit,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.cost.total_cmp(&other.cost).then(self.hit.id.cmp(&other.hit.id))
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Candidate {}

/// The k best hits seen so far; ties go to the smaller id.
#[derive(Debug)]
pub struct Best {
    k: usize,
    metric: Metric,
    worst_first: BinaryHeap<Candidate>,
}

impl Best {
    /// Room for `k` hits.
    pub fn new(k: usize, metric: Metric) -> Self {
        Self { k, metric, worst_first: BinaryHeap::new() }
    }

    fn cost(&self, score: f32) -> f32 {
        if self.metric == Metric::L2 { score } else { -score }
    }

    /// Whether a hit of this score might be kept (its id decides where it ties with the last).
    #[inline]
    pub fn admits(&self, score: f32) -> bool {
        self.worst_first.len() < self.k
            || self.worst_first.peek().is_some_and(|w| self.cost(score).total_cmp(&w.cost).is_le())
    }

    /// Keeps the hit if it is among the k best.
    pub fn push(&mut self, hit: Hit) {
        let candidate = Candidate { cost: self.cost(hit.score), hit };
        if self.worst_first.len() < self.k {
            self.worst_first.push(candidate);
        } else if let Some(mut worst) = self.worst_first.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    /// The hits, best first.
    pub fn into_sorted(self) -> Vec<Hit> {
        self.worst_first.into_sorted_vec().into_iter().map(|c| c.hit).collect()
    }
}

/// The k best hits of several shards.
#[derive(Debug)]
pub(crate) struct Merge {
    k: usize,
    metric: Metric,
    hits: Vec<Hit>,
    /// Whether the hits are in order: one shard's are.
    sorted: bool,
}

impl Merge {
    /// Room for `k` hits.
    pub fn new(k: usize, metric: Metric) -> Self {
        Self { k, metric, hits: Vec::new(), sorted: true }
    }

    /// Takes in the hits of a shard, best first.
    pub fn add(&mut self, hits: Vec<Hit>) {
        if self.hits.is_empty() {
            self.hits = hits;
        } else if !hits.is_empty() {
            self.hits.extend(hits);
            self.sorted = false;
        }
        if self.hits.len() > self.k {
            let order = |a: &Hit, b: &Hit| a.order(b, self.metric);
            self.hits.select_nth_unstable_by(self.k - 1, order);
            self.hits.truncate(self.k);
            self.sorted = false;
        }
    }

    /// The cost (smaller is better) that a further hit must not exceed; infinite while there is
    /// room.
    pub fn ceiling(&self) -> f32 {
        if self.hits.len() < self.k {
            return f32::INFINITY;
        }
        self.hits.iter().map(|hit| hit.cost(self.metric)).fold(f32::NEG_INFINITY, f32::max)
    }

    /// The hits in no order.
    pub fn into_unsorted(self) -> Vec<Hit> {
        self.hits
    }

    /// The hits, best first.
    pub fn into_sorted(mut self) -> Vec<Hit> {
        if !self.sorted {
            self.hits.sort_unstable_by(|a, b| a.order(b, self.metric));
        }
        self.hits
    }
}

/// Scores every living row of `lists` (with the centroid's part of the score) in one shard, for the
/// query `z` (d,).
///
/// # Errors
/// [`crate::Error::Corrupt`]; `best` may then hold some of the shard's hits.
pub(crate) fn scan_shard(
    model: &Model,
    shard: &Shard,
    shard_index: u32,
    alive: impl Fn(u32, u32) -> bool,
    lists: &[(u32, f32)],
    z: &[f32],
    best: &mut Best,
) -> Result<()> {
    let p = model.parts();
    let layout = model.layout();
    let mut code = vec![0u8; p.m];
    let mut residual = vec![0f32; p.d];
    for &(list, base) in lists {
        let entry = shard.list(list)?;
        let codes = shard.list_codes(&entry)?;
        for i in 0..entry.len {
            layout.get(codes, entry.len as usize, i as usize, &mut code);
            adc::decode(&p.codebooks, p.ksub, &code, &mut residual);
            let score = match p.metric {
                Metric::InnerProduct => adc::inner_product_score(base, z, &residual),
                Metric::L2 => adc::l2_score(z, model.centroid(list), &residual),
            };
            if !best.admits(score) {
                continue;
            }
            let ordinal = shard.ordinal(entry.first + i)?;
            if alive(ordinal, entry.first + i) {
                best.push(Hit {
                    id: shard.id(ordinal)?,
                    score,
                    row: Row { shard: shard_index, ordinal },
                    candidate: 0,
                });
            }
        }
    }
    shard.intact()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::SectionKind;
    use crate::manifest::{IndexDir, NewGeneration};
    use crate::model::tests::small;
    use crate::shard::ShardBuilder;
    use crate::snapshot::{SearchParams, Snapshot};
    use crate::{Error, Hash};
    use ocelli_vector::{dot, l2_sq};
    use rand::{RngExt, SeedableRng};
    use roaring::RoaringBitmap;
    use std::collections::BTreeMap;
    use std::path::Path;

    const N: usize = 230;

    /// Two shards of vectors, every seventh a copy of the one before, so that scores tie.
    fn build(root: &Path, metric: Metric, dead: &[u32]) -> (Model, Vec<Vec<f32>>) {
        let dir = IndexDir::create(root).unwrap();
        let model = small(metric, true, 5);
        model.write(&dir.model_path(&model.hash())).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
        let mut rows: Vec<Vec<f32>> = Vec::new();
        for i in 0..N {
            let fresh = (0..12).map(|_| rng.random_range(-1.0..1.0)).collect();
            rows.push(if i % 7 == 6 { rows[i - 1].clone() } else { fresh });
        }
        let mut shards = Vec::new();
        for (task, range) in [(0, 0..100), (1, 100..N)] {
            let mut b = ShardBuilder::new(&model);
            // Ids run backwards, so that the smaller id is not the earlier row.
            range.for_each(|i| b.push((N - i) as u64, &format!("k{i}"), &rows[i]).unwrap());
            shards.push(b.write(&dir.shards_folder(), Hash::of(b"p"), task).unwrap());
        }
        let mut tombstones = BTreeMap::new();
        if !dead.is_empty() {
            let mut bytes = Vec::new();
            dead.iter().copied().collect::<RoaringBitmap>().serialize_into(&mut bytes).unwrap();
            let hash = Hash::of(&bytes);
            std::fs::write(dir.tombstones_path(&hash), bytes).unwrap();
            tombstones.insert(shards[0].name.clone(), hash);
        }
        dir.commit(
            None,
            NewGeneration {
                model: model.hash(),
                shards,
                tombstones,
                deletes: None,
                next_id: N as u64 + 1,
            },
        )
        .unwrap();
        (model, rows)
    }

    fn params(k: usize, nprobe: usize) -> SearchParams {
        SearchParams { k, nprobe, refine: 0, allow_partial: false, ..SearchParams::default() }
    }

    /// Against a ranking of the reconstructed vectors computed directly, with no table, no heap and
    /// no lists: the same order wherever scores differ by more than rounding, ties by smaller id.
    #[test]
    fn all_lists_probed_equals_a_direct_ranking() {
        for metric in [Metric::L2, Metric::InnerProduct] {
            let tmp = tempfile::tempdir().unwrap();
            let (_, rows) = build(tmp.path(), metric, &[]);
            let snapshot = Snapshot::open(tmp.path(), None).unwrap();
            let query = &rows[17];
            let mut want: Vec<(f32, u64)> = (0..N as u64)
                .map(|i| {
                    let row = snapshot.find_id(i + 1).unwrap().unwrap();
                    let x = snapshot.vector(row).unwrap();
                    let score =
                        if metric == Metric::L2 { l2_sq(query, &x) } else { -dot(query, &x) };
                    (score, i + 1)
                })
                .collect();
            want.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let result = snapshot.search(query, &params(1000, 1000)).unwrap();
            assert_eq!(result.hits.len(), N);
            for (hit, (score, _)) in result.hits.iter().zip(&want) {
                let score = if metric == Metric::L2 { *score } else { -score };
                assert!((hit.score - score).abs() < 1e-4, "{metric}");
            }
            for pair in result.hits.windows(2).filter(|w| w[0].score == w[1].score) {
                assert!(pair[0].id < pair[1].id, "ties go to the smaller id");
            }
            assert!(result.hits.windows(2).any(|w| w[0].score == w[1].score), "the data have ties");
            // A short answer is a prefix of the long one.
            for k in [1, 2, 63, 64, 65] {
                assert_eq!(
                    snapshot.search(query, &params(k, 1000)).unwrap().hits,
                    result.hits[..k]
                );
            }
            assert_eq!(
                snapshot.key(result.hits[0].row).unwrap(),
                format!("k{}", N as u64 - result.hits[0].id)
            );
        }
    }

    #[test]
    fn fewer_lists_find_only_their_rows() {
        let tmp = tempfile::tempdir().unwrap();
        let (model, rows) = build(tmp.path(), Metric::L2, &[]);
        let snapshot = Snapshot::open(tmp.path(), None).unwrap();
        let all = snapshot.search(&rows[3], &params(N, 7)).unwrap().hits;
        let lists = model.probe(&model.prepare(&rows[3]).unwrap(), 2);
        let some = snapshot.search(&rows[3], &params(N, 2)).unwrap().hits;
        let expected: Vec<Hit> = all
            .into_iter()
            .filter(|h| {
                let shard = snapshot.shards().nth(h.row.shard as usize).unwrap();
                lists.iter().any(|l| l.0 == shard.code(h.row.ordinal).unwrap().0)
            })
            .collect();
        assert_eq!(some, expected);
    }

    #[test]
    fn deleted_rows_are_gone_everywhere() {
        let tmp = tempfile::tempdir().unwrap();
        let (_, rows) = build(tmp.path(), Metric::InnerProduct, &[3, 50]);
        let snapshot = Snapshot::open(tmp.path(), None).unwrap();
        assert_eq!(snapshot.rows(), N as u64 - 2);
        let hits = snapshot.search(&rows[3], &params(N, 7)).unwrap().hits;
        assert_eq!(hits.len(), N - 2);
        assert!(hits.iter().all(|h| h.id != (N - 3) as u64 && h.id != (N - 50) as u64));
        assert_eq!(snapshot.find_id((N - 3) as u64).unwrap(), None);
        assert_eq!(snapshot.find_key("k50").unwrap(), None);
        assert!(snapshot.find_key("k51").unwrap().is_some());
    }

    /// Damage to codes is found when they are first scanned, not at open: an error, or with leave
    /// an answer from the other shard that names this one; never a wrong answer.
    #[test]
    fn a_damaged_shard_fails_alone() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = IndexDir::create(tmp.path()).unwrap();
        let model = small(Metric::L2, false, 5);
        model.write(&dir.model_path(&model.hash())).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let mut next_id = 0;
        // The second shard's codes fill several tiles, so that some are theirs alone.
        let mut shard = |rows: u64, task| {
            let mut b = ShardBuilder::new(&model);
            for _ in 0..rows {
                let code: [u8; 4] = std::array::from_fn(|_| rng.random_range(0..16));
                b.push_code(next_id, "", rng.random_range(0..7), &code).unwrap();
                next_id += 1;
            }
            b.write(&dir.shards_folder(), Hash::of(b"p"), task).unwrap()
        };
        let shards = vec![shard(300, 0), shard(60_000, 1)];
        let name = shards[1].name.clone();
        let new = NewGeneration {
            model: model.hash(),
            shards,
            tombstones: BTreeMap::new(),
            deletes: None,
            next_id,
        };
        dir.commit(None, new).unwrap();

        let query = [0.1; 12];
        let whole = Snapshot::open(tmp.path(), None).unwrap();
        // Hits of the first shard alone, for which all lists have to be scanned.
        let want: Vec<u64> = whole
            .search(&query, &params(60_300, 7))
            .unwrap()
            .hits
            .iter()
            .filter(|h| h.row.shard == 0)
            .map(|h| h.id)
            .collect();
        assert_eq!(want.len(), 300);
        let codes = whole.shards().nth(1).unwrap().file().require(SectionKind::Codes).copied();
        let at = codes.map(|c| c.offset + c.len / 2).unwrap() as usize;
        drop(whole);
        let path = dir.shard_path(&name).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 4;
        std::fs::write(&path, bytes).unwrap();

        let damaged = Snapshot::open(tmp.path(), None).unwrap();
        let error = damaged.search(&query, &params(500, 7)).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        let answer = damaged
            .search(&query, &SearchParams { allow_partial: true, ..params(500, 7) })
            .unwrap();
        assert_eq!(answer.hits.iter().map(|h| h.id).collect::<Vec<_>>(), want);
        assert_eq!((answer.shards_asked, answer.failed.len()), (2, 1));
        assert_eq!(answer.failed[0].name, name);
        assert!(matches!(answer.failed[0].error, Error::Corrupt { .. }));

        // A look does not read codes; a proof does, and says where.
        crate::inspect(tmp.path(), false).unwrap();
        let error = crate::inspect(tmp.path(), true).unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains("codes"), "{error}");
    }

    #[test]
    fn bad_queries_are_refused() {
        let tmp = tempfile::tempdir().unwrap();
        build(tmp.path(), Metric::L2, &[]);
        let snapshot = Snapshot::open(tmp.path(), None).unwrap();
        assert!(matches!(
            snapshot.search(&[0.0; 11], &params(1, 1)),
            Err(Error::Dim { expected: 12, found: 11, .. })
        ));
        assert!(snapshot.search(&[f32::NAN; 12], &params(1, 1)).is_err());
        assert!(snapshot.search(&[0.0; 12], &params(0, 1)).is_err());
        assert!(matches!(Snapshot::open(tmp.path(), Some(8)), Err(Error::NotFound { .. })));
        assert!(matches!(
            Snapshot::open(&tmp.path().join("nowhere"), None),
            Err(Error::NotFound { .. })
        ));
    }
}
