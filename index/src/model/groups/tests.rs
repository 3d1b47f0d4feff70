//! Groups of centroids against their definition and against all centroids.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ocelli_vector::{Simd, dot, l2_sq};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{CoarseGroups, MIN_NLIST, default_effort, groups_of};
use crate::base::error::Error;
use crate::files::container::{FileKind, Reader, SectionKind, Writer};
use crate::model::{Metric, Model, ModelParts, ProbeBuffers, Query};
use crate::spec::DescriptorSpec;
use crate::{
    Encoded, Hash, IndexDir, NewGeneration, RowEncoder, RowEncoderScratch, Scratch, SearchParams,
    SearchResult, ShardBuilder, Snapshot,
};
use ocelli_test_support::step;

/// Rows (n, d) around a few hundred places, which themselves lie around others: as centroids of
/// descriptors do, near ones are found near each other, and no place is far from all others.
fn clustered(rng: &mut ChaCha8Rng, n: usize, d: usize) -> Vec<f32> {
    let mut places: Vec<Vec<f32>> = vec![vec![0.0; d]];
    for (count, spread) in [(20, 1.0f32), (300, 0.7)] {
        places = (0..count)
            .map(|i| {
                let from = &places[i % places.len()];
                from.iter().map(|x| x + rng.random_range(-spread..spread)).collect()
            })
            .collect();
    }
    (0..n)
        .flat_map(|_| {
            let from = places[rng.random_range(0..places.len())].clone();
            from.into_iter().map(|x| x + rng.random_range(-0.5..0.5f32)).collect::<Vec<f32>>()
        })
        .collect()
}

fn model(metric: Metric, coarse: Vec<f32>, d: usize) -> Model {
    Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("test", d as u32).unwrap(),
        metric,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: d,
        d,
        nlist: coarse.len() / d,
        coarse: coarse.into(),
        m: 1,
        ksub: 16,
        codebooks: vec![0.0; 16 * d],
        training: BTreeMap::new(),
    })
    .unwrap()
}

fn model_file(path: &Path) -> Writer {
    Writer::create(path, FileKind::Model).unwrap()
}

fn probe(
    model: &Model,
    simd: Simd,
    q: &Query,
    nprobe: usize,
    groups: Option<usize>,
) -> Vec<(u32, u32)> {
    let found = model.probe_at(simd, q, nprobe, groups, &mut ProbeBuffers::default());
    found.into_iter().map(|(list, score)| (list, score.to_bits())).collect()
}

/// The definition, word for word: sort groups by the cost of their centres, gather the members of
/// the first `effort`, more if they are fewer than nprobe, sort them by their cost.
fn by_definition(model: &Model, q: &Query, nprobe: usize, mut effort: usize) -> Vec<(u32, u32)> {
    let (p, section) = (model.parts(), &model.groups.as_ref().unwrap().section);
    let cost = |c: &[f32]| match p.metric {
        Metric::L2 => l2_sq(&q.z, c),
        Metric::InnerProduct => -dot(&q.z, c),
    };
    let mut groups: Vec<(f32, u32)> =
        section.centres().chunks_exact(p.d).map(cost).zip(0u32..).collect();
    groups.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    effort = effort.clamp(1, groups.len());
    let members = |effort: usize| -> Vec<u32> {
        groups[..effort].iter().flat_map(|g| section.members(g.1)).copied().collect()
    };
    while effort < groups.len() && members(effort).len() < nprobe {
        effort = (2 * effort).min(groups.len());
    }
    let score = |list: u32| match p.metric {
        Metric::L2 => l2_sq(&q.z, model.centroid(list)),
        Metric::InnerProduct => dot(&q.z, model.centroid(list)),
    };
    let mut found: Vec<(u32, f32)> = members(effort).into_iter().map(|l| (l, score(l))).collect();
    found.sort_by(|a, b| {
        let order = a.1.total_cmp(&b.1);
        let order = if p.metric == Metric::L2 { order } else { order.reverse() };
        order.then(a.0.cmp(&b.0))
    });
    found.truncate(nprobe);
    // The offset comes last: it is the same for all, and its rounding must not decide.
    let offset = if p.metric == Metric::L2 { 0.0 } else { q.offset };
    found.into_iter().map(|(list, score)| (list, (score + offset).to_bits())).collect()
}

