//! Flipped bits and cut files: never a wrong answer, never a panic.
//!
//! Method: one bit of a file is flipped where it stands, the file is opened anew and everything is
//! asked of it; what it answers is compared with the answers of the whole file. Short runs take
//! every bit of the footer, both ends of each section, and a sample in between whose step is odd,
//! so that every position in a byte comes up; long runs take every bit.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ocelli_index::container::{Reader, SectionKind};
use ocelli_index::{
    DescriptorSpec, Dtype, Error, ErrorCode, Filter, Model, Part, PartKind, PartWriter, Result,
    Row, SearchParams, Shard, Snapshot, Whitening, inspect,
};
use ocelli_test_support::{are_long, cases, step};
use rand::RngExt;

use crate::support::*;

/// Bits of a file that are tried, ascending.
fn bits(path: &Path, step: u64) -> Vec<u64> {
    let bytes = fs::metadata(path).unwrap().len();
    if are_long() {
        return (0..8 * bytes).collect();
    }
    let reader = Reader::open_any(path).unwrap();
    let data = reader.sections().iter().map(|s| s.offset + s.len).max().unwrap();
    let mut out: Vec<u64> = (0..8 * bytes).step_by(step as usize).collect();
    for s in reader.sections() {
        let end = s.offset + s.len;
        for (from, to) in [(s.offset, s.offset + 2), (end.saturating_sub(2), end + 2)] {
            out.extend(8 * from..8 * to.min(data));
        }
    }
    out.extend(8 * (bytes - 340)..8 * bytes);
    out.sort_unstable();
    out.dedup();
    out
}

/// Runs `judge` on the file with each of the bits flipped, and leaves the file as it was.
fn flip(path: &Path, bits: &[u64], mut judge: impl FnMut(u64)) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let byte = |at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0]
    };
    for &bit in bits {
        let good = byte(bit / 8);
        file.write_all_at(&[good ^ 1 << (bit % 8)], bit / 8).unwrap();
        judge(bit);
        file.write_all_at(&[good], bit / 8).unwrap();
    }
}

/// Damage, and not a newer version, another kind or a missing thing.
fn is_damage(error: &Error) -> bool {
    error.code() == ErrorCode::DataLoss
}

/// The answers of a shard when everything is asked of it.
#[derive(Debug, PartialEq)]
struct Answers {
    searches: Vec<Vec<(u64, f32)>>,
    rows: Vec<RowAnswers>,
}

#[derive(Debug, PartialEq)]
struct RowAnswers {
    id: u64,
    key: String,
    code: (u32, Vec<u8>),
    by_id: Option<Row>,
    by_key: Option<Row>,
    record: Vec<u8>,
}

fn queries() -> Vec<Vec<f32>> {
    let mut rng = rng(77);
    (0..3).map(|_| vector(&mut rng)).collect()
}

/// Asks the shard in turn, and stops at the first error.
fn ask(snapshot: &Snapshot, nprobe: usize, ordinals: &[u32]) -> Result<Answers> {
    let params = SearchParams {
        k: 30,
        nprobe,
        refine_candidates: 0,
        allow_partial: false,
        ..SearchParams::default()
    };
    let mut searches = Vec::new();
    for query in queries() {
        let hits = snapshot.search(&query, &params)?.hits;
        assert_eq!(hits, snapshot.search_naive(&query, &params)?);
        searches.push(hits.into_iter().map(|h| (h.id, h.score)).collect());
    }
    let shard = snapshot.shards().next().unwrap();
    let mut rows = Vec::new();
    for &ordinal in ordinals {
        let (id, key) = (shard.id(ordinal)?, shard.key(ordinal)?);
        let (by_id, by_key) = (snapshot.find_id(id)?, snapshot.find_key(&key)?);
        let (code, record) = (shard.code(ordinal)?, shard.record(ordinal)?);
        rows.push(RowAnswers { id, key, code, by_id, by_key, record });
    }
    Ok(Answers { searches, rows })
}

/// Flips bits of an index's only shard, and searches `nprobe` lists and looks up `ordinals` of it.
/// Returns how many flips were found at open, and how many when asked.
fn flip_shard(
    root: &Path,
    path: &Path,
    bits: &[u64],
    nprobe: usize,
    ordinals: &[u32],
) -> (usize, usize) {
    let ask = |snapshot: &Snapshot| ask(snapshot, nprobe, ordinals);
    let good = ask(&Snapshot::open(root, None).unwrap()).unwrap();
    let model = model();
    let (mut at_open, mut at_touch) = (0, 0);
    flip(path, bits, |bit| {
        let error = Shard::open(path, &model).and_then(|s| s.verify()).unwrap_err();
        assert!(is_damage(&error), "bit {bit}: {error}");
        match Snapshot::open(root, None) {
            Err(error) => {
                assert!(is_damage(&error), "bit {bit}: {error}");
                at_open += 1;
            }
            Ok(snapshot) => match ask(&snapshot) {
                Ok(answers) => assert_eq!(answers, good, "bit {bit}"),
                Err(error) => {
                    assert!(is_damage(&error), "bit {bit}: {error}");
                    at_touch += 1;
                }
            },
        }
    });
    assert_eq!(ask(&Snapshot::open(root, None).unwrap()).unwrap(), good);
    (at_open, at_touch)
}

