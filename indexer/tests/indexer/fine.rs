//! Training finer codes: what is refused, that they are of use, and that the built index has them.

use ocelli_index::{FineKind, IndexDir, Model, SearchParams, Snapshot};
use ocelli_indexer::{
    BuildOptions, FineChoice, FineOptions, OnDuplicate, TrainOptions, build, no_opq, silent, train,
    train_fine_codec,
};
use tempfile::tempdir;

use crate::support::{clustered, numbered, regions};

const DIM: usize = 16;

fn options(choice: FineChoice) -> FineOptions {
    FineOptions { choice, niter: 8, seed: 1, threads: 2, force: false }
}

/// A plain model of coarse codes, and the file of the rows that it was trained on.
fn base(folder: &std::path::Path) -> (Model, ocelli_index::Part) {
    let part = numbered(&folder.join("rows.part"), "r", &clustered(10_000, DIM, 9), DIM);
    let parts = [regions(&folder.join("train.part"), &clustered(10_000, DIM, 9), DIM)];
    let options = TrainOptions { nlist: 4, m: 2, niter: 8, threads: 2, ..TrainOptions::default() };
    (train(&parts, &options, &no_opq, &silent).unwrap().0, part)
}

#[test]
fn choices_are_read_and_others_refused() {
    for (text, want) in [
        ("pq32", FineChoice::Pq(32)),
        ("sq8", FineChoice::Sq8),
        ("f16", FineChoice::F16),
        ("cosine", FineChoice::Cosine),
    ] {
        assert_eq!(text.parse::<FineChoice>().unwrap(), want);
    }
    for text in ["pq", "pq0", "pq-1", "sq", "f32", "", "32"] {
        let error = text.parse::<FineChoice>().unwrap_err().to_string();
        assert!(error.contains("pq32"), "{error}");
    }
}

#[test]
fn refusals_have_numbers() {
    let tmp = tempdir().unwrap();
    let (model, part) = base(tmp.path());
    let path = tmp.path().join("base.model");
    model.write(&path).unwrap();
    let few = [numbered(&tmp.path().join("few.part"), "f", &clustered(300, DIM, 1), DIM)];
    let again = || Model::open(&path).unwrap();
    let pq = options(FineChoice::Pq(4));
    let error = train_fine_codec(&few, again(), &pq, &silent).unwrap_err().to_string();
    assert!(error.contains("at least 9984 rows, found 300"), "{error}");
    let forced = FineOptions { force: true, ..pq };
    train_fine_codec(&few, again(), &forced, &silent).unwrap();
    let error = train_fine_codec(&[part], again(), &options(FineChoice::Pq(5)), &silent);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("divisor of the dimension 16, found 5"), "{error}");
    let other = [numbered(&tmp.path().join("o.part"), "o", &clustered(300, 8, 1), 8)];
    assert!(train_fine_codec(&other, again(), &forced, &silent).is_err());
}

/// Half precision ends: the training names file and row of what it cannot hold.
#[test]
fn a_row_beyond_half_precision_is_named() {
    let tmp = tempdir().unwrap();
    let (model, _) = base(tmp.path());
    let mut x = clustered(300, DIM, 1);
    x[7 * DIM] = 1e9;
    let parts = [numbered(&tmp.path().join("big.part"), "f", &x, DIM)];
    let error = train_fine_codec(&parts, model, &options(FineChoice::F16), &silent);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("big.part: row 7: element 0 is 1000000000: half precision"), "{error}");
}

/// Each kind leaves less error than the codes before it, as it reports; equal options give equal
/// bits; and rows found through a built index of two shards are found better.
#[test]
fn an_index_gets_finer_codes_and_better_answers() {
    let tmp = tempdir().unwrap();
    let (model, part) = base(tmp.path());
    let path = tmp.path().join("base.model");
    model.write(&path).unwrap();
    let parts = [part];
    // The last rows ask: of rows of one code the first is found, which would be these if they were
    // the first.
    let first = 10_000 - 50;
    let queries = clustered(10_000, DIM, 9).split_off(first * DIM);
    let mut last_error = f64::INFINITY;
    // (A quantizer of as many bytes as scalars has, 16, may be the better one.)
    let choices = [FineChoice::Pq(4), FineChoice::Pq(8), FineChoice::Sq8, FineChoice::F16];
    for (number, choice) in (1u64..).zip(choices) {
        let train = || {
            let base = Model::open(&path).unwrap();
            train_fine_codec(&parts, base, &options(choice), &silent).unwrap()
        };
        let (refined, report) = train();
        assert_eq!(refined.hash(), model.hash());
        assert_eq!(refined.fine_codec(), train().0.fine_codec(), "{choice:?}: not repeatable");
        let error = report.mse.unwrap();
        assert!(error < last_error, "{choice:?}: {error} after {last_error}");
        last_error = error;
        assert_eq!(report.code_bytes, refined.fine_codec().unwrap().code_bytes());

        let dir = tmp.path().join("index");
        let two = BuildOptions {
            shards: 2,
            threads: 2,
            dba: 0,
            on_duplicate: OnDuplicate::Stop,
            memory_budget_bytes: 0,
        };
        let built = build(&parts, &refined, &dir, &two, &silent).unwrap();
        assert_eq!((built.generation, built.fine_bytes), (number, report.code_bytes));
        let snapshot = Snapshot::open(&dir, None).unwrap();
        snapshot.verify().unwrap();
        assert_eq!(snapshot.fine_codec(), refined.fine_codec());
        let nearest = |refine| {
            let params = SearchParams {
                k: 1,
                nprobe: 4,
                refine_candidates: refine,
                allow_partial: false,
                ..SearchParams::default()
            };
            let found = queries.chunks_exact(DIM).enumerate().filter(|(i, q)| {
                let row = snapshot.search(q, &params).unwrap().hits[0].row;
                snapshot.key(row).unwrap() == format!("r{}.jpg", first + i)
            });
            found.count()
        };
        let (plain, refined_hits) = (nearest(0), nearest(2000));
        assert!(plain < 20 && refined_hits > 40, "{choice:?}: {plain} and {refined_hits} of 50");
        if matches!(choice, FineChoice::Sq8 | FineChoice::F16) {
            assert_eq!(refined_hits, 50, "{choice:?}");
        }
    }
    // All four stand beside each other, under one model.
    let dir = IndexDir::open(&tmp.path().join("index")).unwrap();
    let kinds = [FineKind::Pq, FineKind::Pq, FineKind::Sq8, FineKind::F16];
    for (number, kind) in (1u64..).zip(kinds) {
        assert_eq!(dir.generation(number).unwrap().model, model.hash());
        let snapshot = Snapshot::open(dir.root(), Some(number)).unwrap();
        assert_eq!(snapshot.fine_codec().unwrap().kind(), kind);
    }
}
