//! The engine against the naive float scan: the same ids, in the same order, with the same bits.
//!
//! Random models and collections, on every level that this processor has. The shapes are drawn to
//! hit what the engine distinguishes: lists of no rows, of one, around every block boundary; k
//! below, at and above the number of rows; equal codes, so that scores tie; deleted rows; both
//! metrics and both code sizes; magnitudes at which float rounding is coarse against the table's
//! step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ocelli_vector::Simd;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use roaring::RoaringBitmap;

use crate::Hash;
use crate::base::range::{MAX_NORM, MIN_NORM};
use crate::generations::{IndexDir, NewGeneration};
use crate::model::{Metric, Model, ModelParts};
use crate::search::cancel::Cancel;
use crate::search::engine::{Scratch, Sharing};
use crate::search::filter::{Filter, Name, RowFilter};
use crate::search::join::{Ceiling, Pair, Seeking};
use crate::search::params::SearchParams;
use crate::search::snapshot::Snapshot;
use crate::shard::ShardBuilder;
use crate::spec::DescriptorSpec;

const LENGTHS: [usize; 14] = [0, 0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 130, 300, 1200];

pub(super) fn draw(rng: &mut ChaCha8Rng, n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-scale..scale)).collect()
}

fn model(rng: &mut ChaCha8Rng) -> Model {
    let m = [1, 2, 3, 4, 5, 8, 13, 16, 31, 64][rng.random_range(0..10)];
    let ksub = if rng.random() { 256 } else { 16 };
    let d = m * rng.random_range(1..5usize);
    let nlist = rng.random_range(1..12);
    let scale = [1e-3, 1.0, 300.0, 1e6][rng.random_range(0..4)];
    // Far-off centroids make base scores that dwarf the table: few bits are left for the rest.
    let far = scale * [1.0, 1.0, 1000.0][rng.random_range(0..3)];
    Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("test", d as u32).unwrap(),
        metric: if rng.random() { Metric::L2 } else { Metric::InnerProduct },
        mean: None,
        rotation: None,
        renormalize: false,
        dim: d,
        d,
        nlist,
        coarse: draw(rng, nlist * d, far).into(),
        m,
        ksub,
        codebooks: draw(rng, ksub * d, scale),
        training: BTreeMap::new(),
    })
    .unwrap()
}

/// Two shards of random codes, some of them repeated, some rows deleted.
pub(super) fn collection(rng: &mut ChaCha8Rng, root: &Path) -> Snapshot {
    let model = model(rng);
    let p = model.parts();
    let dir = IndexDir::create(root).unwrap();
    dir.put_model(&model).unwrap();
    let (mut shards, mut tombstones, mut next_id) = (Vec::new(), BTreeMap::new(), 0u64);
    for task in 0..2 {
        let mut rows: Vec<(u32, Vec<u8>)> = Vec::new();
        for list in 0..p.nlist as u32 {
            for _ in 0..LENGTHS[rng.random_range(0..LENGTHS.len())] {
                let fresh = (0..p.m).map(|_| rng.random_range(0..p.ksub) as u8).collect();
                let repeat = rows.last().filter(|r| r.0 == list && rng.random_bool(0.2));
                rows.push((list, repeat.map_or(fresh, |r| r.1.clone())));
            }
        }
        if rows.is_empty() {
            rows.push((0, vec![0; p.m]));
        }
        let mut b = ShardBuilder::new(&model);
        // Ids fall within a shard, so that the smaller id is the later row.
        let top = next_id + rows.len() as u64;
        for (i, (list, code)) in rows.iter().enumerate() {
            b.push_code(top - i as u64, "", *list, code).unwrap();
        }
        next_id = top + 1;
        let entry = dir.put_shard(b, Hash::of(b"p"), task).unwrap();
        if rng.random_bool(0.3) {
            let dead: RoaringBitmap =
                (0..rows.len() as u32).filter(|_| rng.random_bool(0.3)).collect();
            tombstones.insert(entry.name.clone(), dir.put_tombstones(&dead).unwrap());
        }
        shards.push(entry);
    }
    let new = NewGeneration { model: model.hash(), shards, tombstones, deletes: None, next_id };
    dir.commit(None, new).unwrap();
    Snapshot::open(root, None).unwrap()
}