/// Lists, order and bits as defined, at every level, for both metrics, all magnitudes and any
/// effort; and with all groups as without any.
#[test]
fn every_level_finds_what_is_defined() {
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let d = [1, 3, 8, 16, 37, 128][seed as usize % 6];
        let n = [1, 5, 17, 200, 1500][rng.random_range(0..5)];
        let metric = if seed % 2 == 0 { Metric::L2 } else { Metric::InnerProduct };
        let scale = [1.0f32, 1e-4, 300.0, 1e12, 1e15][rng.random_range(0..5)];
        let mut coarse = clustered(&mut rng, n, d);
        coarse.iter_mut().for_each(|x| *x *= scale);
        // Equal centroids tie, within a group and, being many, across groups.
        for i in (0..n / 4).step_by(2) {
            coarse.copy_within(i * d..(i + 1) * d, (n - 1 - i) * d);
        }
        let plain = model(metric, coarse.clone(), d);
        let mut grouped = model(metric, coarse, d);
        grouped.group_centroids(Some([1, 4, 33][rng.random_range(0..3)]));
        let groups = grouped.groups().unwrap();
        for case in 0..12 {
            let from = rng.random_range(0..n);
            let mut z = plain.centroid(from as u32).to_vec();
            let noise = scale * [0.0, 0.3, 3.0, 1e4][case % 4];
            z.iter_mut().for_each(|x| *x += noise * rng.random_range(-1.0..1.0f32));
            let offset = if metric == Metric::L2 { 0.0 } else { scale * 1e3 * (case % 3) as f32 };
            let q = Query { z, offset };
            for nprobe in [1, 2, 16, 64, 5000] {
                for effort in [1, 3, groups] {
                    let want = by_definition(&grouped, &q, nprobe, effort);
                    for simd in Simd::all() {
                        let found = probe(&grouped, simd, &q, nprobe, Some(effort));
                        assert_eq!(
                            found,
                            want,
                            "seed {seed}, {}, {metric}, n {n}, d {d}, nprobe {nprobe}, \
                         {effort} of {groups}",
                            simd.level()
                        );
                    }
                }
                let exact = probe(&plain, Simd::detect(), &q, nprobe, None);
                assert_eq!(probe(&grouped, Simd::detect(), &q, nprobe, Some(groups)), exact);
            }
        }
    }
}

/// A batch takes its queries in another order and gives each the lists that it gets alone.
#[test]
fn a_batch_finds_what_its_queries_do_alone() {
    for metric in [Metric::L2, Metric::InnerProduct] {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let (n, d) = (4000, 20);
        let mut grouped = model(metric, clustered(&mut rng, n, d), d);
        let queries: Vec<Query> = clustered(&mut rng, 300, d)
            .chunks_exact(d)
            .map(|z| Query { z: z.to_vec(), offset: 0.5 })
            .collect();
        for groups in [None, Some(200)] {
            if let Some(groups) = groups {
                grouped.group_centroids(Some(groups));
            }
            for simd in Simd::all() {
                let mut buffers = ProbeBuffers::default();
                let together = grouped.probe_batch_with(simd, &queries, 10, &mut buffers);
                let alone: Vec<Vec<(u32, f32)>> =
                    queries.iter().map(|q| grouped.probe(q, 10)).collect();
                assert_eq!(together, alone, "{}, {groups:?}", simd.level());
            }
        }
        assert!(grouped.probe_batch(&[], 10).is_empty());
    }
}

