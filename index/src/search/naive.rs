//! The naive float scan: every code of every probed list, scored one by one.
//!
//! It is the specification of a search result and the oracle for every faster way: the same ids, in
//! the same order, with the same bits.

use ocelli_vector::adc;

use super::hit::{Best, Hit, Row};
use crate::base::error::Result;
use crate::model::{Metric, Model};
use crate::shard::Shard;

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
    use crate::files::container::SectionKind;
    use crate::generations::{IndexDir, NewGeneration};
    use crate::model::tests::small;
    use crate::search::params::SearchParams;
    use crate::search::snapshot::Snapshot;
    use crate::shard::ShardBuilder;
    use crate::{Error, Hash};
    use rand::{RngExt, SeedableRng};
    use roaring::RoaringBitmap;
    use std::collections::BTreeMap;
    use std::path::Path;

    const N: usize = 230;

    /// Two shards of vectors, every seventh a copy of the one before, so that scores tie.
    fn build(root: &Path, metric: Metric, dead: &[u32]) -> (Model, Vec<Vec<f32>>) {
        let dir = IndexDir::create(root).unwrap();
        let model = small(metric, true, 5);
        dir.put_model(&model).unwrap();
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
            shards.push(dir.put_shard(b, Hash::of(b"p"), task).unwrap());
        }
        let mut tombstones = BTreeMap::new();
        if !dead.is_empty() {
            let ordinals: RoaringBitmap = dead.iter().copied().collect();
            let hash = dir.put_tombstones(&ordinals).unwrap();
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
        SearchParams {
            k,
            nprobe,
            refine_candidates: 0,
            allow_partial: false,
            ..SearchParams::default()
        }
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
                    (metric.cost(metric.of(query, &x)), i + 1)
                })
                .collect();
            want.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let result = snapshot.search(query, &params(1000, 1000)).unwrap();
            assert_eq!(result.hits.len(), N);
            for (hit, (score, _)) in result.hits.iter().zip(&want) {
                let score = metric.score(*score);
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
        dir.put_model(&model).unwrap();
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
            dir.put_shard(b, Hash::of(b"p"), task).unwrap()
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
