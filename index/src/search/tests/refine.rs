//! Refined answers against their definition: every candidate decoded and compared one by one.
//!
//! Random models, collections and finer codes of each kind, on every level that this processor has;
//! r below, at and above the number of rows. Then the files: what is refused, and what damage is
//! reported.

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
    }
}

fn random_model(rng: &mut ChaCha8Rng) -> Model {
    let m = [1, 2, 3, 4, 8, 13, 16][rng.random_range(0..7)];
    let ksub = if rng.random() { 256 } else { 16 };
    let d = m * rng.random_range(1..9usize);
    let nlist = rng.random_range(1..12);
    let scale = [1e-3, 1.0, 300.0][rng.random_range(0..3)];
    let model = Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("test", d as u32).unwrap(),
        metric: if rng.random() { Metric::L2 } else { Metric::InnerProduct },
        // With inner product, a mean makes an offset.
        mean: rng.random_bool(0.3).then(|| draw(rng, d, scale)),
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
    let kind = FineKind::ALL[rng.random_range(0..3)];
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
    let mut kinds = [0; 3];
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
            refine: [1, 5, 30, 200, 2000][rng.random_range(0..5)],
            allow_partial: false,
            ..SearchParams::default()
        };
        let mut want = Vec::new();
        for q in queries.chunks_exact(d) {
            let naive = bits(&snapshot.search_naive(q, &params).unwrap());
            if params.refine.max(params.k) >= snapshot.rows() as usize {
                let mut all = refine_all(&snapshot, q, params.nprobe);
                all.truncate(params.k);
                assert_eq!(naive, all, "seed {seed}, {params:?}, {kind}");
            }
            want.push(naive);
        }
        for simd in Simd::all() {
            let mut scratch = Scratch::at(simd);
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

fn toy_rows(n: usize) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    (0..n).map(|_| draw(&mut rng, 12, 1.0)).collect()
}

