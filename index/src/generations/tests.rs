use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::recover::WayBack;
use super::*;
use crate::model::{Metric, tests::small};

/// An index directory with one shard's worth of files, not yet committed.
fn prepared(root: &Path) -> (IndexDir, NewGeneration) {
    let dir = IndexDir::create(root).unwrap();
    let model = small(Metric::L2, false, 1);
    dir.put_model(&model).unwrap();
    let mut b = ShardBuilder::new(&model);
    b.push(0, "a", &[0.5; 12]).unwrap();
    let shard = dir.put_shard(b, Hash::of(b"plan"), 0).unwrap();
    let new = NewGeneration {
        model: model.hash(),
        shards: vec![shard],
        tombstones: BTreeMap::new(),
        deletes: None,
        next_id: 1,
    };
    (dir, new)
}

#[test]
fn commits_follow_each_other_and_losers_change_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, new) = prepared(tmp.path());
    assert_eq!(dir.current().unwrap(), None);
    let first = dir.commit(None, new.clone()).unwrap();
    assert_eq!((first.number, first.parent), (1, None));
    assert!(matches!(dir.commit(None, new.clone()), Err(Error::Conflict { .. })));
    assert_eq!(dir.current().unwrap().unwrap(), first);
    let second = dir.commit(Some(1), new.clone()).unwrap();
    assert_eq!((second.number, second.parent), (2, Some(1)));
    assert_eq!(dir.current().unwrap().unwrap(), second);
    assert_eq!(dir.generation(1).unwrap(), first);
    assert!(matches!(dir.generation(9), Err(Error::NotFound { .. })));
    // Back and forth. A commit that expects another generation changes nothing.
    assert_eq!(dir.activate(2, 1).unwrap(), first);
    assert_eq!(dir.current().unwrap().unwrap(), first);
    assert!(matches!(dir.activate(2, 1), Err(Error::Conflict { .. })));
    assert!(matches!(dir.activate(1, 9), Err(Error::NotFound { .. })));
    assert_eq!(dir.current().unwrap().unwrap(), first);
    dir.activate(1, 2).unwrap();
    let missing = NewGeneration {
        shards: vec![ShardEntry { name: "x.shard".into(), ..new.shards[0].clone() }],
        ..new
    };
    assert!(dir.commit(Some(2), missing).is_err());
    assert_eq!(dir.current().unwrap().unwrap(), second);
}

#[test]
fn damage_is_an_error_and_not_another_generation() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, new) = prepared(tmp.path());
    dir.commit(None, new.clone()).unwrap();
    dir.commit(Some(1), new).unwrap();
    for name in ["CURRENT", "generations/2.json"] {
        let path = tmp.path().join(name);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            let outcome = dir.current();
            // White space of the JSON file is not content.
            let harmless = name != "CURRENT" && matches!(&outcome, Ok(Some(g)) if g.number == 2);
            assert!(outcome.is_err() || harmless, "{name}, byte {at}: {outcome:?}");
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(dir.shard_path("../evil").is_err());
}

