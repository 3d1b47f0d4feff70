//! Refined answers against their definition: every candidate decoded and compared one by one.
//!
//! Random models, collections and finer codes of each kind, on every level that this processor has;
//! r below, at and above the number of rows.

mod files;

use std::collections::BTreeMap;
use std::path::Path;

use ocelli_vector::{Simd, l2_sq};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use roaring::RoaringBitmap;

use crate::base::error::Error;
use crate::base::hash::Hash;
use crate::files::container::{FileKind, Reader, SectionKind, Writer};
use crate::generations::{IndexDir, NewGeneration};
use crate::model::ModelParts;
use crate::model::fine::{FINE_KSUB, FineCodec, FineKind, MAX_M};
use crate::model::tests::small;
use crate::model::{Metric, Model};
use crate::search::engine::Scratch;
use crate::search::hit::Hit;
use crate::search::params::SearchParams;
use crate::search::refine::refined_score;
use crate::search::snapshot::Snapshot;
use crate::shard::ShardEntry;
use crate::shard::{Shard, ShardBuilder};
use crate::spec::DescriptorSpec;
use ocelli_test_support::step;

fn draw(rng: &mut ChaCha8Rng, n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-scale..scale)).collect()
}

/// Random finer codes of a kind for a model whose numbers are about `scale`.
fn refinement(rng: &mut ChaCha8Rng, model: &Model, kind: FineKind, scale: f32) -> FineCodec {
    let (d, m) = (model.parts().d, model.parts().m);
    match kind {
        FineKind::Pq => {
            // As many sub-quantizers as the first has, or one a dimension.
            let m = if d <= MAX_M && rng.random() { d } else { m };
            FineCodec::pq(model.hash(), d, m, draw(rng, 256 * d, scale / 8.0)).unwrap()
        }
        FineKind::Sq8 => {
            let mut steps =
                |step: f32| (0..d).map(|_| rng.random_range(0.0..step)).collect::<Vec<f32>>();
            FineCodec::sq8(model.hash(), &steps(scale / 100.0), &steps(scale / 1e6)).unwrap()
        }
        FineKind::F16 => FineCodec::f16(model.hash(), d),
        FineKind::Cosine => FineCodec::cosine(model.hash(), d),
    }
}

fn random_model(rng: &mut ChaCha8Rng) -> Model {
    let m = [1, 2, 3, 4, 8, 13, 16][rng.random_range(0..7)];
    let ksub = if rng.random() { 256 } else { 16 };
    let d = m * rng.random_range(1..9usize);
    let nlist = rng.random_range(1..12);
    let scale = [1e-3, 1.0, 300.0][rng.random_range(0..3)];
    let kind = FineKind::ALL[rng.random_range(0..4)];
    let cosine = kind == FineKind::Cosine;
    let l2 = rng.random();
    let model = Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("test", d as u32).unwrap(),
        metric: if l2 && !cosine { Metric::L2 } else { Metric::InnerProduct },
        // With inner product, a mean makes an offset; a cosine knows none.
        mean: (rng.random_bool(0.3) && !cosine).then(|| draw(rng, d, scale)),
        rotation: None,
        renormalize: false,
        dim: d,
        d,
        nlist,
        coarse: draw(rng, nlist * d, scale).into(),
        m,
        ksub,
        codebooks: draw(rng, ksub * d, scale),
        training: BTreeMap::new(),
    })
    .unwrap();
    let refinement = refinement(rng, &model, kind, scale);
    model.with_fine_codec(refinement).unwrap()
}

fn commit(dir: &IndexDir, model: &Model, shards: Vec<ShardEntry>, dead: &[(usize, Vec<u32>)]) {
    let mut tombstones = BTreeMap::new();
    for (shard, ordinals) in dead {
        let ordinals: RoaringBitmap = ordinals.iter().copied().collect();
        let hash = dir.put_tombstones(&ordinals).unwrap();
        tombstones.insert(shards[*shard].name.clone(), hash);
    }
    let new =
        NewGeneration { model: model.hash(), shards, tombstones, deletes: None, next_id: 1 << 40 };
    dir.commit(dir.current().unwrap().map(|g| g.number), new).unwrap();
}