/// The default effort finds at least 99 of 100 of the lists that all centroids give, for few and
/// for many lists, and looks at a small share of them.
#[test]
fn recall_of_the_default() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (n, d) = (16_384, 32);
    let rows = clustered(&mut rng, n + 200, d);
    let (coarse, queries) = rows.split_at(n * d);
    for metric in [Metric::L2, Metric::InnerProduct] {
        let mut rows = coarse.to_vec();
        let mut queries = queries.to_vec();
        if metric == Metric::InnerProduct {
            rows.chunks_exact_mut(d).chain(queries.chunks_exact_mut(d)).for_each(|r| {
                assert!(ocelli_vector::l2_normalize(r));
            });
        }
        let plain = model(metric, rows.clone(), d);
        let mut grouped = model(metric, rows, d);
        grouped.group_centroids(None);
        let groups = grouped.groups().unwrap();
        assert_eq!(groups, groups_of(n));
        for nprobe in [1, 4, 16, 64, 256] {
            assert!(default_effort(groups, nprobe) <= groups / 2, "a share of all");
            let mut found = 0;
            for z in queries.chunks_exact(d) {
                let q = Query { z: z.to_vec(), offset: 0.0 };
                let want: BTreeSet<u32> =
                    plain.probe(&q, nprobe).into_iter().map(|l| l.0).collect();
                let lists = grouped.probe(&q, nprobe);
                assert_eq!(lists.len(), nprobe);
                found += lists.iter().filter(|l| want.contains(&l.0)).count();
            }
            let recall = found as f64 / (nprobe * queries.len() / d) as f64;
            assert!(recall >= 0.99, "{metric}, nprobe {nprobe}: recall {recall}");
        }
    }
}

/// Equal centroids give equal bytes, whatever the level and the number of threads.
#[test]
fn groups_are_the_same_bytes_however_they_are_built() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (n, d) = (3000, 24);
    let rows = clustered(&mut rng, n, d);
    let hash = model(Metric::L2, rows.clone(), d).hash();
    let build = |simd| CoarseGroups::build(simd, &rows, d, 60, hash).bytes().to_vec();
    let want = build(Simd::detect());
    for simd in Simd::all() {
        assert!(build(simd) == want, "level {}", simd.level());
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| build(Simd::detect())) == want, "{threads} threads");
    }
}

/// A model of enough lists gets groups when it is written, without a word; its file is the same
/// each time, also when the model was read from a file that had them or had none; it answers as
/// before it was written.
#[test]
fn large_models_are_written_with_groups() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let d = 4;
    let tmp = tempfile::tempdir().unwrap();
    let path = |name: &str| tmp.path().join(name);
    let rows = clustered(&mut rng, MIN_NLIST, d);
    let fresh = model(Metric::L2, rows.clone(), d);
    fresh.write(&path("a")).unwrap();
    let read = Model::open(&path("a")).unwrap();
    assert_eq!(read.groups(), Some(groups_of(MIN_NLIST)));
    assert_eq!((read.hash(), read.parts()), (fresh.hash(), fresh.parts()));
    read.verify().unwrap();
    read.write(&path("b")).unwrap();
    let mut grouped = model(Metric::L2, rows, d);
    grouped.group_centroids(None);
    grouped.write(&path("c")).unwrap();
    let bytes = |name| std::fs::read(path(name)).unwrap();
    assert!(bytes("a") == bytes("b") && bytes("a") == bytes("c"));
    let q = Query { z: vec![0.1; d], offset: 0.0 };
    assert_eq!(read.probe(&q, 30), grouped.probe(&q, 30));
    let smaller = model(Metric::L2, clustered(&mut rng, 100, d), d);
    smaller.write(&path("small")).unwrap();
    assert_eq!(Model::open(&path("small")).unwrap().groups(), None);
}

