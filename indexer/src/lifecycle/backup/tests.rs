use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::AtomicBool;
use std::thread;

use ocelli_index::{Cause, Change, CommitOptions, IndexDir, Names, Snapshot};
use tempfile::tempdir;

use super::*;
use crate::lifecycle::delete;
use crate::lifecycle::fixture::{ROWS, commit, index, model, shard, tree};
use crate::silent;

fn back_up(root: &Path, target: &Path) -> BackupReport {
    backup(root, target, 0, 2, &silent).unwrap()
}

fn bring_back(target: &Path, root: &Path, number: Option<u64>, force: bool) -> RestoreReport {
    let options = RestoreOptions { backup: number, force, ..RestoreOptions::default() };
    restore(target, root, &options, &silent).unwrap()
}

fn bytes_of(root: &Path) -> u64 {
    tree(root).values().map(|bytes| bytes.len() as u64).sum()
}

/// Each backup of a chain gives back the directory as it was, byte for byte, and costs what is new.
#[test]
fn every_backup_gives_back_what_was_there() {
    let (tmp, dir) = index();
    let (chain, root) = (tempdir().unwrap(), tmp.path());
    let mut states = Vec::new();
    let mut before = 0;
    for step in 0..4u64 {
        if step > 0 {
            let mut shards = dir.current().unwrap().unwrap().shards;
            shards.push(shard(&dir, &model(0), 10 + step as u32, 1000 * step, ROWS));
            commit(&dir, shards, &[1, 2, 3], 1000 * step + ROWS);
        }
        let report = back_up(root, chain.path());
        assert_eq!((report.backup, report.generation), (step + 1, step + 3));
        let now = bytes_of(chain.path());
        let owner = fs::metadata(chain.path().join("backup.json")).unwrap().len();
        assert_eq!(report.written_bytes + before + if step == 0 { owner } else { 0 }, now);
        assert!(report.written_bytes as f64 <= 1.1 * report.new_bytes as f64, "{report:?}");
        before = now;
        states.push(tree(root));
    }
    let again = back_up(root, chain.path());
    assert_eq!((again.new, again.backup, again.written_bytes), (false, 4, 0));
    for (number, state) in (1..).zip(&states) {
        let new = tempdir().unwrap();
        let place = new.path().join("index");
        let report = bring_back(chain.path(), &place, Some(number), false);
        assert_eq!(tree(&place), *state, "backup {number}");
        assert_eq!(report.generation, number + 2);
        Snapshot::open(&place, None).unwrap().verify().unwrap();
        // What was restored goes on with the chain.
        let more = back_up(&place, chain.path());
        assert_eq!(more.new_files, 0);
    }
    let report = check(chain.path(), 2, &silent).unwrap();
    assert_eq!(report.faults, [""; 0]);
}

/// A delete changes few bytes, and its backup writes few, also where there are ten generations.
#[test]
fn deletes_cost_little() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    for id in 10..18 {
        let names = Names { ids: vec![id], keys: Vec::new() };
        let change = Change::Delete { names, cause: Cause::Delete };
        dir.commit_change(&change, &CommitOptions::default()).unwrap();
        let report = back_up(tmp.path(), chain.path());
        assert_eq!(report.new_files, 3);
        assert!(report.written_bytes as f64 <= 1.1 * report.new_bytes as f64, "{report:?}");
    }
    let new = tempdir().unwrap();
    bring_back(chain.path(), new.path(), None, false);
    assert_eq!(tree(new.path()), tree(tmp.path()));
    Snapshot::open(new.path(), None).unwrap().verify().unwrap();
}