/// Two or three shards of random codes, some rows equal, some deleted.
fn collection(rng: &mut ChaCha8Rng, root: &Path) -> Snapshot {
    let model = random_model(rng);
    let (p, refinement) = (model.parts(), model.fine_codec().unwrap());
    let dir = IndexDir::create(root).unwrap();
    dir.put_model(&model).unwrap();
    let (mut shards, mut dead, mut next_id) = (Vec::new(), Vec::new(), 0u64);
    for task in 0..rng.random_range(1..4u32) {
        let n = [1, 7, 60, 400][rng.random_range(0..4)];
        let mut b = ShardBuilder::new(&model);
        let mut last: Option<(u32, Vec<u8>, Vec<u8>)> = None;
        for i in 0..n {
            let list = rng.random_range(0..p.nlist) as u32;
            let code = (0..p.m).map(|_| rng.random_range(0..p.ksub) as u8).collect();
            let fine = match refinement.kind() {
                FineKind::F16 => (0..p.d)
                    .flat_map(|_| half::f16::from_f32(rng.random_range(-9.0..9.0)).to_le_bytes())
                    .collect(),
                _ => (0..refinement.code_bytes()).map(|_| rng.random()).collect(),
            };
            // Equal rows tie; ids fall, so that the smaller id is the later row.
            let row = last.take().filter(|_| rng.random_bool(0.2)).unwrap_or((list, code, fine));
            b.push_fine(next_id + (n - i), "", row.0, &row.1, &row.2).unwrap();
            last = Some(row);
        }
        next_id += n + 1;
        if rng.random_bool(0.3) {
            let ordinals = (0..n as u32).filter(|_| rng.random_bool(0.3)).collect();
            dead.push((task as usize, ordinals));
        }
        shards.push(dir.put_shard(b, Hash::of(b"p"), task).unwrap());
    }
    commit(&dir, &model, shards, &dead);
    Snapshot::open(root, None).unwrap()
}

fn bits(hits: &[Hit]) -> Vec<(u64, u32)> {
    hits.iter().map(|h| (h.id, h.score.to_bits())).collect()
}

/// Every living row of the probed lists, each refined by itself, with no scan before it.
fn refine_all(snapshot: &Snapshot, q: &[f32], nprobe: usize) -> Vec<(u64, u32)> {
    let model = snapshot.model();
    let query = model.prepare(q).unwrap();
    let lists: Vec<u32> = model.probe(&query, nprobe).iter().map(|l| l.0).collect();
    let mut all = Vec::new();
    for shard in snapshot.shards() {
        for ordinal in 0..shard.rows() {
            let id = shard.id(ordinal).unwrap();
            if snapshot.find_id(id).unwrap().is_some()
                && lists.contains(&shard.code(ordinal).unwrap().0)
            {
                all.push((refined_score(model, &query, shard, ordinal).unwrap(), id));
            }
        }
    }
    let sign = if model.metric() == Metric::L2 { 1.0 } else { -1.0 };
    all.sort_by(|a, b| (sign * a.0).total_cmp(&(sign * b.0)).then(a.1.cmp(&b.1)));
    all.into_iter().map(|(score, id)| (id, score.to_bits())).collect()
}

#[test]
fn refined_answers_are_those_of_the_definition() {
    let cases = ocelli_test_support::cases(200, 2000);
    let mut kinds = [0; 4];
    for seed in 0..cases {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let tmp = tempfile::tempdir().unwrap();
        let snapshot = collection(&mut rng, tmp.path());
        let (d, nlist) = (snapshot.model().parts().d, snapshot.model().parts().nlist);
        let kind = snapshot.fine_codec().unwrap().kind();
        kinds[kind.number() as usize - 1] += 1;
        let queries = draw(&mut rng, 5 * d, 2.0);
        let params = SearchParams {
            k: [1, 2, 10, 50, 1000][rng.random_range(0..5)],
            nprobe: rng.random_range(1..=nlist),
            refine_candidates: [1, 5, 30, 200, 2000][rng.random_range(0..5)],
            allow_partial: false,
            ..SearchParams::default()
        };
        let mut want = Vec::new();
        for q in queries.chunks_exact(d) {
            let naive = bits(&snapshot.search_naive(q, &params).unwrap());
            if params.refine_candidates.max(params.k) >= snapshot.rows() as usize {
                let mut all = refine_all(&snapshot, q, params.nprobe);
                all.truncate(params.k);
                assert_eq!(naive, all, "seed {seed}, {params:?}, {kind}");
            }
            want.push(naive);
        }
        for simd in Simd::all() {
            let mut scratch = Scratch::at(simd).asking(seed % 2 == 1);
            let batch = snapshot.search_batch(&queries, &params, &mut scratch).unwrap();
            for ((q, want), batched) in queries.chunks_exact(d).zip(&want).zip(batch) {
                let found = snapshot.search_with(q, &params, &mut scratch).unwrap().hits;
                assert_eq!(bits(&found), *want, "seed {seed}, {}, {params:?}", simd.level());
                assert_eq!(bits(&batched.hits), *want, "seed {seed}, {}, batch", simd.level());
            }
        }
    }
    assert!(kinds.iter().all(|&n| n > 20), "each kind was drawn: {kinds:?}");
}

/// Trained by hand on a toy: codebooks that hold the residuals of the rows themselves.
fn exact_pq(rows: &[Vec<f32>]) -> Model {
    let model = small(Metric::L2, true, 5);
    let mut book = Vec::new();
    for i in 0..FINE_KSUB {
        let z = model.transform(&rows[i % rows.len()]).unwrap();
        let list = model.assign(&z);
        let mut code = [0; 4];
        model.encode(&z, list, &mut code);
        let first = model.decode(list, &code);
        book.extend(z.iter().zip(&first).map(|(z, first)| z - first));
    }
    let refinement = FineCodec::pq(model.hash(), model.parts().d, 1, book).unwrap();
    model.with_fine_codec(refinement).unwrap()
}

