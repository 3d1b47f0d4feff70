mod copies;
mod damage;
mod faults;
mod lives;
mod old;
mod owners;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;

use ocelli_index::{Hash, IndexDir, Names, Snapshot};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::lifecycle::delete;
use crate::lifecycle::fixture::{ROWS, bury, commit, index, model, shard, tree};
use crate::silent;

fn back_up(root: &Path, target: &Path) -> BackupReport {
    backup(root, target, 0, 2, &silent).unwrap()
}

/// An index and its first backup, in a chain of its own.
fn backed_up() -> (TempDir, IndexDir, TempDir) {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    (tmp, dir, chain)
}

fn refused(root: &Path, target: &Path) -> String {
    backup(root, target, 0, 2, &silent).unwrap_err().to_string()
}

fn bring_back(target: &Path, root: &Path, number: Option<u64>, force: bool) -> RestoreReport {
    let options = RestoreOptions { backup: number, force, ..RestoreOptions::default() };
    restore(target, root, &options, &silent).unwrap()
}

fn no_way_back(target: &Path, number: Option<u64>) -> String {
    let new = tempdir().unwrap();
    let options = RestoreOptions { backup: number, ..RestoreOptions::default() };
    let error = restore(target, new.path(), &options, &silent).unwrap_err();
    assert!(!new.path().join("CURRENT").exists());
    error.to_string()
}

/// Asserts that each of these backups, the first one numbered 1, gives back its state.
fn assert_restored(target: &Path, states: &[BTreeMap<String, Vec<u8>>]) {
    for (number, state) in (1..).zip(states) {
        let new = tempdir().unwrap();
        bring_back(target, new.path(), Some(number), false);
        assert!(tree(new.path()) == *state, "backup {number}");
    }
    let report = check(target, 2, &silent).unwrap();
    assert_eq!(report.faults, [""; 0]);
    assert_eq!(report.whole, (1..=states.len() as u64).collect::<Vec<u64>>());
    assert!(list_backups(target).unwrap().iter().all(|line| line.whole));
}

/// The file of a chain that has the bytes of a file.
fn object_of(chain: &Path, file: &BackupFile) -> PathBuf {
    let hash = file.sha256.to_string();
    let found = ["generations", "objects"].into_iter().find_map(|folder| {
        // Old chains have no folder of generations.
        let names = fs::read_dir(chain.join(folder)).into_iter().flatten();
        let mut names = names.map(|entry| entry.unwrap().path());
        names.find(|path| path.display().to_string().contains(&hash))
    });
    found.unwrap()
}

/// Another directory with the same files, its note on backups among them.
fn copy_of(root: &Path) -> TempDir {
    let copy = tempdir().unwrap();
    IndexDir::create(copy.path()).unwrap();
    for (name, bytes) in tree(root) {
        fs::write(copy.path().join(&name), bytes).unwrap();
    }
    let note = root.join("backups.json");
    if note.exists() {
        fs::copy(note, copy.path().join("backups.json")).unwrap();
    }
    copy
}