fn params(k: usize, refine: usize) -> SearchParams {
    SearchParams { k, nprobe: 7, refine, allow_partial: false, ..SearchParams::default() }
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

#[test]
fn what_does_not_fit_is_refused() {
    let rows = toy_rows(40);
    let model = exact_pq(&rows);
    let plain = small(Metric::L2, true, 5);
    // Another model's, or of another shape.
    let other = small(Metric::L2, true, 6);
    assert!(matches!(
        other.with_fine_codec(model.fine_codec().unwrap().clone()),
        Err(Error::Invalid { .. })
    ));
    assert!(FineCodec::pq(plain.hash(), 12, 5, vec![0.0; 256 * 12]).is_err());
    assert!(FineCodec::pq(plain.hash(), 12, 4, vec![0.0; 255 * 12]).is_err());
    assert!(FineCodec::sq8(plain.hash(), &[-1.0; 12], &[0.0; 12]).is_err());
    assert!(FineCodec::sq8(plain.hash(), &[f32::NAN; 12], &[1.0; 12]).is_err());
    // Rows with and without finer codes in one shard; a row that half precision cannot hold.
    let mut b = ShardBuilder::new(&model);
    b.push(1, "", &rows[0]).unwrap();
    b.push_code(2, "", 0, &[0; 4]).unwrap();
    let tmp = tempfile::tempdir().unwrap();
    let error = b.write(tmp.path(), Hash::of(b"p"), 0).unwrap_err().to_string();
    assert!(error.contains("1 of 2 rows"), "{error}");
    assert!(matches!(
        ShardBuilder::new(&model).push_fine(1, "", 0, &[0; 4], &[0; 2]),
        Err(Error::Dim { expected: 1, found: 2, .. })
    ));
    let half = small(Metric::L2, true, 5)
        .with_fine_codec(FineCodec::f16(plain.hash(), plain.parts().d))
        .unwrap();
    let error = ShardBuilder::new(&half).push(1, "big", &[1e5; 12]).unwrap_err().to_string();
    assert!(error.contains("big") && error.contains("65504"), "{error}");
    // An index without finer codes says so; without refinement it answers.
    let snapshot = toy(tmp.path(), &plain, &rows, 1);
    assert!(matches!(snapshot.search(&rows[0], &params(1, 5)), Err(Error::Invalid { .. })));
    assert_eq!(snapshot.search(&rows[0], &params(3, 0)).unwrap().hits.len(), 3);
}

/// A shard names its refinement: another one of the same model is refused, and generations of one
/// model with different fine codecs are side by side.
#[test]
fn codes_of_another_refinement_are_refused() {
    let rows = toy_rows(40);
    let pq = exact_pq(&rows);
    let sq8 = FineCodec::sq8(pq.hash(), &[0.02; 12], &[1e-6; 12]).unwrap();
    let sq8 = small(Metric::L2, true, 5).with_fine_codec(sq8).unwrap();
    assert_eq!(pq.hash(), sq8.hash());
    let tmp = tempfile::tempdir().unwrap();
    toy(tmp.path(), &pq, &rows, 1);
    toy(tmp.path(), &sq8, &rows, 1);
    let dir = IndexDir::open(tmp.path()).unwrap();
    for (generation, model) in [(1, &pq), (2, &sq8)] {
        let snapshot = Snapshot::open(tmp.path(), Some(generation)).unwrap();
        assert_eq!(snapshot.fine_codec(), model.fine_codec());
        snapshot.search(&rows[0], &params(1, 5)).unwrap();
    }
    let first = dir.generation(1).unwrap().shards[0].clone();
    let error = Shard::open(&dir.shard_path(&first.name).unwrap(), &sq8).unwrap_err();
    assert!(matches!(error, Error::FineCodecMismatch { .. }), "{error}");
    assert_eq!(error.code(), crate::ErrorCode::FailedPrecondition);
    // One generation of both has no refinement to speak of.
    let mut other = ShardBuilder::new(&sq8);
    other.push(1000, "", &rows[0]).unwrap();
    let other = dir.put_shard(other, Hash::of(b"p"), 1).unwrap();
    commit(&dir, &pq, vec![first.clone(), other], &[]);
    assert!(matches!(Snapshot::open(tmp.path(), None), Err(Error::FineCodecMismatch { .. })));
    // The file that holds it is gone, or holds none.
    let path = dir.fine_model_path(&pq.hash(), &pq.fine_codec().unwrap().hash()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Snapshot::open(tmp.path(), Some(1)), Err(Error::Io { .. })));
    pq.write_sections(Writer::create(&path, FileKind::Model).unwrap(), None, None).unwrap();
    assert!(matches!(Snapshot::open(tmp.path(), Some(1)), Err(Error::Corrupt { .. })));
}

/// A shard without finer codes beside one with them: the plain search answers, the refined one says
/// which is missing.
#[test]
fn a_shard_without_finer_codes_is_named() {
    let rows = toy_rows(40);
    let model = exact_pq(&rows);
    let tmp = tempfile::tempdir().unwrap();
    let dir = IndexDir::create(tmp.path()).unwrap();
    dir.put_model(&model).unwrap();
    let mut refined = ShardBuilder::new(&model);
    refined.push(1, "", &rows[0]).unwrap();
    let mut plain = ShardBuilder::new(&model);
    plain.push_code(2, "", 0, &[0; 4]).unwrap();
    let shards = vec![
        dir.put_shard(refined, Hash::of(b"p"), 0).unwrap(),
        dir.put_shard(plain, Hash::of(b"p"), 1).unwrap(),
    ];
    commit(&dir, &model, shards, &[]);
    let snapshot = Snapshot::open(tmp.path(), None).unwrap();
    assert_eq!(snapshot.search(&rows[0], &params(9, 0)).unwrap().hits.len(), 2);
    assert!(snapshot.fine_codec().is_none());
    let error = snapshot.search(&rows[0], &params(9, 9)).unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::InvalidArgument, "{error}");
}