/// An index of real rows, each of them asking for itself.
fn toy(root: &Path, model: &Model, rows: &[Vec<f32>], tasks: u32) -> Snapshot {
    let dir = IndexDir::create(root).unwrap();
    dir.put_model(model).unwrap();
    let mut shards = Vec::new();
    let per = rows.len() / tasks as usize;
    for (task, rows) in (0..tasks).zip(rows.chunks(per)) {
        let mut b = ShardBuilder::new(model);
        for (i, x) in (0u64..).zip(rows) {
            b.push(u64::from(task) * per as u64 + i, "", x).unwrap();
        }
        shards.push(dir.put_shard(b, Hash::of(b"p"), task).unwrap());
    }
    commit(&dir, model, shards, &[]);
    Snapshot::open(root, None).unwrap()
}

/// Scores by the cosine are those of the decoded rows, computed in f64, and 0 bytes are stored for
/// them; an L2 model and one with an offset are refused.
#[test]
fn the_best_rows_are_compared_by_the_cosine() {
    let rows = toy_rows(200);
    let plain = small(Metric::InnerProduct, false, 5);
    let codec = FineCodec::cosine(plain.hash(), 12);
    assert_eq!((codec.code_bytes(), codec.name().as_str()), (0, "cosine"));
    let model = small(Metric::InnerProduct, false, 5).with_fine_codec(codec.clone()).unwrap();
    let tmp = tempfile::tempdir().unwrap();
    let snapshot = toy(tmp.path(), &model, &rows, 2);
    snapshot.verify().unwrap();
    assert_eq!(snapshot.fine_codec(), Some(&codec));
    let mut moved = 0;
    for query in &rows[..50] {
        let norm = |x: &[f32]| x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let mut want: Vec<(f64, u64)> = (0..200)
            .map(|id| {
                let z = snapshot.vector(snapshot.find_id(id).unwrap().unwrap()).unwrap();
                let dot: f64 = z.iter().zip(query).map(|(a, b)| f64::from(a * b)).sum();
                (dot / norm(&z) / norm(query), id)
            })
            .collect();
        want.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let found = snapshot.search(query, &params(200, 1)).unwrap().hits;
        assert_eq!(found.len(), 200);
        for (hit, (cosine, _)) in found.iter().zip(&want) {
            assert!((f64::from(hit.score) - cosine).abs() < 1e-5, "{} {cosine}", hit.score);
        }
        let plainly = snapshot.search(query, &params(200, 0)).unwrap().hits;
        moved += usize::from(bits(&found) != bits(&plainly));
    }
    assert!(moved > 40, "products and cosines rank alike: {moved}");
    for other in [small(Metric::L2, false, 5), small(Metric::InnerProduct, true, 5)] {
        let codec = FineCodec::cosine(other.hash(), 12);
        let error = other.with_fine_codec(codec).unwrap_err().to_string();
        assert!(error.contains("scores by the cosine: expected a model of metric ip"), "{error}");
    }
}

fn toy_rows(n: usize) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    (0..n).map(|_| draw(&mut rng, 12, 1.0)).collect()
}

fn params(k: usize, refine_candidates: usize) -> SearchParams {
    SearchParams {
        k,
        nprobe: 7,
        refine_candidates,
        allow_partial: false,
        ..SearchParams::default()
    }
}

/// Each kind brings rows closer to what was indexed, as far as it promises, and so does `vector`.
#[test]
fn finer_codes_restore_what_was_indexed() {
    let rows = toy_rows(200);
    let plain = small(Metric::L2, true, 5);
    let with = |r: FineCodec| small(Metric::L2, true, 5).with_fine_codec(r).unwrap();
    let sq8 = FineCodec::sq8(plain.hash(), &[5.0 / 255.0; 12], &[0.0; 12]).unwrap();
    // Half a step, or half a unit of eleven bits, in each of twelve dimensions, and rounding.
    let sq8_error = 12.0 * (2.5f32 / 255.0).powi(2) * 1.01;
    let f16_error = 12.0 * (2.0 * 2f32.powi(-11)).powi(2);
    let models = [
        (exact_pq(&rows), 1e-9),
        (with(sq8), sq8_error),
        (with(FineCodec::f16(plain.hash(), plain.parts().d)), f16_error),
    ];
    for (model, error) in models {
        let tmp = tempfile::tempdir().unwrap();
        let snapshot = toy(tmp.path(), &model, &rows, 2);
        snapshot.verify().unwrap();
        assert_eq!(snapshot.model().hash(), plain.hash(), "its hash is that of the plain model");
        for (id, x) in (0u64..).zip(&rows) {
            let row = snapshot.find_id(id).unwrap().unwrap();
            let found = l2_sq(x, &snapshot.vector(row).unwrap());
            assert!(found <= error, "{found} > {error}");
            let best = snapshot.search(x, &params(1, 100)).unwrap().hits[0];
            assert_eq!(best.id, id);
            assert!(best.score <= error, "{} > {error}", best.score);
        }
    }
}