#[test]
fn the_engine_answers_as_the_naive_scan() {
    let cases = ocelli_test_support::cases(300, 3000);
    for seed in 0..cases {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let tmp = tempfile::tempdir().unwrap();
        let snapshot = collection(&mut rng, tmp.path());
        let p = snapshot.model().parts();
        for _ in 0..6 {
            let mut q = draw(&mut rng, p.d, 1.0);
            // Near a centroid, or anywhere.
            let c = snapshot.model().centroid(rng.random_range(0..p.nlist) as u32).to_vec();
            let share = if rng.random() { 1.0 } else { 0.0 };
            // Also far smaller or larger than what is indexed: the terms then dwarf the table, or
            // the table the terms.
            let stretch = [1.0, 1.0, 1e-3, 1e-7, 1e4][rng.random_range(0..5)];
            let size = stretch * c.iter().fold(0f32, |a, b| a.max(b.abs()));
            q.iter_mut().zip(&c).for_each(|(q, c)| *q = *q * size + share * c);
            let params = SearchParams {
                k: [1, 2, 10, 100, 3000, 1_000_000][rng.random_range(0..6)],
                nprobe: rng.random_range(1..=p.nlist),
                refine_candidates: 0,
                allow_partial: false,
                ..SearchParams::default()
            };
            let want = snapshot.search_naive(&q, &params).unwrap();
            for simd in Simd::all() {
                let found = snapshot.search_with(&q, &params, &mut Scratch::at(simd)).unwrap().hits;
                let bits = |hits: &[crate::Hit]| -> Vec<(u64, u32)> {
                    hits.iter().map(|h| (h.id, h.score.to_bits())).collect()
                };
                assert_eq!(
                    bits(&found),
                    bits(&want),
                    "seed {seed}, {}, {params:?}, {} m {} ksub {}",
                    simd.level(),
                    p.metric,
                    p.m,
                    p.ksub
                );
            }
        }
    }
}

/// Names that a filter leaves out or lets in, now and then of no row at all.
fn filter(rng: &mut ChaCha8Rng, snapshot: &Snapshot) -> RowFilter {
    let top = snapshot.generation().next_id + 5;
    let share = [0.0, 0.01, 0.5, 0.95][rng.random_range(0..4)];
    let names = |rng: &mut ChaCha8Rng| {
        (0..top).filter(|_| rng.random_bool(share)).map(Name::Id).collect::<BTreeSet<_>>()
    };
    let allow = rng.random::<bool>().then(|| names(rng));
    let deny = if rng.random() { names(rng) } else { BTreeSet::new() };
    let mut filter = snapshot.resolve(&Filter { allow, deny, predicate: None }).unwrap();
    // Few rows are scored one by one, or all take the way of large sets.
    filter.direct = [0, 50, 4096][rng.random_range(0..3)];
    filter
}

/// With filters and with ranges too, single and in a batch: what the naive scan finds, to the bit.
#[test]
fn filters_and_ranges_answer_as_the_naive_scan() {
    let cases = ocelli_test_support::cases(150, 3000);
    let (mut cut, mut found_some) = (0, 0);
    for seed in 0..cases {
        let mut rng = ChaCha8Rng::seed_from_u64(1_000_000 + seed);
        let tmp = tempfile::tempdir().unwrap();
        let snapshot = collection(&mut rng, tmp.path());
        let p = snapshot.model().parts();
        let params = SearchParams {
            k: [1, 7, 100, 10_000][rng.random_range(0..4)],
            nprobe: rng.random_range(1..=p.nlist),
            filter: rng.random_bool(0.8).then(|| Arc::new(filter(&mut rng, &snapshot))),
            ..SearchParams::default()
        };
        let queries: Vec<f32> = (0..6)
            .flat_map(|_| {
                let list = rng.random_range(0..p.nlist) as u32;
                let near = draw(&mut rng, p.d, 1.0);
                let centroid = snapshot.model().centroid(list);
                centroid.iter().zip(near).map(|(c, x)| c + x).collect::<Vec<f32>>()
            })
            .collect();
        let simd = Simd::all().nth(rng.random_range(0..Simd::all().count())).unwrap();
        let scratch = &mut Scratch::at(simd).asking(seed % 2 == 1);
        let batch = snapshot.search_batch(&queries, &params, scratch).unwrap();
        for (q, batched) in queries.chunks(p.d).zip(batch) {
            let want = snapshot.search_naive(q, &params).unwrap();
            let found = snapshot.search_with(q, &params, scratch).unwrap().hits;
            assert_eq!(found, want, "seed {seed}, {}, {params:?}", simd.level());
            assert_eq!(batched.hits, want, "seed {seed}, batch");
            found_some += usize::from(!want.is_empty());

            let every = SearchParams { k: 1_000_000, ..params.clone() };
            let every = snapshot.naive_in_lists(q, &every, 1).unwrap();
            let Some(some) = every.get(every.len() / 3) else { continue };
            let threshold = some.score;
            let better = |score: f32| match p.metric {
                Metric::L2 => score <= threshold,
                Metric::InnerProduct => score >= threshold,
            };
            let within: Vec<_> = every.iter().filter(|h| better(h.score)).copied().collect();
            let range = snapshot.search_range(q, threshold, &params, scratch).unwrap();
            assert_eq!(range.truncated, within.len() > params.k, "seed {seed}");
            cut += usize::from(range.truncated);
            let want = &within[..within.len().min(params.k)];
            assert_eq!(range.result.hits, want, "seed {seed}, range");
        }
    }
    assert!(cut > 0 && found_some > cases as usize, "the cases tell something");
}