/// What a later version wrote, and what the operating system does not give, is not lost.
#[test]
fn the_current_generation_is_lost_only_where_it_is_missing_or_damaged() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, new) = prepared(tmp.path());
    assert!(dir.lost_current().unwrap().is_none());
    dir.commit(None, new.clone()).unwrap();
    dir.commit(Some(1), new).unwrap();
    assert!(dir.lost_current().unwrap().is_none());
    let current = tmp.path().join("CURRENT");
    let line = fs::read_to_string(&current).unwrap();
    let number = |text: &str| {
        fs::write(&current, text).unwrap();
        dir.lost_current().unwrap().unwrap().number
    };
    // The checksum says which it is.
    assert_eq!(number(&line.replace("2 ", "9 ")), Some(2));
    assert_eq!(number(&line.replace("2 ", "1 ")), Some(2));
    assert_eq!(number(&line[..9]), Some(2));
    assert_eq!(number("2"), None);
    assert_eq!(number("?"), None);
    assert_eq!(number(&format!("{} x", u64::MAX)), None);
    fs::remove_file(&current).unwrap();
    let lost = dir.lost_current().unwrap().unwrap();
    assert!(lost.number.is_none() && lost.error.is_none());
    fs::write(&current, &line).unwrap();
    let path = tmp.path().join("generations/2.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(dir.lost_current().unwrap().unwrap().number, Some(2));
    fs::write(&path, good.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
    assert!(matches!(dir.lost_current(), Err(Error::NewerVersion { .. })));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("2.json", &path).unwrap();
    assert!(matches!(dir.lost_current(), Err(Error::Io { .. })));
    let way = WayBack { from: 1, to: 1, undo_deletes: true, above: 2, next_id: 1 };
    assert!(matches!(dir.go_back(&way, &CommitOptions::default()), Err(Error::Io { .. })));
    fs::remove_file(&path).unwrap();
    fs::write(&path, good).unwrap();
    let back = dir.go_back(&way, &CommitOptions::default());
    assert!(matches!(back, Err(Error::Conflict { .. })));
    assert_eq!(dir.current().unwrap().unwrap().number, 2);
}

#[test]
fn numbers_of_generations_come_to_an_end_without_a_panic() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, new) = prepared(tmp.path());
    dir.commit(None, new.clone()).unwrap();
    fs::write(tmp.path().join(names::generation(u64::MAX)), "x").unwrap();
    let error = dir.commit(Some(1), new).unwrap_err().to_string();
    assert!(error.contains("no number above it"), "{error}");
    assert_eq!(dir.current().unwrap().unwrap().number, 1);
}

#[test]
fn a_version_changes_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let storage = LocalStorage::new(folder.path());
    let version = || storage.version("shards/a").unwrap();
    storage.prepare().unwrap();
    assert_eq!(version(), None);
    let path = folder.path().join("shards/a");
    fs::write(&path, "one").unwrap();
    let written = version();
    assert!(written.is_some());
    assert_eq!(version(), written);
    // A change may fall into the same tick of the file system's clock; it has another size.
    fs::write(&path, "three").unwrap();
    let changed = version();
    assert_ne!(changed, written);
    fs::write(folder.path().join("shards/b"), "three").unwrap();
    fs::rename(folder.path().join("shards/b"), &path).unwrap();
    assert_ne!(version(), changed);
    fs::remove_file(&path).unwrap();
    assert_eq!(version(), None);
}

/// An index whose rows are (id, key), a shard each inner slice; generation 1.
fn index_of(root: &Path, shards: &[&[(u64, &str)]]) -> (IndexDir, Model) {
    let dir = IndexDir::create(root).unwrap();
    let model = small(Metric::L2, false, 1);
    dir.put_model(&model).unwrap();
    let shards = shards.iter().map(|rows| put(&dir, &model, rows)).collect();
    let (tombstones, deletes) = (BTreeMap::new(), None);
    let new = NewGeneration { model: model.hash(), shards, tombstones, deletes, next_id: 100 };
    dir.commit(None, new).unwrap();
    (dir, model)
}

fn put(dir: &IndexDir, model: &Model, rows: &[(u64, &str)]) -> ShardEntry {
    let mut b = ShardBuilder::new(model);
    for &(id, key) in rows {
        b.push(id, key, &[id as f32 / 100.0; 12]).unwrap();
    }
    dir.put_shard(b, Hash::of(format!("{rows:?}").as_bytes()), 0).unwrap()
}

