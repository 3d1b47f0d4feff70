use std::collections::BTreeMap;

use ocelli_index::{
    Change, CommitOptions, DescriptorSpec, Dtype, NewGeneration, PartKind, PartWriter,
};
use ocelli_vector::l2_sq;
use tempfile::{TempDir, tempdir};

use super::*;
use crate::lifecycle::fixture::{ROWS, index, shard};
use crate::silent;

fn vector(id: u64) -> Vec<f32> {
    (0..4).map(|j| ((id * 7 + j) as f32 * 0.31).sin()).collect()
}

/// A part of the fixture's rows, and of some that the index does not have.
fn part(folder: &Path, ids: impl Iterator<Item = u64>) -> Part {
    let path = folder.join("rows.part");
    let spec = DescriptorSpec::foreign("test", 4).unwrap();
    let mut part = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec).unwrap();
    ids.for_each(|id| part.push(&format!("photo {id}"), None, &vector(id)).unwrap());
    part.finish().unwrap();
    Part::open(&path).unwrap()
}

fn options(nprobe: usize) -> RecallOptions {
    RecallOptions {
        k: 5,
        sample: 1000,
        nprobe: vec![nprobe],
        threads: 2,
        ..RecallOptions::default()
    }
}

/// Mean recall by the definition: every row of `all` is a query, those of `living` can be found.
fn naive(snapshot: &Snapshot, all: &[u64], living: &[u64], nprobe: usize) -> f64 {
    let params = SearchParams { k: 6, nprobe, ..SearchParams::default() };
    let of_query = |&query: &u64| {
        let x = vector(query);
        let mut others: Vec<(f32, u64)> = living
            .iter()
            .filter(|&&id| id != query)
            .map(|&id| (l2_sq(&x, &vector(id)), id))
            .collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0));
        let nearest: Vec<u64> = others[..5].iter().map(|(_, id)| *id).collect();
        let hits = snapshot.search_naive(&x, &params).unwrap();
        let found = hits.iter().map(|hit| hit.id).filter(|&id| id != query).take(5);
        found.filter(|id| nearest.contains(id)).count() as f64 / 5.0
    };
    all.iter().map(of_query).sum::<f64>() / all.len() as f64
}

/// Recall is that of the definition, also where rows are deleted or not in the index at all.
#[test]
fn recall_is_that_of_the_definition() {
    let (tmp, _) = index();
    let folder = tempdir().unwrap();
    let all: Vec<u64> = (0..2 * ROWS + 30).collect();
    // Rows 3 and 4 of the first shard are deleted.
    let living: Vec<u64> = (0..2 * ROWS).filter(|id| ![3, 4].contains(id)).collect();
    let parts = [part(folder.path(), all.iter().copied())];
    let snapshot = Snapshot::open(tmp.path(), None).unwrap();
    for nprobe in [1, 2, 3] {
        let report = check_recall(&snapshot, &parts, &options(nprobe), &silent).unwrap();
        assert_eq!((report.queries, report.against), (all.len(), Against::Vectors));
        let expected = naive(&snapshot, &all, &living, nprobe);
        let found = &report.at[0];
        assert!((found.recall - expected).abs() < 1e-9, "{nprobe}: {found:?}, {expected}");
        assert!(found.interval[0] <= found.recall && found.recall <= found.interval[1]);
    }
    // By what the index decodes, nothing is lost where all lists are scanned.
    let report = check_recall(&snapshot, &[], &options(3), &silent).unwrap();
    assert_eq!(report.against, Against::Decoded);
    assert!(report.at[0].recall > 0.999, "{report:?}");
    let fewer = check_recall(&snapshot, &[], &options(1), &silent).unwrap();
    assert!(fewer.at[0].recall <= report.at[0].recall);
    // A sample is the same each time.
    let few = RecallOptions { sample: 20, ..options(2) };
    let [one, other] = [0, 1].map(|_| check_recall(&snapshot, &parts, &few, &silent).unwrap());
    assert_eq!((one.queries, one.at[0].recall), (20, other.at[0].recall));
}