#[test]
fn what_nobody_waits_for_ends() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let tmp = tempfile::tempdir().unwrap();
    let snapshot = collection(&mut rng, tmp.path());
    let q = vec![0.5; snapshot.model().parts().dim];
    let cancel = Cancel::default();
    // An answer without some shards is no answer to a search that was ended.
    let params = SearchParams {
        nprobe: 100,
        allow_partial: true,
        cancel: Some(cancel.clone()),
        ..SearchParams::default()
    };
    snapshot.search(&q, &params).unwrap();
    cancel.cancel();
    let error = snapshot.search(&q, &params).unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::Cancelled, "{error}");
    let late = Cancel::at(std::time::Instant::now());
    let params = SearchParams { cancel: Some(late), ..params };
    let queries = q.repeat(5);
    let error = snapshot.search_batch(&queries, &params, &mut Scratch::default()).unwrap_err();
    assert!(error.to_string().contains("deadline"), "{error}");
}

/// A batch scans its queries in another order and gives each the answer that it gets alone.
#[test]
fn a_batch_answers_as_its_queries_do_alone() {
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let tmp = tempfile::tempdir().unwrap();
        let snapshot = collection(&mut rng, tmp.path());
        let d = snapshot.model().parts().d;
        let queries = draw(&mut rng, 30 * d, 1.0);
        let params = SearchParams {
            k: 20,
            nprobe: 3,
            refine_candidates: 0,
            allow_partial: false,
            ..SearchParams::default()
        };
        let batch = snapshot.search_batch(&queries, &params, &mut Scratch::default()).unwrap();
        assert_eq!(batch.len(), 30);
        for (answer, q) in batch.iter().zip(queries.chunks(d)) {
            assert_eq!(answer.hits, snapshot.search_naive(q, &params).unwrap());
        }
        let cut = snapshot.search_batch(&queries[..30 * d - 1], &params, &mut Scratch::default());
        assert!(cut.is_err() || d == 1);
    }
}

/// Queries that share lists, at every level and whatever makes them share: each gets the answer
/// that it gets alone. Some have no threshold when they come to a shared list; some lists have
/// deleted rows.
#[test]
fn shared_lists_answer_as_lists_of_ones_own() {
    let cases = ocelli_test_support::cases(60, 1000);
    let mut shared = 0;
    for seed in 0..cases {
        let mut rng = ChaCha8Rng::seed_from_u64(2_000_000 + seed);
        let tmp = tempfile::tempdir().unwrap();
        let snapshot = collection(&mut rng, tmp.path());
        let p = snapshot.model().parts();
        let queries: Vec<f32> = (0..[3, 30, 70, 140][seed as usize % 4])
            .flat_map(|_| {
                let list = rng.random_range(0..p.nlist) as u32;
                let size = snapshot.model().centroid(list).iter().fold(0f32, |a, b| a.max(b.abs()));
                let near = draw(&mut rng, p.d, size);
                let centroid = snapshot.model().centroid(list);
                centroid.iter().zip(near).map(|(c, x)| c + x).collect::<Vec<f32>>()
            })
            .collect();
        let params = SearchParams {
            k: [1, 10, 100, 3000][rng.random_range(0..4)],
            nprobe: rng.random_range(1..=p.nlist),
            filter: rng.random_bool(0.3).then(|| Arc::new(filter(&mut rng, &snapshot))),
            ..SearchParams::default()
        };
        let want: Vec<_> =
            queries.chunks(p.d).map(|q| snapshot.search_naive(q, &params).unwrap()).collect();
        for simd in Simd::all() {
            let mut survived = [0; 2];
            for (sharing, survived) in
                [Sharing::Never, Sharing::Always].into_iter().zip(&mut survived)
            {
                let mut scratch = Scratch::at(simd).sharing(sharing).asking(seed % 2 == 1);
                scratch.buffers.tuning.warm_rows = [0, 20, 400][seed as usize % 3];
                let batch = snapshot.search_batch(&queries, &params, &mut scratch).unwrap();
                for (answer, want) in batch.iter().zip(&want) {
                    assert_eq!(&answer.hits, want, "seed {seed}, {}, {params:?}", simd.level());
                }
                *survived = scratch.counts().survived;
            }
            shared += usize::from(survived[0] != survived[1]);
        }
    }
    assert!(shared > cases as usize / 4, "lists were shared {shared} times");
}