/// The rows of the current generation that are not deleted.
fn living(dir: &IndexDir) -> BTreeSet<(u64, String)> {
    let snapshot = crate::Snapshot::open_in(dir, None).unwrap();
    snapshot.verify().unwrap();
    let generation = dir.current().unwrap().unwrap();
    let mut rows = BTreeSet::new();
    for (shard, entry) in snapshot.shards().zip(&generation.shards) {
        let dead = match generation.tombstones.get(&entry.name) {
            Some(hash) => dir.tombstones(hash, shard.rows()).unwrap(),
            None => RoaringBitmap::new(),
        };
        let alive = (0..shard.rows()).filter(|&row| !dead.contains(row));
        rows.extend(alive.map(|row| (shard.id(row).unwrap(), shard.key(row).unwrap())));
    }
    rows
}

fn rows(expected: &[(u64, &str)]) -> BTreeSet<(u64, String)> {
    expected.iter().map(|&(id, key)| (id, key.to_owned())).collect()
}

fn change(dir: &IndexDir, change: Change) -> Result<change::Committed> {
    dir.commit_change(&change, &CommitOptions::default())
}

fn delete(dir: &IndexDir, ids: &[u64], keys: &[&str]) -> change::Committed {
    let keys = keys.iter().map(|&key| key.to_owned()).collect();
    let names = change::Names { ids: ids.to_vec(), keys };
    change(dir, Change::Delete { names, cause: deletes::Cause::Delete }).unwrap()
}

fn add(
    dir: &IndexDir,
    parent: u64,
    entry: ShardEntry,
    supersede: bool,
) -> Result<change::Committed> {
    let model = dir.generation(parent)?.model;
    let (shards, first_id, next_id) = (vec![entry], None, 100);
    change(dir, Change::Add { parent, model, shards, first_id, next_id, supersede })
}

#[test]
fn deletes_count_what_is_missing_and_are_logged() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, _) = index_of(tmp.path(), &[&[(1, "a"), (2, "b"), (3, "")], &[(4, "d")]]);
    let done = delete(&dir, &[3, 9, 1], &["d", "a", "zz"]);
    assert_eq!((done.rows.deleted, done.rows.missing), (3, 2));
    assert_eq!(done.missing_first, ["id 9", "key \"zz\""]);
    assert_eq!(living(&dir), rows(&[(2, "b")]));
    // Nothing that lives has these names any more: there is no new generation.
    let again = delete(&dir, &[3], &["d"]);
    assert!(!again.changed && again.rows.missing == 2 && again.generation.number == 2);
    delete(&dir, &[2], &[]);
    let log: Vec<_> = dir
        .delete_log(dir.current().unwrap().unwrap().deletes)
        .flat_map(|file| file.unwrap().1.rows)
        .map(|row| (row.id, row.key, row.generation))
        .collect();
    let row = |id, key: &str, generation| (id, key.to_owned(), generation);
    assert_eq!(log, [row(2, "b", 3), row(1, "a", 2), row(3, "", 2), row(4, "d", 2)]);
}

#[test]
fn additions_go_onto_deletes_and_not_onto_names_that_live() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, model) = index_of(tmp.path(), &[&[(1, "a"), (2, "b"), (3, "c")]]);
    let more = put(&dir, &model, &[(4, "a"), (3, "e")]);
    let text = add(&dir, 1, more.clone(), false).unwrap_err().to_string();
    assert!(text.contains("is twice in the generation"), "{text}");
    delete(&dir, &[3], &["a"]);
    let done = add(&dir, 1, more.clone(), false).unwrap();
    assert!(done.rebased);
    assert_eq!(living(&dir), rows(&[(2, "b"), (4, "a"), (3, "e")]));
    let text = add(&dir, 1, more, false).unwrap_err().to_string();
    assert!(text.contains("were added before"), "{text}");
    // An upsert: one row takes the id of a row and the key of another one.
    let done = add(&dir, 1, put(&dir, &model, &[(2, "a"), (7, "z")]), true).unwrap();
    assert_eq!(done.rows.superseded, 2);
    assert_eq!(living(&dir), rows(&[(2, "a"), (3, "e"), (7, "z")]));
    // Ids that were given out must still be the next ones.
    let entry = put(&dir, &model, &[(100, "n")]);
    let (model, shards) = (model.hash(), vec![entry]);
    let add = |first_id| Change::Add {
        parent: 1,
        model,
        shards: shards.clone(),
        first_id: Some(first_id),
        next_id: 101,
        supersede: false,
    };
    assert!(matches!(change(&dir, add(99)), Err(Error::Conflict { .. })));
    assert_eq!(change(&dir, add(100)).unwrap().generation.next_id, 101);
    let other = Change::Add {
        parent: 1,
        model: Hash::of(b"other"),
        shards: Vec::new(),
        first_id: None,
        next_id: 0,
        supersede: false,
    };
    assert!(matches!(change(&dir, other), Err(Error::Conflict { .. })));
}