/// The bytes themselves are the format.
#[test]
fn layout_is_pinned() {
    let rows = toy_rows(40);
    let model = exact_pq(&rows);
    let refinement = model.fine_codec().unwrap();
    let tmp = tempfile::tempdir().unwrap();
    let snapshot = toy(tmp.path(), &model, &rows, 1);
    let shard = snapshot.shards().next().unwrap();
    let section = *shard.file().find(SectionKind::FineCodes).unwrap();
    assert!(!section.required(), "who does not know it scans without");
    let bytes = shard.file().read_all(SectionKind::FineCodes).unwrap();
    let mut want = refinement.hash().bytes().to_vec();
    want.extend([1, 0, 0, 0]);
    want.resize(64, 0);
    // The i-th codeword is the rest of row i; slots are ordered by list, then by ordinal.
    want.extend((0..40u32).map(|slot| shard.ordinal(slot).unwrap() as u8));
    assert_eq!(bytes, want);

    let dir = IndexDir::open(tmp.path()).unwrap();
    let path = dir.fine_model_path(&model.hash(), &refinement.hash()).unwrap();
    let file = Reader::open(&path, FileKind::Model).unwrap();
    let bytes = file.read_all(SectionKind::FineCodebooks).unwrap();
    let mut want: Vec<u8> = [1u32, 12, 1, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    want.extend(refinement.hash().bytes());
    want.resize(64, 0);
    want.extend(refinement.numbers().iter().flat_map(|x| x.to_le_bytes()));
    assert_eq!(bytes, want);
    let text = format!("ocelli-refinement 1\nmodel={}\nkind=pq\nd=12\nm=1\n", model.hash());
    let mut hashed = text.into_bytes();
    hashed.extend(&want[64..]);
    assert_eq!(Hash::of(&hashed), refinement.hash());
    assert_eq!(Model::open(&path).unwrap().fine_codec(), Some(refinement));
}

/// No flipped bit and no cut of a small shard or model goes unreported.
#[test]
fn damage_is_reported() {
    let rows = toy_rows(40);
    let model = exact_pq(&rows);
    let tmp = tempfile::tempdir().unwrap();
    let dir = IndexDir::create(tmp.path()).unwrap();
    let model_path = dir.put_model(&model).unwrap().path;
    let mut b = ShardBuilder::new(&model);
    (0u64..).zip(&rows).for_each(|(i, x)| b.push(i, "", x).unwrap());
    let entry = dir.put_shard(b, Hash::of(b"p"), 0).unwrap();
    let bad_path = tmp.path().join("bad");
    let plain = small(Metric::L2, true, 5);
    for (path, every) in [(dir.shard_path(&entry.name).unwrap(), 53), (model_path, 211)] {
        let good = std::fs::read(&path).unwrap();
        let open = || match path.extension() {
            Some(e) if e == "model" => Model::open(&bad_path).map(drop),
            // Under a model without a refinement too, as a snapshot opens it first.
            _ => Shard::open(&bad_path, &model)
                .and_then(|s| s.verify())
                .and(Shard::open(&bad_path, &plain).and_then(|s| s.verify())),
        };
        for at in (0..good.len()).step_by(step(every)).chain(good.len() - 300..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&bad_path, &bad).unwrap();
            assert!(open().is_err(), "byte {at} of {}", good.len());
        }
        for len in (0..good.len()).step_by(step(every)) {
            std::fs::write(&bad_path, &good[..len]).unwrap();
            assert!(open().is_err(), "{len} of {} bytes", good.len());
        }
    }
}