/// All of it lies in one tile: whatever is flipped is found when the file is opened.
#[test]
fn every_flipped_bit_of_a_small_shard_is_reported() {
    let tmp = tempfile::tempdir().unwrap();
    let path = build_one(tmp.path(), 40);
    let bits = bits(&path, 613);
    let ordinals: Vec<u32> = (0..40).collect();
    let (at_open, at_touch) = flip_shard(tmp.path(), &path, &bits, NLIST, &ordinals);
    assert_eq!((at_open, at_touch), (bits.len(), 0));
}

/// Dozens of tiles: most damage is found when it is touched, and some of it is not touched at all.
#[test]
fn a_flipped_shard_that_opens_answers_rightly_or_not_at_all() {
    let tmp = tempfile::tempdir().unwrap();
    let path = build_one(tmp.path(), LARGE);
    let bytes = fs::metadata(&path).unwrap().len();
    let step = cases(60_007, 1_201);
    let bits: Vec<u64> = (3..8 * bytes).step_by(step).collect();
    let (at_open, at_touch) = flip_shard(tmp.path(), &path, &bits, 2, &[17_003]);
    assert!(at_open > 0 && at_touch > 0, "{at_open} at open, {at_touch} when touched");
    assert!(at_open + at_touch < bits.len(), "some tiles are not needed for these questions");
}

/// One file of each kind, with what opens and proves it.
type Proof = fn(&Path) -> Result<()>;
fn files(folder: &Path) -> Vec<(PathBuf, Proof)> {
    let spec = DescriptorSpec::foreign("test", 3).unwrap();
    let (model_path, whitening_path, part_path) =
        (folder.join("a.model"), folder.join("a.whitening"), folder.join("a.part"));
    model().write(&model_path).unwrap();
    let whitening = Whitening {
        mean: vec![0.5, 1.0, -1.0],
        projection: vec![1.0; 6],
        learned_on: spec.clone(),
    };
    whitening.write(&whitening_path).unwrap();
    let mut part = PartWriter::create(&part_path, PartKind::Regions, Dtype::F16, &spec).unwrap();
    let mut rng = rng(4);
    for i in 0..50u64 {
        let x: f32 = rng.random_range(-1.0..1.0);
        part.push(&format!("k{i}"), Some(i), &vec![x; 3 * (1 + i as usize % 2)]).unwrap();
    }
    part.finish().unwrap();
    vec![
        (model_path, |path| Model::open(path).map(drop)),
        (whitening_path, |path| Whitening::open(path).map(drop)),
        (part_path, |path| Part::open(path)?.verify()),
    ]
}

#[test]
fn every_flipped_bit_of_the_other_files_is_reported() {
    let tmp = tempfile::tempdir().unwrap();
    for (path, proof) in files(tmp.path()) {
        proof(&path).unwrap();
        flip(&path, &bits(&path, 613), |bit| {
            let error = proof(&path).unwrap_err();
            assert!(is_damage(&error), "{}: bit {bit}: {error}", path.display());
            assert!(inspect(&path, true).is_err());
        });
        proof(&path).unwrap();
    }
}

/// Cut at every length, or a sample of them, before it is opened.
#[test]
fn every_cut_file_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let shard = build_one(tmp.path(), 40);
    let shard_proof: Proof = |path| Shard::open(path, &model()).map(drop);
    for (path, proof) in files(tmp.path()).into_iter().chain([(shard, shard_proof)]) {
        proof(&path).unwrap();
        let bytes = fs::metadata(&path).unwrap().len();
        let file = File::options().write(true).open(&path).unwrap();
        let step = step(211);
        // From long to short, so that one file serves all.
        let mut lengths: Vec<u64> = (0..bytes).step_by(step).chain(bytes - 120..bytes).collect();
        lengths.sort_unstable();
        for len in lengths.into_iter().rev() {
            file.set_len(len).unwrap();
            let error = proof(&path).unwrap_err();
            assert!(is_damage(&error), "{} cut to {len}: {error}", path.display());
        }
    }
}

/// Damage to attributes fails the shard for searches that are filtered by them, and for no others.
#[test]
fn damaged_attributes_fail_filtered_searches_alone() {
    let tmp = tempfile::tempdir().unwrap();
    let path = build(tmp.path());
    let section = *Reader::open_any(&path).unwrap().find(SectionKind::Attributes).unwrap();
    let bit = 8 * (section.offset + section.len / 2);
    let q = &queries()[0];
    flip(&path, &[bit], |_| {
        let snapshot = Snapshot::open(tmp.path(), None).unwrap();
        let text = format!("width >= 0 and sha256 != '{}'", "00".repeat(32));
        let predicate = Some(text.parse().unwrap());
        let filter = snapshot.resolve(&Filter { predicate, ..Filter::default() }).unwrap();
        let strict =
            SearchParams { nprobe: NLIST, filter: Some(filter.into()), ..SearchParams::default() };
        let error = snapshot.search(q, &strict).unwrap_err();
        assert!(is_damage(&error), "{error}");
        let partial = SearchParams { allow_partial: true, ..strict.clone() };
        let found = snapshot.search(q, &partial).unwrap();
        assert_eq!(found.failed.len(), 1);
        assert_eq!(found.hits.len(), 10);
        assert!(found.hits.iter().all(|hit| hit.id < SMALL && !hit.id.is_multiple_of(256)));
        let plain = SearchParams { filter: None, ..strict };
        assert_eq!(snapshot.search(q, &plain).unwrap().hits.len(), 10);
    });
}
