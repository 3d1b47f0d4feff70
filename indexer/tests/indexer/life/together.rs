//! Several change an index at once, and others search it meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ocelli_index::{Error as IndexError, Model, Part, SearchParams, Snapshot};
use ocelli_indexer::lifecycle::change::Names;
use ocelli_indexer::lifecycle::{CompactOptions, GcOptions, add, compact, delete, gc, rollback};
use ocelli_indexer::{BuildOptions, Error, OnDuplicate, build, silent};
use ocelli_test_support::cases;

use super::world::{DIM, models};
use crate::support::{clustered, numbered};

const CHILD: &str = "OCELLI_TEST_ADDITIONS_OF_A_CHILD";
/// Rows of an addition: they come together, and go together.
const ROWS: usize = 3;

fn options() -> BuildOptions {
    BuildOptions {
        shards: 1,
        threads: 1,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: 0,
    }
}

/// The part of an addition: keys `NAME-0.jpg`, `NAME-1.jpg`, ….
fn part(folder: &Path, name: &str) -> Part {
    let seed = name.bytes().map(u64::from).sum();
    let x = clustered(ROWS, DIM, seed);
    numbered(&folder.join(format!("{name}.part")), &format!("{name}-"), &x, DIM)
}

fn keys(name: &str) -> Vec<String> {
    (0..ROWS).map(|i| format!("{name}-{i}.jpg")).collect()
}

fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Index(IndexError::Conflict { .. }))
}

/// Adds a part; whoever lost does what the message says: runs it again.
fn add_until_done(index: &Path, folder: &Path, name: &str) {
    let part = [part(folder, name)];
    loop {
        match add(&part, index, &options(), false, &silent) {
            Err(error) if is_conflict(&error) => {
                assert!(error.to_string().contains("run it again"), "{error}");
            }
            done => return drop(done.unwrap()),
        }
    }
}

fn index_of(folder: &Path) -> (PathBuf, Arc<Vec<Model>>) {
    let models = models(folder);
    let index = folder.join("index");
    build(&[part(folder, "first")], &models[0], &index, &options(), &silent).unwrap();
    (index, models)
}

/// Names of the additions whose rows the snapshot has: all of them or none.
fn additions(snapshot: &Snapshot) -> BTreeSet<String> {
    let x = vec![0.1; DIM];
    let params = SearchParams { k: 10_000, nprobe: 3, ..SearchParams::default() };
    let hits = snapshot.search(&x, &params).unwrap().hits;
    assert_eq!(hits.len() as u64, snapshot.rows());
    let mut counts = BTreeMap::<String, usize>::new();
    for hit in hits {
        let key = snapshot.key(hit.row).unwrap();
        *counts.entry(key.split('-').next().unwrap().to_owned()).or_default() += 1;
    }
    assert!(counts.values().all(|&count| count == ROWS), "half a change: {counts:?}");
    counts.into_keys().collect()
}

