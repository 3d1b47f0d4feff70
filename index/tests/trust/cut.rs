//! Cutting shards, models and parts under their readers.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ocelli_index::{
    DescriptorSpec, Dtype, Error, Hit, Model, Part, PartKind, PartWriter, Result, Scratch,
    SearchParams, Shard, Snapshot,
};

use crate::support::*;
use ocelli_test_support::step;

const VANISHED: &str = "cannot be read any more";

fn params(allow_partial: bool) -> SearchParams {
    SearchParams {
        k: 20,
        nprobe: NLIST / 2,
        refine_candidates: 0,
        allow_partial,
        ..SearchParams::default()
    }
}

/// Several threads search while the large shard is cut, again and again at other places. Every
/// answer is the good one, or an error that names the shard, or, where that is allowed, the other
/// shard's answer.
#[test]
fn a_shard_cut_while_threads_search_it_fails_alone() {
    let tmp = tempfile::tempdir().unwrap();
    let path = build(tmp.path());
    let bytes = fs::read(&path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let mut rng = rng(5);
    let queries: Vec<Vec<f32>> = (0..32).map(|_| vector(&mut rng)).collect();

    let whole = Snapshot::open(tmp.path(), None).unwrap();
    let all = |hits: Vec<Hit>| hits.into_iter().map(|h| (h.id, h.score)).collect::<Vec<_>>();
    let good: Vec<_> =
        queries.iter().map(|q| all(whole.search(q, &params(false)).unwrap().hits)).collect();
    let every = SearchParams { k: (SMALL + LARGE) as usize, ..params(false) };
    let alone: Vec<_> = queries
        .iter()
        .map(|q| {
            let mut hits = whole.search(q, &every).unwrap().hits;
            hits.retain(|h| h.row.shard == 0);
            hits.truncate(20);
            all(hits)
        })
        .collect();
    drop(whole);

    let (mut right, mut failed, mut partial) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    for at in places(bytes.len() as u64, step(12)) {
        put_back(&path, &bytes);
        let snapshot = Snapshot::open(tmp.path(), None).unwrap();
        let (started, is_cut) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let mut readers = Vec::new();
            for thread in 0..3 {
                let (snapshot, queries, good, alone) = (&snapshot, &queries, &good, &alone);
                let (started, is_cut, name) = (&started, &is_cut, &name);
                let (right, failed, partial) = (&right, &failed, &partial);
                readers.push(scope.spawn(move || {
                    let mut scratch = Scratch::default();
                    let mut after = 0;
                    for i in (thread..).step_by(7) {
                        let q = i % queries.len();
                        // Read before the search, so that what follows a cut is known to.
                        let was_cut = is_cut.load(Ordering::SeqCst);
                        match snapshot.search_with(&queries[q], &params(i % 2 == 0), &mut scratch) {
                            Ok(answer) if answer.failed.is_empty() => {
                                assert_eq!(all(answer.hits), good[q], "cut at {at}");
                                assert!(!was_cut, "a shard cut at {at} answered");
                                right.fetch_add(1, Ordering::Relaxed);
                            }
                            Ok(answer) => {
                                assert_eq!(all(answer.hits), alone[q], "cut at {at}");
                                assert_eq!(answer.failed[0].name, *name);
                                partial.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => {
                                let message = error.to_string();
                                assert!(matches!(error, Error::Corrupt { .. }), "{message}");
                                assert!(message.contains(name), "{message}");
                                failed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        started.fetch_add(1, Ordering::SeqCst);
                        after += usize::from(was_cut);
                        if after == 6 {
                            break;
                        }
                    }
                }));
            }
            let some_read = || readers.iter().any(|reader| !reader.is_finished());
            while started.load(Ordering::SeqCst) < 4 && some_read() {
                std::thread::yield_now();
            }
            cut(&path, at);
            is_cut.store(true, Ordering::SeqCst);
        });
    }
    let counts = [right.get_mut(), failed.get_mut(), partial.get_mut()];
    assert!(counts.iter().all(|n| **n > 0), "right, failed, partial: {counts:?}");
}

/// Everything that a shard can be asked is asked after a cut, of a shard that was read before and
/// of one that was not: the right answer or an error, whatever the place.
#[test]
fn every_question_to_a_cut_shard_is_answered_rightly_or_not_at_all() {
    let tmp = tempfile::tempdir().unwrap();
    let path = build(tmp.path());
    let bytes = fs::read(&path).unwrap();
    let model = model();
    let whole = Shard::open(&path, &model).unwrap();
    let ordinals: Vec<u32> = (0..LARGE as u32).step_by(1709).collect();
    let codes: Vec<_> = ordinals.iter().map(|&o| whole.code(o).unwrap()).collect();
    drop(whole);
    let mut wrongly = Vec::new();
    let mut vanished = 0;
    for (number, at) in places(bytes.len() as u64, step(9)).into_iter().enumerate() {
        put_back(&path, &bytes);
        let shard = Shard::open(&path, &model).unwrap();
        let ask = |shard: &Shard, wrongly: &mut Vec<String>| -> usize {
            let mut errors = 0;
            let mut judge = |what: &str, outcome: Result<bool>| match outcome {
                Ok(true) => {}
                Ok(false) => wrongly.push(format!("cut at {at}: {what}")),
                Err(e) => {
                    assert!(matches!(e, Error::Corrupt { .. }), "cut at {at}: {what}: {e}");
                    errors += usize::from(e.to_string().contains(VANISHED));
                }
            };
            for (&o, code) in ordinals.iter().zip(&codes) {
                let (id, key) = (id_of(u64::from(o)), format!("photo/{o}"));
                judge("code", shard.code(o).map(|found| found == *code));
                judge("id", shard.id(o).map(|found| found == id));
                judge("key", shard.key(o).map(|found| found == key));
                judge("find_id", shard.find_id(id).map(|found| found == Some(o)));
                judge("no such id", shard.find_id(id + 1).map(|found| found.is_none()));
                judge("find_key", shard.find_key(&key).map(|found| found == Some(o)));
                judge("no such key", shard.find_key("nobody").map(|found| found.is_none()));
            }
            errors
        };
        if number % 2 == 0 {
            assert_eq!(ask(&shard, &mut wrongly), 0);
        }
        cut(&path, at);
        vanished += ask(&shard, &mut wrongly);
        let message = shard.verify().unwrap_err().to_string();
        assert!(message.contains(VANISHED), "{message}");
        assert!(shard.intact().is_err());
        assert!(Shard::open(&path, &model).is_err(), "cut at {at}: opened again");
    }
    assert!(wrongly.is_empty(), "{wrongly:#?}");
    assert!(vanished > 0);
}

/// A model is copied when it is opened. Cut during that, it opens as it was or not at all; cut
/// later, nobody notices.
#[test]
fn a_model_cut_while_it_is_opened_is_whole_or_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.model");
    let model = model();
    model.write(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for at in places(bytes.len() as u64, 1) {
        put_back(&path, &bytes);
        let (go, is_cut) = (AtomicBool::new(false), AtomicBool::new(false));
        let outcomes = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut outcomes, mut after) = (Vec::new(), 0);
                while after < 3 {
                    after += usize::from(is_cut.load(Ordering::SeqCst));
                    outcomes.push(Model::open(&path));
                    go.store(true, Ordering::SeqCst);
                }
                outcomes
            });
            while !go.load(Ordering::SeqCst) && !reader.is_finished() {
                std::thread::yield_now();
            }
            cut(&path, at);
            is_cut.store(true, Ordering::SeqCst);
            reader.join().unwrap()
        });
        for outcome in outcomes {
            match outcome {
                Ok(found) => {
                    assert_eq!(found.parts(), model.parts(), "cut at {at}");
                    opened += 1;
                }
                Err(e) => {
                    assert!(matches!(e, Error::Corrupt { .. } | Error::NotOcelli { .. }), "{e}");
                    refused += 1;
                }
            }
        }
    }
    assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
}