/// A small model with groups in a file, and the file's bytes.
fn grouped_file(folder: &Path) -> (Model, Vec<u8>) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut grouped = model(Metric::L2, clustered(&mut rng, 300, 8), 8);
    grouped.group_centroids(Some(9));
    let path = folder.join("good.model");
    grouped.write(&path).unwrap();
    (grouped, std::fs::read(path).unwrap())
}

/// Every flipped bit, sampled, is refused at open: checksums cover the groups as all else.
#[test]
fn a_damaged_section_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let (_, good) = grouped_file(tmp.path());
    let file = Reader::open(&tmp.path().join("good.model"), FileKind::Model).unwrap();
    let section = *file.find(SectionKind::CoarseGroups).unwrap();
    let (start, end) = (section.offset as usize, (section.offset + section.len) as usize);
    let path = tmp.path().join("bad.model");
    for at in (start..end).step_by(step(101)) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, bad).unwrap();
        let error = Model::open(&path).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "byte {at}: {error}");
        assert!(error.to_string().contains("coarse groups"), "byte {at}: {error}");
    }
}

/// A file whose checksums are right but whose groups are not, field by field: refused with the
/// reason, so that no search can leave an array. (Writes the model as [`Model::write`] does, with
/// other bytes.)
#[test]
fn groups_that_do_not_hold_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let (grouped, _) = grouped_file(tmp.path());
    let good = grouped.groups.as_ref().unwrap().bytes().to_vec();
    let word = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let nan = f32::NAN.to_bits();
    let (header, entry) = (16, 4);
    let centres = header + 9 * entry;
    let lists = centres + 9 * 8;
    let slots = u32::from_le_bytes(good[16..20].try_into().unwrap());
    let second = u32::from_le_bytes(good[4 * lists + 4..4 * lists + 8].try_into().unwrap());
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("layout", word(0, 2), "layout 2"),
        ("nlist", word(1, 301), "expected 300 of 8"),
        ("d", word(2, 9), "expected 300 of 8"),
        ("groups", word(3, 10), "do not fit"),
        ("no groups", word(3, 0), "do not fit"),
        ("slots", word(4, slots + 16), "do not fit"),
        ("huge", word(4, u32::MAX), "do not fit"),
        ("hash", word(9, 7), "another model"),
        ("length", word(header, u32::MAX), "leaves"),
        ("scale", word(header + 1, nan), "scale"),
        ("norm bound", word(header + 2, nan), "scale"),
        ("centre", word(centres, nan), "not a number"),
        ("list", word(lists, 300), "wrongly"),
        ("list twice", word(lists, second), "wrongly"),
        ("norm", word(lists + slots as usize, nan), "not a number"),
        ("cut", good[..good.len() - 1].to_vec(), "do not fit"),
        ("empty", Vec::new(), "header"),
    ];
    let path = tmp.path().join("bad.model");
    for (name, bytes, reason) in cases {
        grouped.write_sections(model_file(&path), None, Some(&bytes)).unwrap();
        let error = Model::open(&path).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains("coarse groups") && text.contains(reason), "{name}: {text}");
    }
    // The same way with the right bytes, and with none: a model without the section is looked at
    // whole.
    grouped.write_sections(model_file(&path), None, Some(&good)).unwrap();
    assert_eq!(Model::open(&path).unwrap().groups(), Some(9));
    grouped.write_sections(model_file(&path), None, None).unwrap();
    let without = Model::open(&path).unwrap();
    assert_eq!((without.groups(), without.hash()), (None, grouped.hash()));
    let q = Query { z: vec![0.2; 8], offset: 0.0 };
    assert_eq!(without.probe(&q, 20), grouped.probe_groups(&q, 20, 9));
}