#[test]
fn a_chain_is_of_one_index() {
    let (tmp, _) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    let other = tempdir().unwrap();
    let dir = IndexDir::create(other.path()).unwrap();
    dir.put_model(&model(0)).unwrap();
    commit(&dir, vec![shard(&dir, &model(0), 0, 7, 9)], &[], 16);
    let before = tree(chain.path());
    let error = backup(other.path(), chain.path(), 0, 1, &silent).unwrap_err().to_string();
    assert!(error.contains("backups of another index"), "{error}");
    assert_eq!(tree(chain.path()), before);
    // Nor is the other index replaced, even by force.
    back_up(other.path(), tempdir().unwrap().path());
    let options = RestoreOptions { force: true, ..RestoreOptions::default() };
    let error = restore(chain.path(), other.path(), &options, &silent).unwrap_err().to_string();
    assert!(error.contains("another index"), "{error}");
    // A directory that has lost its note of the chain is still known by its generations.
    fs::remove_file(tmp.path().join("backups.json")).unwrap();
    assert!(!back_up(tmp.path(), chain.path()).new);
    let inside = tmp.path().join("backups");
    let error = backup(tmp.path(), &inside, 0, 1, &silent).unwrap_err().to_string();
    assert!(error.contains("within the index"), "{error}");
}

/// Objects without a backup are what a killed one leaves: the chain is as it was, and the next goes
/// on from there.
#[test]
fn a_killed_backup_harms_nothing() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    let old = tree(tmp.path());
    let mut shards = dir.current().unwrap().unwrap().shards;
    shards.push(shard(&dir, &model(0), 9, 1000, ROWS));
    commit(&dir, shards, &[], 1000 + ROWS);
    let whole = back_up(tmp.path(), chain.path());
    fs::remove_file(chain.path().join("backups/2.json.gz")).unwrap();
    let left = chain.path().join("objects/.x.ocelli-00000000-0123456789abcdef.tmp");
    fs::write(left, [0; 100]).unwrap();
    let new = tempdir().unwrap();
    bring_back(chain.path(), new.path(), None, false);
    assert_eq!(tree(new.path()), old);
    let report = back_up(tmp.path(), chain.path());
    assert!(report.new && report.backup == 2 && report.new_files == 0);
    assert!(report.written_bytes < whole.written_bytes / 10);
    assert_eq!(check(chain.path(), 1, &silent).unwrap().faults, [""; 0]);
}

#[test]
fn a_damaged_directory_gets_what_differs() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    let state = tree(tmp.path());
    let shards = dir.current().unwrap().unwrap().shards;
    fs::write(tmp.path().join("CURRENT"), "?").unwrap();
    fs::remove_file(dir.shard_path(&shards[0].name).unwrap()).unwrap();
    let path = dir.shard_path(&shards[1].name).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let options = RestoreOptions::default();
    let error = restore(chain.path(), tmp.path(), &options, &silent).unwrap_err().to_string();
    assert!(error.contains("--force"), "{error}");
    let report = bring_back(chain.path(), tmp.path(), None, true);
    assert_eq!(report.written_files, 2);
    assert_eq!(tree(tmp.path()), state);
    let again = bring_back(chain.path(), tmp.path(), None, true);
    assert_eq!((again.written_files, again.written_bytes), (0, 0));
}

/// Files that were lost come back, and what was committed since stays current.
#[test]
fn the_current_generation_may_stay() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    let shards = dir.current().unwrap().unwrap().shards;
    commit(&dir, shards.clone(), &[5], 2 * ROWS);
    let state = tree(tmp.path());
    fs::remove_file(dir.shard_path(&shards[0].name).unwrap()).unwrap();
    let options = RestoreOptions { force: true, keep_current: true, ..RestoreOptions::default() };
    let report = restore(chain.path(), tmp.path(), &options, &silent).unwrap();
    assert_eq!((report.generation, report.written_files), (4, 1));
    assert_eq!(tree(tmp.path()), state);
}