fn write_part(path: &Path) -> Vec<Vec<f32>> {
    let spec = DescriptorSpec::foreign("test", DIM as u32).unwrap();
    let mut w = PartWriter::create(path, PartKind::Regions, Dtype::F32, &spec).unwrap();
    let mut rng = rng(9);
    let rows: Vec<Vec<f32>> =
        (0..3000usize).map(|i| (0..=i % 3).flat_map(|_| vector(&mut rng)).collect()).collect();
    for (i, rows) in rows.iter().enumerate() {
        w.push(&format!("photo/{i}"), Some(i as u64 + 7), rows).unwrap();
    }
    w.finish().unwrap();
    rows
}

#[test]
fn a_part_cut_while_it_is_read_gives_its_rows_or_an_error() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.part");
    let rows = write_part(&path);
    let bytes = fs::read(&path).unwrap();
    let (mut right, mut refused) = (0, 0);
    for at in places(bytes.len() as u64, step(7)) {
        put_back(&path, &bytes);
        let part = Part::open(&path).unwrap();
        let (go, is_cut) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut count, mut after) = ((0, 0), 0);
                for image in (0..rows.len()).step_by(97).cycle() {
                    after += usize::from(is_cut.load(Ordering::SeqCst));
                    let outcomes = [
                        part.read(part.rows_of(image)).map(|found| found == rows[image]),
                        part.key(image).map(|found| found == format!("photo/{image}")),
                        part.id(image).map(|found| found == Some(image as u64 + 7)),
                    ];
                    for outcome in outcomes {
                        match outcome {
                            Ok(equal) => {
                                assert!(equal, "cut at {at}, image {image}");
                                count.0 += 1;
                            }
                            Err(e) => {
                                assert!(matches!(e, Error::Corrupt { .. }), "{e}");
                                count.1 += 1;
                            }
                        }
                    }
                    go.store(true, Ordering::SeqCst);
                    if after == 20 {
                        break;
                    }
                }
                count
            });
            while !go.load(Ordering::SeqCst) && !reader.is_finished() {
                std::thread::yield_now();
            }
            cut(&path, at);
            is_cut.store(true, Ordering::SeqCst);
            let count = reader.join().unwrap();
            right += count.0;
            refused += count.1;
        });
        assert!(part.verify().is_err());
    }
    assert!(right > 0 && refused > 0, "{right} right, {refused} refused");
}

/// More mappings at once than the first piece of the registry holds, taken and given back.
#[test]
fn many_mappings_are_watched_at_once() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.part");
    let rows = write_part(&path);
    let bytes = fs::read(&path).unwrap();
    for _ in 0..2 {
        let parts: Vec<(std::path::PathBuf, Part)> = (0..200)
            .map(|i| {
                let path = tmp.path().join(format!("{i}.part"));
                put_back(&path, &bytes);
                (path.clone(), Part::open(&path).unwrap())
            })
            .collect();
        for (i, (path, _)) in parts.iter().enumerate().filter(|(i, _)| i % 3 == 0) {
            cut(path, 4096 * (i as u64 % 40));
        }
        for (i, (path, part)) in parts.iter().enumerate() {
            match part.read(part.rows_of(2500)) {
                Ok(found) => assert!(i % 3 != 0 && found == rows[2500], "part {i}"),
                Err(e) => assert!(i % 3 == 0 && e.to_string().contains(&*path.to_string_lossy())),
            }
        }
    }
}