#[test]
fn a_compaction_goes_onto_deletes_made_meanwhile() {
    let tmp = tempfile::tempdir().unwrap();
    let all: &[&[(u64, &str)]] = &[&[(1, "a"), (2, "b")], &[(3, "c"), (4, "d")], &[(5, "e")]];
    let (dir, model) = index_of(tmp.path(), all);
    delete(&dir, &[1], &[]);
    let planned = dir.current().unwrap().unwrap();
    let source = |entry: &ShardEntry| change::Source {
        entry: entry.clone(),
        tombstones: planned.tombstones.get(&entry.name).copied(),
    };
    let sources: Vec<_> = planned.shards[..2].iter().map(source).collect();
    let merged = put(&dir, &model, &[(2, "b"), (3, "c"), (4, "d")]);
    // Meanwhile: a row of a source dies, one of another shard, and rows come.
    delete(&dir, &[3, 5], &[]);
    add(&dir, 1, put(&dir, &model, &[(6, "c")]), false).unwrap();
    let compact = Change::Compact { sources, shards: vec![merged.clone()] };
    let done = change(&dir, compact.clone()).unwrap();
    assert_eq!((done.rows.carried, done.rebased), (1, true));
    assert_eq!(done.generation.shards.len(), 3);
    assert_eq!(done.generation.shards[0], merged);
    assert_eq!(living(&dir), rows(&[(2, "b"), (4, "d"), (6, "c")]));
    assert!(matches!(change(&dir, compact), Err(Error::Conflict { .. })));
}

/// A row that was left out of a compaction lives again after a way back: the compaction, which does
/// not have it, is refused.
#[test]
fn a_compaction_does_not_lose_rows_that_came_back() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, model) = index_of(tmp.path(), &[&[(1, "a"), (2, "b")], &[(3, "c")]]);
    delete(&dir, &[1], &[]);
    let planned = dir.current().unwrap().unwrap();
    let source = |entry: &ShardEntry| change::Source {
        entry: entry.clone(),
        tombstones: planned.tombstones.get(&entry.name).copied(),
    };
    let sources: Vec<_> = planned.shards.iter().map(source).collect();
    let merged = put(&dir, &model, &[(2, "b"), (3, "c")]);
    let back = Change::Rollback { expected: planned.number, to: 1, undo_deletes: true };
    change(&dir, back).unwrap();
    let refused = change(&dir, Change::Compact { sources, shards: vec![merged] }).unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    assert!(refused.to_string().contains("run the compaction again"), "{refused}");
    assert_eq!(living(&dir), rows(&[(1, "a"), (2, "b"), (3, "c")]));
}