/// Says that the work has ended when it goes, also where its owner fails: who waits for that must
/// not wait for ever.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Threads add, delete, compact, go back and forth and collect garbage, while one searches whatever
/// is current, as a server does.
#[test]
fn changes_at_once_are_all_there_and_no_search_sees_half_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _models) = index_of(folder.path());
    let (index, folder) = (index.as_path(), folder.path());
    let rounds = cases(6, 60);
    let ended = AtomicBool::new(false);
    let expected = thread::scope(|scope| {
        let ends = Ends(&ended);
        let searcher = scope.spawn(|| {
            let (mut before, mut opened) = (None::<Snapshot>, 0);
            while !ended.load(Ordering::Relaxed) {
                // What a server does: the last generation answers until the next one is open.
                match Snapshot::open_degraded(index, None, before.as_ref()) {
                    Ok(snapshot) if snapshot.missing().len() == 0 => before = Some(snapshot),
                    _ => {}
                }
                opened += 1;
                additions(before.as_ref().unwrap());
            }
            opened
        });
        let writers: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|writer| {
                scope.spawn(move || {
                    let mut living = BTreeSet::new();
                    for round in 0..rounds {
                        let name = format!("{writer}{round}");
                        add_until_done(index, folder, &name);
                        if round % 3 == 1 {
                            let names = Names { ids: Vec::new(), keys: keys(&name) };
                            let report = delete(index, names, false, &silent).unwrap();
                            assert_eq!(report.deleted, ROWS as u64);
                        } else {
                            living.insert(name);
                        }
                    }
                    living
                })
            })
            .collect();
        let keeper = scope.spawn(|| {
            let mut lost = 0;
            while !ended.load(Ordering::Relaxed) {
                let options = CompactOptions { all: true, memory_budget_bytes: 0 };
                match compact(index, &options, &silent) {
                    Err(error) if is_conflict(&error) => lost += 1,
                    done => drop(done.unwrap()),
                }
                let options = GcOptions {
                    keep_generations: 3,
                    min_age_s: 3600,
                    remove: true,
                    ..GcOptions::default()
                };
                gc(index, &options).unwrap();
            }
            lost
        });
        let mut expected = BTreeSet::from(["first".to_owned()]);
        for writer in writers {
            expected.extend(writer.join().unwrap());
        }
        drop(ends);
        keeper.join().unwrap();
        assert!(searcher.join().unwrap() > 0);
        expected
    });
    let snapshot = Snapshot::open(index, None).unwrap();
    snapshot.verify().unwrap();
    assert_eq!(additions(&snapshot), expected);
}

/// No test of its own: one of the processes of [`processes_lose_nothing`].
#[test]
fn child() {
    let Ok(place) = env::var(CHILD) else { return };
    let (name, folder) = place.split_once(' ').unwrap();
    let folder = Path::new(folder);
    for i in 0..4 {
        add_until_done(&folder.join("index"), folder, &format!("{name}{i}"));
    }
}

#[test]
fn processes_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _models) = index_of(folder.path());
    let children: Vec<_> = ["p", "q", "r"]
        .into_iter()
        .map(|name| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "life::together::child"])
                .env(CHILD, format!("{name} {}", folder.path().display()))
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let snapshot = Snapshot::open(&index, None).unwrap();
    snapshot.verify().unwrap();
    assert_eq!(additions(&snapshot).len(), 1 + 3 * 4);
}

/// A generation that differs by deleted rows shares all shards with the one before.
#[test]
fn a_deletion_opens_no_shard_again() {
    let folder = tempfile::tempdir().unwrap();
    let (index, models) = index_of(folder.path());
    add_until_done(&index, folder.path(), "more");
    let before = Snapshot::open(&index, None).unwrap();
    assert_eq!((before.shards().len(), before.reused()), (2, 0));
    let names = Names { ids: Vec::new(), keys: keys("first") };
    delete(&index, names, false, &silent).unwrap();
    let after = Snapshot::open_after(&index, None, Some(&before)).unwrap();
    assert_eq!(after.reused(), 2);
    assert_eq!(additions(&after), BTreeSet::from(["more".to_owned()]));
    // What was open goes on as it was.
    assert_eq!(additions(&before).len(), 2);
    add_until_done(&index, folder.path(), "third");
    let third = Snapshot::open_after(&index, None, Some(&after)).unwrap();
    assert_eq!((third.shards().len(), third.reused()), (3, 2));
    // A replacement of the file is seen, and under another model nothing is taken over.
    let path = third.shards().next().unwrap().path().to_owned();
    let copy = path.with_extension("copy");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    let again = Snapshot::open_after(&index, None, Some(&third)).unwrap();
    assert_eq!(again.reused(), 2);
    ocelli_indexer::lifecycle::rebuild(&[], &models[1], &index, &options(), false, &silent)
        .unwrap();
    let other = Snapshot::open_after(&index, None, Some(&again)).unwrap();
    assert_eq!(other.reused(), 0);
    assert_eq!(additions(&other), BTreeSet::from(["more".to_owned(), "third".to_owned()]));
    let report = rollback(&index, None, false).unwrap();
    assert_eq!((report.from, report.kept_deleted), (Some(other.generation().number), 0));
}
