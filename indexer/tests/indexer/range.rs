//! Vectors at the ends of the range, from the training to the answers; and beyond it.

use std::path::Path;

use ocelli_index::container::{FileKind, Reader, SectionKind, Writer};
use ocelli_index::{
    Hit, IndexDir, Metric, Model, Part, Scratch, SearchParams, Snapshot, out_of_range,
};
use ocelli_indexer::{
    BuildOptions, FineChoice, FineOptions, OnDuplicate, TrainOptions, WhitenOptions, build,
    learn_whitening, no_opq, silent, train, train_fine_codec,
};
use ocelli_vector::{Simd, l2_normalize};
use tempfile::tempdir;

use crate::support::{clustered, numbered};

const DIM: usize = 16;
const N: usize = 700;
/// Powers of two, by which floats are multiplied without rounding, near both ends of the range for
/// norms of 0.6 to 1.7.
const LARGE: f32 = (1u64 << 49) as f32;
const SMALL: f32 = 1.0 / LARGE;

const OPTIONS: TrainOptions = TrainOptions {
    nlist: 4,
    m: 4,
    ksub: 16,
    dim: None,
    finer: false,
    pca: 0,
    renormalize: false,
    coarse: ocelli_indexer::CoarseKmeans::Auto,
    metric: Some(Metric::L2),
    opq: Some(false),
    opq_niter: 2,
    niter: 6,
    seed: 1,
    threads: 2,
    max_rows: 0,
    force: false,
};

/// Rows with norms of 0.6 to 1.7 times `scale`, and as far from each other as can be: half of them
/// are turned round.
fn rows(scale: f32) -> Vec<f32> {
    let mut x = clustered(N, DIM, 7);
    for (i, row) in x.chunks_exact_mut(DIM).enumerate() {
        assert!(l2_normalize(row));
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        let norm = (0.6 + 1.1 * i as f32 / N as f32) * sign;
        // First to the norm, then to the scale: the second is exact.
        row.iter_mut().for_each(|x| *x = *x * norm * scale);
        assert_eq!(out_of_range(row), None);
    }
    x
}

/// The answers of each level to some of the rows, and the model's two errors.
fn answers(
    scale: f32,
    options: &TrainOptions,
    refine: Option<FineChoice>,
) -> (Vec<Vec<Hit>>, [f64; 2]) {
    let tmp = tempdir().unwrap();
    let x = rows(scale);
    let parts = [numbered(&tmp.path().join("a.part"), "r", &x, DIM)];
    let (mut model, report) = train(&parts, options, &no_opq, &silent).unwrap();
    if let Some(choice) = refine {
        let path = tmp.path().join("a.model");
        model.write(&path).unwrap();
        let options = FineOptions { choice, niter: 4, seed: 1, threads: 2, force: true };
        let base = Model::open(&path).unwrap();
        model = train_fine_codec(&parts, base, &options, &silent).unwrap().0;
    }
    let dir = tmp.path().join("index");
    build(
        &parts,
        &model,
        &dir,
        &BuildOptions {
            shards: 2,
            threads: 2,
            dba: 0,
            on_duplicate: OnDuplicate::Stop,
            memory_budget_bytes: 0,
        },
        &silent,
    )
    .unwrap();
    IndexDir::open(&dir).unwrap();
    let snapshot = Snapshot::open(&dir, None).unwrap();
    let refine_candidates = if refine.is_some() { 40 } else { 0 };
    let params = SearchParams { k: 10, nprobe: 4, refine_candidates, ..SearchParams::default() };
    let mut out = Vec::new();
    for row in (0..N).step_by(31) {
        let query = &x[row * DIM..][..DIM];
        let mut first: Option<Vec<Hit>> = None;
        for simd in Simd::all() {
            let found = snapshot.search_with(query, &params, &mut Scratch::at(simd)).unwrap().hits;
            let bits = |hits: &[Hit]| -> Vec<_> {
                hits.iter().map(|h| (h.id, h.score.to_bits())).collect()
            };
            assert!(found.iter().all(|hit| hit.score.is_finite()), "{scale:e} {options:?}");
            assert_eq!(found.len(), 10);
            let same = first.get_or_insert_with(|| found.clone());
            assert_eq!(bits(same), bits(&found), "{scale:e}, {}", simd.level());
        }
        out.extend(first);
    }
    (out, [report.mse_coarse, report.mse])
}