#[test]
fn a_way_back_keeps_deleted_what_was_deleted_since() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, model) = index_of(tmp.path(), &[&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]]);
    add(&dir, 1, put(&dir, &model, &[(5, "a")]), true).unwrap();
    delete(&dir, &[], &["b", "c"]);
    add(&dir, 3, put(&dir, &model, &[(6, "c")]), false).unwrap();
    assert_eq!(living(&dir), rows(&[(5, "a"), (4, "d"), (6, "c")]));
    // `b` and `c` were deleted; that another row is called `c` by now does not bring the old one
    // back.
    let back = |undo_deletes| Change::Rollback { expected: 4, to: 1, undo_deletes };
    assert!(dir.activate(4, 1).unwrap_err().to_string().contains("deleted since"));
    let done = change(&dir, back(false)).unwrap();
    assert_eq!((done.rows.carried, done.generation.number), (2, 5));
    assert_eq!(living(&dir), rows(&[(1, "a"), (4, "d")]));
    let names = dir.deleted_names(&done.generation, change::NameListBuilder::new()).unwrap();
    let names = names.to_names().unwrap();
    let has_key = |key: &str| names.keys.iter().any(|found| found == key);
    assert!(has_key("b") && has_key("c") && names.ids.contains(&2));
    // On another line of generations: the log of both.
    let forth = Change::Rollback { expected: 5, to: 3, undo_deletes: false };
    assert_eq!(change(&dir, forth).unwrap().generation.number, 3);
    assert!(matches!(change(&dir, back(true)), Err(Error::Conflict { .. })));
    let undo = Change::Rollback { expected: 3, to: 1, undo_deletes: true };
    change(&dir, undo).unwrap();
    assert_eq!(living(&dir), rows(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]));
    // Ids that later generations gave out are not given out again.
    assert_eq!(dir.next_id(dir.current().unwrap().as_ref()).unwrap(), 100);
}

#[test]
fn erased_rows_are_found_in_every_generation() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, model) = index_of(tmp.path(), &[&[(1, "a"), (2, "b")], &[(3, "c")]]);
    let old = dir.current().unwrap().unwrap().shards[0].name.clone();
    add(&dir, 1, put(&dir, &model, &[(7, "a")]), true).unwrap();
    let new = dir.current().unwrap().unwrap().shards[2].name.clone();
    let names = change::Names { ids: vec![7], keys: Vec::new() };
    let erasure = dir.find_erased(&names, 0).unwrap();
    assert_eq!(erasure.shards, BTreeSet::from([old, new]));
    assert_eq!((erasure.ids.len(), erasure.keys.len()), (1, 1));
    dir.put_erasure(&erasure).unwrap();
    dir.put_erasure(&erased::Erasure { shards: BTreeSet::new(), ..erasure.clone() }).unwrap();
    assert_eq!(dir.erasures().unwrap(), [erasure]);
    let back = Change::Rollback { expected: 2, to: 1, undo_deletes: true };
    assert!(change(&dir, back).unwrap_err().to_string().contains("erased"));
}

#[test]
fn two_rows_with_one_key_are_refused_across_shards() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, model) = index_of(tmp.path(), &[&[(1, "a")]]);
    // Enough rows that those of a small shard are looked up.
    let names: Vec<String> = (0..200).map(|i| format!("k{i}")).collect();
    let many: Vec<(u64, &str)> =
        names.iter().enumerate().map(|(i, k)| (1000 - i as u64, k.as_str())).collect();
    let large = put(&dir, &model, &many);
    let entry = dir.current().unwrap().unwrap().shards[0].clone();
    let (tombstones, deletes) = (BTreeMap::new(), None);
    let new = NewGeneration {
        model: model.hash(),
        shards: vec![entry.clone(), large.clone()],
        tombstones,
        deletes,
        next_id: 2000,
    };
    dir.commit(Some(1), new.clone()).unwrap();
    let same = put(&dir, &model, &[(2, "k7")]);
    let text = dir
        .commit(Some(2), NewGeneration { shards: vec![entry, large, same.clone()], ..new })
        .unwrap_err();
    assert!(text.to_string().contains("key \"k7\" is twice"), "{text}");
    let text = add(&dir, 2, same, false).unwrap_err();
    assert!(text.to_string().contains("key \"k7\" is twice"), "{text}");
    let done = add(&dir, 2, put(&dir, &model, &[(999, "new"), (3, "k7")]), true).unwrap();
    assert_eq!(done.rows.superseded, 2);
}