/// The fewest lists whose recall is enough; where nothing is enough, the most that there is.
#[test]
fn the_cheapest_search_that_finds_enough() {
    let (tmp, _) = index();
    let folder = tempdir().unwrap();
    let parts = [part(folder.path(), 0..2 * ROWS)];
    let snapshot = Snapshot::open(tmp.path(), None).unwrap();
    let wanted =
        |recall| TuneOptions { k: 5, recall, latency_ms: None, sample: 1000, seed: 1, threads: 2 };
    // All rows are queries: those of even places choose, and the others try the choice.
    let living: Vec<u64> = (0..2 * ROWS).filter(|id| ![3, 4].contains(id)).collect();
    let of = |first: u64, nprobe| {
        let half: Vec<u64> = (first..2 * ROWS).step_by(2).collect();
        naive(&snapshot, &half, &living, nprobe)
    };
    let same = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
    let one = tune(&snapshot, &parts, &wanted(0.2), &silent).unwrap();
    assert!(one.is_met && one.chosen.at.nprobe == 1, "{one:?}");
    assert!(same(one.chosen.at.recall, of(0, 1)) && same(one.fresh.recall, of(1, 1)));
    assert!(same(one.prediction_error, of(1, 1) - of(0, 1)));
    let too_much = tune(&snapshot, &parts, &wanted(0.99), &silent).unwrap();
    let most = [1, 2, 3].map(|nprobe| of(0, nprobe)).into_iter().fold(0.0, f64::max);
    assert!(!too_much.is_met && same(too_much.chosen.at.recall, most), "{too_much:?}");
    assert!(same(too_much.most, most));
    // By what the index decodes, all lists find everything.
    for recall in [0.9, 0.95, 0.999] {
        let report = tune(&snapshot, &[], &wanted(recall), &silent).unwrap();
        assert!(report.is_met && report.chosen.at.recall >= recall, "{report:?}");
        let fewer = report.tried.iter().filter(|t| t.at.nprobe < report.chosen.at.nprobe);
        let fewer: Vec<&Tried> = fewer.collect();
        assert_eq!(fewer.len(), report.chosen.at.nprobe - 1, "all fewer were tried");
        assert!(fewer.iter().all(|tried| tried.at.recall < recall), "{report:?}");
    }
    let too_fast = TuneOptions { latency_ms: Some(1e-9), ..wanted(0.1) };
    assert!(!tune(&snapshot, &parts, &too_fast, &silent).unwrap().is_met);
    for wrong in [0.0, 1.1, f64::NAN] {
        assert!(tune(&snapshot, &parts, &wanted(wrong), &silent).is_err());
    }
    for k in [0, usize::MAX] {
        assert!(tune(&snapshot, &parts, &TuneOptions { k, ..wanted(0.5) }, &silent).is_err());
    }
    let huge = TuneOptions { sample: usize::MAX, ..wanted(0.2) };
    assert_eq!(tune(&snapshot, &parts, &huge, &silent).unwrap().queries, one.queries);
}

#[test]
fn parts_of_other_rows_are_refused() {
    let (tmp, _) = index();
    let folder = tempdir().unwrap();
    let snapshot = Snapshot::open(tmp.path(), None).unwrap();
    let parts = [part(folder.path(), 5000..5100)];
    let error = check_recall(&snapshot, &parts, &options(1), &silent).unwrap_err().to_string();
    assert!(error.contains("none of the rows is in the index"), "{error}");
    let none = RecallOptions { k: 0, ..options(1) };
    assert!(check_recall(&snapshot, &[], &none, &silent).is_err());
}

/// A generation that the gate refuses is as if it had never been.
#[test]
fn a_bad_generation_does_not_become_current() {
    let (tmp, dir): (TempDir, IndexDir) = index();
    let folder = tempdir().unwrap();
    let parts = [part(folder.path(), 0..2 * ROWS)];
    let current = dir.current().unwrap().unwrap();
    let more = shard(&dir, &crate::lifecycle::fixture::model(0), 5, 500, 20);
    let mut shards = current.shards.clone();
    shards.push(more);
    let new = NewGeneration {
        model: current.model,
        shards,
        tombstones: BTreeMap::new(),
        deletes: None,
        next_id: 1000,
    };
    let change = Change::Replace { parent: Some(3), new, dba: None };
    for (least, passes) in [(0.999, false), (0.01, true)] {
        let gate = RecallGate::new(&parts, options(1), least);
        let judge = |dir: &IndexDir, generation: &Generation| gate.judge(dir, generation);
        let options = CommitOptions { gate: Some(&judge), ..CommitOptions::default() };
        let outcome = dir.commit_change(&change, &options);
        assert_eq!(outcome.is_ok(), passes, "{outcome:?}");
        let measured = gate.measured().unwrap();
        assert_eq!(measured.generation, 4);
        if let Err(error) = outcome {
            let text = error.to_string();
            assert!(text.contains("recall@5 of generation 4") && text.contains("0.999"), "{text}");
            assert_eq!(dir.generations().unwrap(), [1, 2, 3]);
            assert_eq!(dir.current().unwrap().unwrap(), current);
        }
    }
    assert_eq!(dir.current().unwrap().unwrap().number, 4);
    assert!(tmp.path().exists());
}