/// A living row as the oracle of a join sees it.
struct Known {
    list: u32,
    slot: u32,
    row: crate::Row,
    residual: Vec<f32>,
    query: crate::model::Query,
}

fn known(snapshot: &Snapshot) -> Vec<Known> {
    let (model, p) = (snapshot.model(), snapshot.model().parts());
    let mut all = Vec::new();
    for (index, member) in (0u32..).zip(&snapshot.members) {
        for list in 0..p.nlist as u32 {
            let entry = member.shard.list(list).unwrap();
            let codes = member.shard.list_codes(&entry).unwrap();
            for i in 0..entry.len {
                let ordinal = member.shard.ordinal(entry.first + i).unwrap();
                if !member.alive(ordinal) {
                    continue;
                }
                let (mut code, mut residual) = (vec![0; p.m], vec![0.0; p.d]);
                model.layout().get(codes, entry.len as usize, i as usize, &mut code);
                ocelli_vector::adc::decode(&p.codebooks, p.ksub, &code, &mut residual);
                let z = residual.iter().zip(model.centroid(list)).map(|(r, c)| r + c).collect();
                let query = model.prepare(&model.restore(z)).unwrap();
                let row = crate::Row { shard: index, ordinal };
                all.push(Known { list, slot: entry.first + i, row, residual, query });
            }
        }
    }
    all
}

/// Some rows have a threshold, some a vector.
struct Seek {
    limits: [f32; 2],
    beyond: Option<[f32; 2]>,
    vectors: BTreeMap<crate::Row, Vec<f32>>,
}

impl Seeking for Seek {
    fn seeks(&self, row: crate::Row) -> bool {
        !row.ordinal.is_multiple_of(5)
    }

    fn ceiling(&self, row: crate::Row, is_known: bool) -> Ceiling {
        match self.beyond.filter(|_| is_known) {
            Some(beyond) => Ceiling::Beyond(beyond),
            None => Ceiling::Score(self.limits[row.ordinal as usize % 5 % 2]),
        }
    }

    fn vectors(&mut self, rows: &[crate::Row]) -> crate::Result<Vec<Option<Vec<f32>>>> {
        Ok(rows.iter().map(|row| self.vectors.get(row).cloned()).collect())
    }

    fn take(&mut self, _: &mut Vec<Pair>) -> crate::Result<()> {
        Ok(())
    }
}