/// Neither a damaged index nor a damaged chain is taken for a sound one.
#[test]
fn damage_is_seen_on_the_way() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    let shards = dir.current().unwrap().unwrap().shards;
    let path = dir.shard_path(&shards[1].name).unwrap();
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[5000] ^= 1;
    fs::write(&path, &bad).unwrap();
    let error = backup(tmp.path(), chain.path(), 0, 2, &silent).unwrap_err().to_string();
    assert!(error.contains(&shards[1].name) && error.contains("SHA-256"), "{error}");
    assert_eq!(backups(chain.path()).unwrap(), []);
    fs::write(&path, &good).unwrap();
    back_up(tmp.path(), chain.path());

    for file in &backups(chain.path()).unwrap()[0].files {
        let packed = file.name.ends_with(".json");
        let object = format!("objects/{}{}", file.sha256, if packed { ".gz" } else { "" });
        let object = chain.path().join(object);
        let good = fs::read(&object).unwrap();
        for change in 0..3 {
            let mut bad = good.clone();
            match change {
                0 => bad[good.len() / 2] ^= 1,
                1 => bad.truncate(good.len() / 2),
                _ => fs::remove_file(&object).unwrap(),
            }
            if change < 2 {
                fs::write(&object, bad).unwrap();
            }
            let faults = check(chain.path(), 1, &silent).unwrap().faults;
            assert!(faults.len() == 1 && faults[0].contains("backup 1"), "{faults:?}");
            let new = tempdir().unwrap();
            let options = RestoreOptions::default();
            restore(chain.path(), new.path(), &options, &silent).unwrap_err();
            assert!(!new.path().join("CURRENT").exists());
        }
        fs::write(&object, good).unwrap();
    }
}

/// A change that is committed meanwhile is in a backup as a whole or not at all.
#[test]
fn backups_of_a_directory_that_changes_are_whole() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for step in 0..30u64 {
                let mut shards = dir.current().unwrap().unwrap().shards;
                shards.truncate(3);
                shards.push(shard(&dir, &model(0), 50 + step as u32, 100 * (step + 5), 20));
                commit(&dir, shards, &[step as u32], 100 * (step + 5) + 20);
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            back_up(tmp.path(), chain.path());
        }
    });
    back_up(tmp.path(), chain.path());
    let all = backups(chain.path()).unwrap();
    assert_eq!(all.last().unwrap().generation, 33);
    let mut generations = BTreeMap::new();
    for backup in all {
        let new = tempdir().unwrap();
        bring_back(chain.path(), new.path(), Some(backup.number), false);
        let snapshot = Snapshot::open(new.path(), None).unwrap();
        snapshot.verify().unwrap();
        assert_eq!(snapshot.generation().number, backup.generation);
        generations.insert(backup.generation, ());
    }
    assert!(!generations.is_empty());
}

/// An erasure finds the backups that hold what is to be erased.
#[test]
fn backups_that_hold_a_shard_are_named() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    let shards = dir.current().unwrap().unwrap().shards;
    let names = BTreeSet::from([shards[1].name.clone()]);
    assert_eq!(holding(tmp.path(), &names).unwrap(), []);
    back_up(tmp.path(), chain.path());
    commit(&dir, vec![shards[0].clone()], &[], 2 * ROWS);
    back_up(tmp.path(), chain.path());
    // Until generations that have the shard are gone, new backups have it too.
    for n in [2, 3] {
        fs::remove_file(tmp.path().join(format!("generations/{n}.json"))).unwrap();
    }
    back_up(tmp.path(), chain.path());
    let found = holding(tmp.path(), &names).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].backups, [1, 2]);
    let nowhere = BTreeSet::from(["nothing".to_owned()]);
    assert_eq!(holding(tmp.path(), &nowhere).unwrap(), []);
    fs::remove_dir_all(chain.path()).unwrap();
    let found = holding(tmp.path(), &names).unwrap();
    assert!(found[0].unread.is_some());
}

/// Erased rows get into no backup that is made later, and do not come back.
#[test]
fn erased_rows_do_not_come_back() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    let names = Names { ids: vec![10], keys: Vec::new() };
    let report = delete(tmp.path(), names, true, &silent).unwrap().erased.unwrap();
    assert_eq!(report.backups.len(), 1);
    assert_eq!((&report.backups[0].backups[..], &report.backups[0].unread), (&[1][..], &None));
    let later = back_up(tmp.path(), chain.path());
    assert!(!later.left_out.is_empty());
    let held: BTreeSet<String> = report.held_by.into_iter().collect();
    assert_eq!(holding(tmp.path(), &held).unwrap()[0].backups, [1]);
    let options = RestoreOptions { backup: Some(1), force: true, ..RestoreOptions::default() };
    let error = restore(chain.path(), tmp.path(), &options, &silent).unwrap_err().to_string();
    assert!(error.contains("erased"), "{error}");
    bring_back(chain.path(), tmp.path(), None, true);
    let current = dir.current().unwrap().unwrap();
    assert_eq!(current.number, later.generation);
}