/// Removes what no generation names any more, as `gc` does.
fn sweep(root: &Path) {
    loop {
        let files = tree(root);
        let names = files.iter().filter(|(name, _)| !name.starts_with("shards/"));
        let text: Vec<String> =
            names.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
        let text = text.join(" ");
        let is_left = |name: &&String| {
            let folders = ["shards/", "tombstones/", "deletes/"];
            let (_, file) = name.split_once('/').unwrap_or_default();
            let stem = file.trim_end_matches(".roaring");
            folders.iter().any(|folder| name.starts_with(folder)) && !text.contains(stem)
        };
        let left: Vec<&String> = files.keys().filter(is_left).collect();
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(|name| fs::remove_file(root.join(name)).unwrap());
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    match bytes.get_mut(middle) {
        Some(byte) => *byte ^= 1,
        None => bytes.push(1),
    }
    fs::write(path, bytes).unwrap();
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

/// A delete changes few bytes, and its backup writes few, however many generations there are: also
/// in a directory that was restored from an earlier backup, whose numbers the chain has twice.
#[test]
fn deletes_cost_little() {
    let (_tmp, dir, chain) = backed_up();
    let delete = |dir: &IndexDir, id: u64| {
        bury(dir, &[id]);
        let report = back_up(dir.root(), chain.path());
        assert_eq!((report.new_files, &report.healed[..]), (3, &[][..]));
        let (written, new) = (report.written_bytes as f64, report.new_bytes as f64);
        assert!(written <= 1.1 * new, "{id}: {written} of {new}");
    };
    (10..75).for_each(|id| delete(&dir, id));
    let again = tempdir().unwrap();
    bring_back(chain.path(), again.path(), Some(20), false);
    let dir = IndexDir::open(again.path()).unwrap();
    (75..110).for_each(|id| delete(&dir, id));
    let new = tempdir().unwrap();
    bring_back(chain.path(), new.path(), None, false);
    assert!(tree(new.path()) == tree(again.path()));
    Snapshot::open(new.path(), None).unwrap().verify().unwrap();
}

/// A chain in which many numbers are those of two histories can be read as a whole: no choice among
/// them is left to a search.
#[test]
fn a_second_history_of_many_generations_can_be_read() {
    let (tmp, dir, chain) = backed_up();
    let mut states = vec![tree(tmp.path())];
    for id in 10..30 {
        bury(&dir, &[id]);
        back_up(tmp.path(), chain.path());
        states.push(tree(tmp.path()));
    }
    let again = tempdir().unwrap();
    bring_back(chain.path(), again.path(), Some(3), false);
    let dir = IndexDir::open(again.path()).unwrap();
    (40..58).for_each(|id| bury(&dir, &[id]));
    let report = back_up(again.path(), chain.path());
    assert!(report.written_bytes as f64 <= 1.1 * report.new_bytes as f64, "{report:?}");
    states.push(tree(again.path()));
    bury(&dir, &[58]);
    back_up(again.path(), chain.path());
    states.push(tree(again.path()));
    assert_restored(chain.path(), &states);
}

/// Objects without a backup are what a killed one leaves: the chain is as it was, and the next goes
/// on from there.
#[test]
fn a_killed_backup_harms_nothing() {
    let (tmp, dir, chain) = backed_up();
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
    // Its number is not given again.
    assert!(report.new && report.backup == 3 && report.new_files == 0);
    assert!(report.written_bytes < whole.written_bytes / 10);
    assert_eq!(check(chain.path(), 1, &silent).unwrap().faults, [""; 0]);
}

#[test]
fn a_damaged_directory_gets_what_differs() {
    let (tmp, dir, chain) = backed_up();
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
    let (tmp, dir, chain) = backed_up();
    let shards = dir.current().unwrap().unwrap().shards;
    commit(&dir, shards.clone(), &[5], 2 * ROWS);
    let state = tree(tmp.path());
    fs::remove_file(dir.shard_path(&shards[0].name).unwrap()).unwrap();
    let options = RestoreOptions { force: true, keep_current: true, ..RestoreOptions::default() };
    let report = restore(chain.path(), tmp.path(), &options, &silent).unwrap();
    assert_eq!((report.generation, report.written_files), (4, 1));
    assert_eq!(tree(tmp.path()), state);
}

/// A change that is committed meanwhile is in a backup as a whole or not at all.
#[test]
fn backups_of_a_directory_that_changes_are_whole() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for step in 0..30u64 {
                let mut shards = dir.current().unwrap().unwrap().shards;
                shards.truncate(3);
                shards.push(shard(&dir, &model(0), 50 + step as u32, 100 * (step + 5), 20));
                commit(&dir, shards, &[step as u32], 100 * (step + 5) + 20);
            }
        });
        while !writer.is_finished() {
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
    let (tmp, dir, chain) = backed_up();
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
    // A record of another erasure that cannot be read hides nothing.
    let record = tmp.path().join("erased").join(format!("{}.json", Hash::of(b"others")));
    fs::write(&record, "{").unwrap();
    let error = restore(chain.path(), tmp.path(), &options, &silent).unwrap_err().to_string();
    assert!(error.contains("which rows were erased"), "{error}");
    assert!(Snapshot::open(tmp.path(), None).unwrap().find_id(10).unwrap().is_none());
    fs::remove_file(&record).unwrap();
    bring_back(chain.path(), tmp.path(), None, true);
    let current = dir.current().unwrap().unwrap();
    assert_eq!(current.number, later.generation);
}