/// A join finds the pairs that comparing every row with every other finds, each once, with the bits
/// of the definition: both metrics and code sizes, rows of several shards, rows without a
/// threshold, rows whose vectors are known, deleted rows, at every level.
#[test]
fn a_join_finds_the_near_pairs() {
    let cases = ocelli_test_support::cases(25, 500);
    let (mut found_some, mut skipped) = (0, 0);
    for seed in 0..cases {
        let mut rng = ChaCha8Rng::seed_from_u64(3_000_000 + seed);
        let tmp = tempfile::tempdir().unwrap();
        let snapshot = collection(&mut rng, tmp.path());
        let (model, p) = (snapshot.model(), snapshot.model().parts());
        let mut rows = known(&snapshot);
        let mut seek = Seek { limits: [0.0; 2], beyond: None, vectors: BTreeMap::new() };
        for row in rows.iter_mut().filter(|row| seed % 2 == 1 && row.row.ordinal % 3 == 1) {
            let mut x = model.restore(row.query.z.clone());
            x.iter_mut().for_each(|x| *x += rng.random_range(-0.1..0.1));
            row.query = model.prepare(&x).unwrap();
            seek.vectors.insert(row.row, x);
        }
        let simd = Simd::all().nth(seed as usize % Simd::all().count()).unwrap();
        let mut scratch = Scratch::at(simd);
        let nprobe = rng.random_range(1..=p.nlist);
        let plan = snapshot.join_plan(nprobe, None, &mut scratch).unwrap();
        let near = |list: u32| -> Vec<u32> {
            let query = model.as_query(model.centroid(list).to_vec());
            model.probe(&query, nprobe).into_iter().map(|l| l.0).collect()
        };
        let score = |a: &Known, b: &Known| match p.metric {
            Metric::L2 => {
                ocelli_vector::adc::l2_score(&a.query.z, model.centroid(b.list), &b.residual)
            }
            Metric::InnerProduct => ocelli_vector::adc::inner_product_score(
                ocelli_vector::dot(&a.query.z, model.centroid(b.list)) + a.query.offset,
                &a.query.z,
                &b.residual,
            ),
        };
        let mut pairs = Vec::new();
        for (i, a) in rows.iter().enumerate() {
            for b in &rows[i + 1..] {
                let key = |row: &Known| (row.list, row.row.shard, row.slot);
                let (a, b) = if key(a) < key(b) { (a, b) } else { (b, a) };
                if a.list == b.list
                    || near(a.list).contains(&b.list)
                    || near(b.list).contains(&a.list)
                {
                    pairs.push((a.row, b.row, score(a, b)));
                }
            }
            if pairs.len() > 300_000 {
                break;
            }
        }
        if pairs.len() < 10 || pairs.len() > 300_000 {
            continue;
        }
        pairs.sort_by(|a, b| p.metric.order(a.2, b.2));
        seek.limits = [pairs[pairs.len() / 20].2, pairs[pairs.len() / 3].2];
        let own: BTreeMap<crate::Row, (u32, f32)> = rows
            .iter()
            .map(|row| {
                let at = snapshot.shard_of(row.row).unwrap().code(row.row.ordinal).unwrap();
                let score = row.query.score(p.metric, &model.decode(row.list, &at.1));
                (row.row, (row.list, p.metric.cost(score)))
            })
            .collect();
        if seed % 4 == 1 {
            let mut beyond: Vec<f32> =
                pairs.iter().map(|(a, _, s)| p.metric.cost(*s) - own[a].1).collect();
            beyond.sort_by(f32::total_cmp);
            seek.beyond = Some([beyond[beyond.len() / 3], beyond[beyond.len() / 20]]);
        }
        pairs.retain(|(a, b, score)| {
            let ((list, own_cost), is_known) = (own[a], seek.vectors.contains_key(a));
            let ceiling = match seek.ceiling(*a, is_known) {
                Ceiling::Score(score) => p.metric.cost(score),
                Ceiling::Beyond(beyond) => own_cost + beyond[usize::from(own[b].0 != list)],
            };
            seek.seeks(*a) && p.metric.cost(*score) <= ceiling
        });
        let mut found = Vec::new();
        for list in 0..p.nlist as u32 {
            let counts = snapshot
                .join_list_by(&plan, list, &mut seek, None, &mut scratch, &mut found)
                .unwrap();
            skipped += counts.skipped;
            assert!(counts.scored <= counts.scanned);
        }
        found_some += usize::from(!found.is_empty());
        for pair in &found {
            let beyond = p.metric.cost(pair.score) - own[&pair.a].1;
            assert_eq!(pair.beyond.to_bits(), beyond.to_bits(), "seed {seed}");
        }
        let mut found: Vec<_> = found.iter().map(|f| (f.a, f.b, f.score.to_bits())).collect();
        let mut want: Vec<_> = pairs.iter().map(|p| (p.0, p.1, p.2.to_bits())).collect();
        found.sort_unstable();
        want.sort_unstable();
        assert_eq!(found, want, "seed {seed}, {}, {:?}", simd.level(), p.metric);
    }
    assert!(found_some > 5 && skipped > 0, "{found_some} cases, {skipped} lists skipped");
}