/// Sections that say what is not so, with checksums that are right: a shard whose writer was wrong.
#[test]
fn sizes_are_held_against_rows() {
    let rows = toy_rows(40);
    let model = exact_pq(&rows);
    let (tmp, plain) = (tempfile::tempdir().unwrap(), small(Metric::L2, true, 5));
    let mut b = ShardBuilder::new(&model);
    (0u64..).zip(&rows).for_each(|(i, x)| b.push(i, "", x).unwrap());
    let entry = b.write(tmp.path(), Hash::of(b"p"), 0).unwrap();
    let good = Reader::open(&tmp.path().join(&entry.name), FileKind::Shard);
    let good = good.unwrap();
    type Spoil = fn(&mut Vec<u8>);
    let spoil: [(&str, Spoil); 6] = [
        ("a code is missing", |b| b.truncate(b.len() - 1)),
        ("a code too many", |b| b.push(0)),
        ("no code", |b| b.truncate(64)),
        ("no header", |b| b.truncate(63)),
        ("codes of no bytes", |b| b[32] = 0),
        ("a byte that must be zero", |b| b[40] = 1),
    ];
    for (what, spoil) in spoil {
        let path = tmp.path().join("bad");
        let mut file = Writer::create(&path, FileKind::Shard).unwrap();
        for section in good.sections() {
            let kind = section.known().unwrap();
            let mut bytes = good.read_all(kind).unwrap().to_vec();
            if kind == SectionKind::FineCodes {
                spoil(&mut bytes);
            }
            file.section(kind, section.required(), &bytes).unwrap();
        }
        file.finish().unwrap();
        for model in [&model, &plain] {
            let error = Shard::open(&path, model).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{what}: {error}");
        }
    }
}

/// Damage to finer codes shows when a candidate's code is first read: an error, or with leave the
/// answer that the other shards give alone; the plain search does not read them.
#[test]
fn a_damaged_shard_fails_alone() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let tmp = tempfile::tempdir().unwrap();
    let dir = IndexDir::create(tmp.path()).unwrap();
    let plain = small(Metric::L2, false, 5);
    let sq8 = FineCodec::sq8(plain.hash(), &[0.01; 12], &[1e-6; 12]).unwrap();
    let model = plain.with_fine_codec(sq8).unwrap();
    dir.put_model(&model).unwrap();
    let mut next_id = 0;
    let mut shard = |rows: u64, task| {
        let mut b = ShardBuilder::new(&model);
        for _ in 0..rows {
            let code: [u8; 4] = std::array::from_fn(|_| rng.random_range(0..16));
            let fine: [u8; 12] = std::array::from_fn(|_| rng.random());
            b.push_fine(next_id, "", rng.random_range(0..7), &code, &fine).unwrap();
            next_id += 1;
        }
        dir.put_shard(b, Hash::of(b"p"), task).unwrap()
    };
    // The second shard's codes fill several tiles, so that some are theirs alone.
    let (small, large) = (shard(300, 0), shard(30_000, 1));
    commit(&dir, &model, vec![small.clone()], &[]);
    let query = [0.1; 12];
    let want = Snapshot::open(tmp.path(), None).unwrap().search(&query, &params(20, 300)).unwrap();
    commit(&dir, &model, vec![small, large.clone()], &[]);
    let whole = Snapshot::open(tmp.path(), None).unwrap();
    let section = *whole.shards().nth(1).unwrap().file().find(SectionKind::FineCodes).unwrap();
    let plain = bits(&whole.search(&query, &params(20, 0)).unwrap().hits);
    drop(whole);
    let path = dir.shard_path(&large.name).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for at in (0..section.len).step_by(1 << 16) {
        bytes[(section.offset + at) as usize + 100] ^= 4;
    }
    // The header's tile is proven at open, so it stays as it was.
    bytes[section.offset as usize + 100] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let damaged = Snapshot::open(tmp.path(), None).unwrap();
    assert_eq!(bits(&damaged.search(&query, &params(20, 0)).unwrap().hits), plain);
    let error = damaged.search(&query, &params(20, 30_300)).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("fine codes"), "{error}");
    let partial = SearchParams { allow_partial: true, ..params(20, 300) };
    let answer = damaged.search(&query, &partial).unwrap();
    assert_eq!((answer.failed.len(), answer.shards_asked), (1, 2));
    assert_eq!(answer.failed[0].name, large.name);
    assert_eq!(bits(&answer.hits), bits(&want.hits));
    assert!(damaged.verify().is_err());
}