/// At the upper end: the same hits as for norms of one, with scores that are multiplied exactly. At
/// the lower end, where the smallest squares lose digits and so a row may join another list: hits
/// as near on the whole.
#[test]
fn both_ends_answer_as_norms_of_one_do() {
    let ip = TrainOptions { metric: Some(Metric::InnerProduct), ..OPTIONS };
    let bytes = TrainOptions { ksub: 256, force: true, ..OPTIONS };
    let variants = [
        (OPTIONS, None),
        (ip.clone(), None),
        (bytes, Some(FineChoice::Pq(4))),
        (ip, Some(FineChoice::Sq8)),
    ];
    for (options, refine) in variants {
        let (want, errors) = answers(1.0, &options, refine);
        for scale in [LARGE, SMALL] {
            let square = f64::from(scale) * f64::from(scale);
            let (found, found_errors) = answers(scale, &options, refine);
            for (found, want) in found_errors.iter().zip(errors) {
                assert!((found / square / want - 1.0).abs() < 1e-3, "{found} {want}, {options:?}");
            }
            let sums = |of: &[Vec<Hit>]| -> f64 {
                of.iter().flatten().map(|hit| f64::from(hit.score)).sum()
            };
            if scale == LARGE {
                for (found, want) in found.iter().flatten().zip(want.iter().flatten()) {
                    let score = f64::from(found.score) / square;
                    assert_eq!((found.id, score), (want.id, want.score.into()), "{options:?}");
                }
            }
            let (found, want) = (sums(&found) / square, sums(&want));
            assert!((found / want - 1.0).abs() < 0.05, "{found} {want} at {scale:e}, {options:?}");
        }
    }
}

/// With rotations and norms that are made one again: finite scores, and rows that find themselves.
#[test]
fn transforms_at_both_ends_find_what_they_should() {
    for options in [
        TrainOptions { pca: 8, ..OPTIONS },
        TrainOptions { pca: 8, renormalize: true, metric: Some(Metric::InnerProduct), ..OPTIONS },
    ] {
        let found_itself = |scale| {
            let (found, errors) = answers(scale, &options, None);
            assert!(errors.iter().all(|e| e.is_finite() && *e > 0.0), "{errors:?}");
            let own =
                |(i, found): (usize, &Vec<Hit>)| found.iter().any(|hit| hit.id == 31 * i as u64);
            found.iter().enumerate().filter(|&found| own(found)).count()
        };
        let want = found_itself(1.0);
        for scale in [LARGE, SMALL] {
            let found = found_itself(scale);
            assert!(found + 2 >= want, "{found} of {want} at {scale:e}, {options:?}");
        }
    }
}

/// A part whose row 7 holds a number that today's writer refuses.
fn spoiled(folder: &Path, number: f32) -> Part {
    let (good, bad) = (folder.join("good.part"), folder.join("bad.part"));
    numbered(&good, "r", &rows(1.0), DIM);
    let file = Reader::open(&good, FileKind::Part).unwrap();
    let mut out = Writer::create(&bad, FileKind::Part).unwrap();
    for section in file.sections() {
        let kind = section.known().unwrap();
        let mut bytes = file.read_all(kind).unwrap().to_vec();
        if kind == SectionKind::Vectors {
            let at = 4 * (7 * DIM + 3);
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        out.section(kind, section.required(), &bytes).unwrap();
    }
    out.finish().unwrap();
    Part::open(&bad).unwrap()
}

#[test]
fn rows_beyond_the_range_are_named_whatever_reads_them() {
    for (number, what) in [
        (1e30, "its norm is 1.000e30, expected 1e-15 to 1e15, or 0"),
        (f32::MAX, "its norm is 3.403e38"),
        (f32::NAN, "element 3 is NaN"),
        (f32::NEG_INFINITY, "element 3 is -inf"),
    ] {
        let tmp = tempdir().unwrap();
        let good = [numbered(&tmp.path().join("a.part"), "r", &rows(1.0), DIM)];
        let model = train(&good, &OPTIONS, &no_opq, &silent).unwrap().0;
        let bad = [spoiled(tmp.path(), number)];
        let dir = tmp.path().join("index");
        let built = BuildOptions {
            shards: 1,
            threads: 1,
            dba: 0,
            on_duplicate: OnDuplicate::Stop,
            memory_budget_bytes: 0,
        };
        let whiten = WhitenOptions { dim: Some(4), power: Some(1.0), ..WhitenOptions::default() };
        let errors = [
            train(&bad, &OPTIONS, &no_opq, &silent).map(drop).unwrap_err(),
            build(&bad, &model, &dir, &built, &silent).map(drop).unwrap_err(),
            learn_whitening(&bad, &whiten, &silent).map(drop).unwrap_err(),
        ];
        for error in errors.map(|error| error.to_string()) {
            let expected = format!("bad.part: row 7: {what}");
            assert!(error.contains(&expected), "{error}");
        }
        assert!(IndexDir::open(&dir).is_err() || Snapshot::open(&dir, None).is_err());
    }
}