/// Checksums that are right over centroids that are not the model's: a small model is refused at
/// open, a large one by `verify` and before it is written anywhere.
#[test]
fn a_wrong_hash_is_found() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("bad.model");
    for n in [300, MIN_NLIST] {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut other = model(Metric::L2, clustered(&mut rng, n, 2), 2);
        other.hash = Hash::of(b"other");
        other.write_sections(model_file(&path), None, None).unwrap();
        let error = if n < MIN_NLIST {
            Model::open(&path).unwrap_err()
        } else {
            let read = Model::open(&path).unwrap();
            assert!(read.write(&tmp.path().join("copy")).is_err());
            assert!(crate::inspect(&path, true).is_err());
            read.verify().unwrap_err()
        };
        assert!(error.to_string().contains("hashes to"), "{error}");
    }
}

/// A model of which a part is mapped is cut under a snapshot, at many places: searches, alone and
/// together, give the good hits or an error that names the model's file; so does what is made of
/// its centroids.
#[test]
fn a_mapped_model_that_is_cut_fails_by_name() {
    let d = 8;
    for (n, groups) in [(300, Some(9)), (MIN_NLIST, None)] {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let tmp = tempfile::tempdir().unwrap();
        let dir = IndexDir::create(tmp.path()).unwrap();
        let mut fresh = model(Metric::L2, clustered(&mut rng, n, d), d);
        if groups.is_some() {
            fresh.group_centroids(groups);
        }
        let path = dir.put_model(&fresh).unwrap().path;
        let mut shard = ShardBuilder::new(&fresh);
        for id in 0..4 * n as u64 {
            shard.push_code(id, "", rng.random_range(0..n as u32), &[0]).unwrap();
        }
        let shard = dir.put_shard(shard, Hash::of(b"plan"), 0).unwrap();
        let new = NewGeneration {
            model: fresh.hash(),
            shards: vec![shard],
            tombstones: BTreeMap::new(),
            deletes: None,
            next_id: 4 * n as u64,
        };
        dir.commit(None, new).unwrap();
        let queries = clustered(&mut rng, 12, d);
        let params = SearchParams { k: 5, nprobe: 32, ..SearchParams::default() };
        let good = std::fs::read(&path).unwrap();
        let whole = Snapshot::open(tmp.path(), None).unwrap();
        let hits = |r: SearchResult| r.hits.iter().map(|h| (h.id, h.score)).collect::<Vec<_>>();
        let want: Vec<_> =
            queries.chunks_exact(d).map(|q| hits(whole.search(q, &params).unwrap())).collect();
        assert!(want.iter().all(|hits| hits.len() == 5));
        drop(whole);
        let mut failed = 0;
        for cut in (0..good.len()).step_by(good.len() / 7) {
            std::fs::write(&path, &good).unwrap();
            let snapshot = Snapshot::open(tmp.path(), None).unwrap();
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(cut as u64).unwrap();
            let mut judge = |error: Error| {
                let text = error.to_string();
                assert!(text.contains("cannot be read any more"), "{text}");
                assert!(text.contains(&path.display().to_string()), "{text}");
                failed += 1;
            };
            for (q, want) in queries.chunks_exact(d).zip(&want) {
                match snapshot.search(q, &params) {
                    Ok(result) => assert_eq!(&hits(result), want),
                    Err(error) => judge(error),
                }
            }
            match snapshot.search_batch(&queries, &params, &mut Scratch::default()) {
                Ok(results) => {
                    assert_eq!(results.into_iter().map(hits).collect::<Vec<_>>(), want);
                }
                Err(error) => judge(error),
            }
            let model = snapshot.model();
            if cut == 0 {
                judge(model.write(&tmp.path().join("copy")).unwrap_err());
                assert!(!tmp.path().join("copy").exists());
                let (scratch, out) = (&mut RowEncoderScratch::default(), &mut Encoded::default());
                judge(RowEncoder::new(model).encode(&queries, scratch, out).unwrap_err());
                let mut shard = ShardBuilder::new(model);
                shard.push(0, "", &queries[..d]).unwrap();
                judge(shard.write(tmp.path(), Hash::of(b"plan"), 0).unwrap_err());
            }
        }
        assert!(failed >= 15, "{n} lists: {failed} errors");
    }
}