/// Both ways, and in the joined rows of two indexes without some of them: a row with a threshold
/// finds what a search for its decoded row finds, whichever side it is on, but for itself.
#[test]
fn a_join_both_ways_finds_all_that_is_near_a_row() {
    let (mut pairs_found, mut cases) = (0, 0);
    for seed in 0..ocelli_test_support::cases(25, 200) {
        let mut rng = ChaCha8Rng::seed_from_u64(4_000_000 + seed);
        let tmp = tempfile::tempdir().unwrap();
        let alone = collection(&mut rng, tmp.path());
        let ordinals = |shard: &crate::Shard| (0..shard.rows()).filter(|o| o % 7 == 3);
        let mut left_out: Vec<RoaringBitmap> =
            alone.shards().map(|shard| ordinals(shard).collect()).collect();
        left_out.resize(alone.shards().len() + 1, RoaringBitmap::new());
        let both = alone.beside(Some(&alone), &left_out).unwrap();
        assert_eq!(both.shards().len(), 2 * alone.shards().len());
        let shards = alone.shards().len() as u32;
        let rows = known(&both);
        if rows.len() > 1500 {
            continue;
        }
        cases += 1;
        let gone = |row: &crate::Row| {
            left_out.get(row.shard as usize).is_some_and(|out| out.contains(row.ordinal))
        };
        assert!(!rows.iter().any(|row| gone(&row.row)));
        let metric = both.model().metric();
        let mut scratch = Scratch::default();
        let nprobe = rng.random_range(1..=both.model().parts().nlist);
        let plan = both.join_plan(nprobe, None, &mut scratch).unwrap().both_ways();
        let of_list = |list: u32| rows.iter().filter(move |row| row.list == list);
        let any = &rows[rng.random_range(0..rows.len())];
        let limit = any.query.score(metric, &rows[rows.len() / 2].query.z);
        // Rows of the second index alone look for others.
        let threshold = |row: crate::Row| (row.shard >= shards).then_some(limit);
        let mut found = Vec::new();
        for list in 0..both.model().parts().nlist as u32 {
            both.join_list(&plan, list, threshold, None, &mut scratch, &mut found).unwrap();
        }
        let found: BTreeSet<_> = found.iter().map(|f| (f.a, f.b)).collect();
        // Rounding may tell on either side of the limit.
        let slack = 1e-4 * (1.0 + limit.abs());
        for a in rows.iter().filter(|a| a.row.shard >= shards) {
            for b in plan.with(a.list).iter().flat_map(|&list| of_list(list)) {
                let cost = metric.cost(a.query.score(
                    metric,
                    &both.model().decode(
                        b.list,
                        &both.shard_of(b.row).unwrap().code(b.row.ordinal).unwrap().1,
                    ),
                ));
                let far = cost - metric.cost(limit);
                let is_found = found.contains(&(a.row, b.row));
                if a.row == b.row || far > slack {
                    assert!(!is_found, "seed {seed}: {:?} and {:?}, {far}", a.row, b.row);
                } else if far < -slack {
                    assert!(is_found, "seed {seed}: {:?} and {:?}, {far}", a.row, b.row);
                    pairs_found += 1;
                }
            }
        }
    }
    assert!(cases > 5 && pairs_found > 1000, "{cases} cases, {pairs_found} pairs");
}

/// Queries at both ends of the range are scored as the definition says, by finite numbers; queries
/// beyond are refused.
#[test]
fn queries_at_the_ends_of_the_range_have_finite_scores() {
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let tmp = tempfile::tempdir().unwrap();
        let snapshot = collection(&mut rng, tmp.path());
        let norm = [0.99 * MAX_NORM, 1e12, 1.01 * MIN_NORM, 0.0][seed as usize % 4];
        let mut q = draw(&mut rng, snapshot.model().parts().d, 1.0);
        assert!(ocelli_vector::l2_normalize(&mut q));
        q.iter_mut().for_each(|x| *x *= norm);
        let params = SearchParams {
            k: 5,
            nprobe: 3,
            refine_candidates: 0,
            allow_partial: false,
            ..SearchParams::default()
        };
        let want = snapshot.search_naive(&q, &params).unwrap();
        let found = snapshot.search(&q, &params).unwrap().hits;
        assert!(found.iter().all(|hit| hit.score.is_finite()), "{norm}: {found:?}");
        let ids = |hits: &[crate::Hit]| {
            hits.iter().map(|h| (h.id, h.score.to_bits())).collect::<Vec<_>>()
        };
        assert_eq!(ids(&found), ids(&want));
        for wrong in [1.01 * MAX_NORM, 1e19, 1e37, 0.99 * MIN_NORM, 1e-30] {
            q.fill(0.0);
            q[0] = wrong;
            let error = snapshot.search(&q, &params).unwrap_err().to_string();
            assert!(error.contains("its norm is"), "{error}");
        }
    }
}
