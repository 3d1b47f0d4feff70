//! Chains and the indexes that they are of.

use super::*;

#[test]
fn a_chain_is_of_one_index() {
    let (tmp, _) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    let other = other_index();
    let before = tree(chain.path());
    let error = backup(other.path(), chain.path(), 0, 1, &silent).unwrap_err().to_string();
    assert!(error.contains("backups of another index"), "{error}");
    assert_eq!(tree(chain.path()), before);
    // Nor is the other index replaced, even by force, and even if it was never backed up.
    for has_note in [false, true] {
        if has_note {
            back_up(other.path(), tempdir().unwrap().path());
        }
        let state = tree(other.path());
        let options = RestoreOptions { force: true, ..RestoreOptions::default() };
        let error = restore(chain.path(), other.path(), &options, &silent).unwrap_err().to_string();
        assert!(error.contains("another index"), "{error}");
        assert_eq!(tree(other.path()), state);
    }
    // A directory that has lost its note of the chain is still known by its generations.
    fs::remove_file(tmp.path().join("backups.json")).unwrap();
    assert!(!back_up(tmp.path(), chain.path()).new);
    let inside = tmp.path().join("backups");
    let error = backup(tmp.path(), &inside, 0, 1, &silent).unwrap_err().to_string();
    assert!(error.contains("within the index"), "{error}");
}

/// A chain of another index is refused whatever of the chain can still be read, and the index that
/// it is of goes on.
#[test]
fn a_damaged_chain_is_still_of_one_index() {
    let (tmp, dir, chain) = backed_up();
    bury(&dir, &[10]);
    back_up(tmp.path(), chain.path());
    let other = other_index();
    let owner = chain.path().join("backup.json");
    let good = fs::read(&owner).unwrap();
    let is_refused = || {
        let before = tree(chain.path());
        let error = refused(other.path(), chain.path());
        assert!(error.contains("backups of another index"), "{error}");
        assert!(error.contains("a folder of its own"), "{error}");
        assert_eq!(tree(chain.path()), before);
        assert!(!other.path().join("backups.json").exists());
    };
    // The owner's file alone.
    let another = format!(r#"{{"format":1,"index":"{}"}}"#, Hash::of(b"another"));
    for damage in ["", "?", &another] {
        fs::write(&owner, damage).unwrap();
        is_refused();
        assert!(!back_up(tmp.path(), chain.path()).new);
        assert_eq!(fs::read(&owner).unwrap(), good);
    }
    fs::remove_file(&owner).unwrap();
    is_refused();
    let new = tempdir().unwrap();
    bring_back(chain.path(), new.path(), None, false);
    assert_eq!(tree(new.path()), tree(tmp.path()));
    back_up(tmp.path(), chain.path());
    assert_eq!(fs::read(&owner).unwrap(), good);
    // All lists, and then the owner's file too.
    for number in [1, 2] {
        fs::write(chain.path().join(format!("backups/{number}.json.gz")), "?").unwrap();
    }
    is_refused();
    fs::remove_file(&owner).unwrap();
    is_refused();
    let report = back_up(tmp.path(), chain.path());
    assert_eq!((report.backup, report.new_files, report.unreadable.len()), (3, 0, 2));
    assert_eq!(fs::read(&owner).unwrap(), good);
    // A folder in which a first backup was stopped before its first file is still empty.
    let stopped = tempdir().unwrap();
    fs::write(stopped.path().join("backup.json"), &good).unwrap();
    assert!(back_up(other.path(), stopped.path()).new);
    let error = refused(tmp.path(), stopped.path());
    assert!(error.contains("backups of another index"), "{error}");
}

fn other_index() -> TempDir {
    let other = tempdir().unwrap();
    let dir = IndexDir::create(other.path()).unwrap();
    dir.put_model(&model(0)).unwrap();
    commit(&dir, vec![shard(&dir, &model(0), 0, 7, 9)], &[], 16);
    other
}

/// Two copies of an index that each go on do not share a chain.
#[test]
fn copies_of_an_index_do_not_share_a_chain() {
    let (tmp, dir, chain) = backed_up();
    let copy = copy_of(tmp.path());
    let unchanged = copy_of(tmp.path());
    // While nothing came between, either may go on.
    assert!(!back_up(copy.path(), chain.path()).new);
    bury(&dir, &[10]);
    back_up(tmp.path(), chain.path());
    // Both have a generation 4 of their own; the other one has none.
    bury(&IndexDir::open(copy.path()).unwrap(), &[11]);
    let before = tree(chain.path());
    for other in [copy.path(), unchanged.path()] {
        for note in [true, false] {
            if !note {
                fs::remove_file(other.join("backups.json")).unwrap();
            }
            let error = backup(other, chain.path(), 0, 1, &silent).unwrap_err().to_string();
            assert!(error.contains("another copy of this index"), "{error}");
            assert!(error.contains("an empty folder"), "{error}");
            assert_eq!(tree(chain.path()), before);
        }
    }
    // What the message says works: a chain of its own, or the state of the backup.
    back_up(copy.path(), tempdir().unwrap().path());
    bring_back(chain.path(), unchanged.path(), None, true);
    bury(&IndexDir::open(unchanged.path()).unwrap(), &[12]);
    assert_eq!(back_up(unchanged.path(), chain.path()).backup, 3);
    // Then the first one is the other.
    bury(&dir, &[13]);
    backup(tmp.path(), chain.path(), 0, 1, &silent).unwrap_err();
}

/// An index that was restored from an earlier backup goes on with its chain: generations of one
/// number have a place each, and each backup gives back its own.
#[test]
fn a_restored_index_goes_on_with_its_chain() {
    let (tmp, dir, chain) = backed_up();
    let mut states = vec![tree(tmp.path())];
    for id in [10, 20] {
        bury(&dir, &[id]);
        back_up(tmp.path(), chain.path());
        states.push(tree(tmp.path()));
    }
    let again = tempdir().unwrap();
    bring_back(chain.path(), again.path(), Some(1), false);
    let dir = IndexDir::open(again.path()).unwrap();
    for id in [30, 40] {
        bury(&dir, &[id]);
        back_up(again.path(), chain.path());
        states.push(tree(again.path()));
    }
    for (number, state) in (1..).zip(&states) {
        let new = tempdir().unwrap();
        bring_back(chain.path(), new.path(), Some(number), false);
        assert_eq!(tree(new.path()), *state, "backup {number}");
    }
    assert_eq!(check(chain.path(), 1, &silent).unwrap().faults, [""; 0]);
}

/// A directory that lost its note, and whose generations are all later, goes on.
#[test]
fn a_lost_note_ends_no_chain() {
    let (tmp, dir, chain) = backed_up();
    bury(&dir, &[10]);
    fs::remove_file(tmp.path().join("backups.json")).unwrap();
    assert_eq!(back_up(tmp.path(), chain.path()).backup, 2);
}

/// A directory of which all generations are later than the newest backup may be of another history:
/// it must know that it made the backup.
#[test]
fn a_copy_that_has_only_later_generations_is_refused() {
    let (tmp, dir, chain) = backed_up();
    let copy = copy_of(tmp.path());
    bury(&dir, &[10]);
    back_up(tmp.path(), chain.path());
    let second = IndexDir::open(copy.path()).unwrap();
    for id in [11, 12, 13] {
        bury(&second, &[id]);
    }
    for number in 1..=5 {
        fs::remove_file(copy.path().join(format!("generations/{number}.json"))).unwrap();
    }
    for has_note in [true, false] {
        if !has_note {
            fs::remove_file(copy.path().join("backups.json")).unwrap();
        }
        let error = refused(copy.path(), chain.path());
        // Without a note, and without a generation that the chain has, it is no copy either.
        let what = if has_note { "another copy of this index" } else { "another index" };
        assert!(error.contains(what), "{error}");
    }
    // The one that made the newest backup may have none of its generations any more.
    bury(&dir, &[14]);
    for number in 1..=4 {
        fs::remove_file(tmp.path().join(format!("generations/{number}.json"))).unwrap();
    }
    // Nor must the chain stay where it was.
    let moved = tempdir().unwrap();
    let moved = moved.path().join("moved");
    fs::rename(chain.path(), &moved).unwrap();
    assert_eq!(back_up(tmp.path(), &moved).backup, 3);
}

/// A backup that failed before its list was there is not one that the directory made.
#[test]
fn a_backup_that_failed_is_not_remembered() {
    let (tmp, dir, chain) = backed_up();
    let copy = copy_of(tmp.path());
    bury(&dir, &[10]);
    // The list cannot be written.
    let lock = chain.path().join(".lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    assert!(refused(tmp.path(), chain.path()).contains(".lock"));
    fs::remove_dir(&lock).unwrap();
    bury(&IndexDir::open(copy.path()).unwrap(), &[11]);
    assert_eq!(back_up(copy.path(), chain.path()).backup, 2);
    let error = refused(tmp.path(), chain.path());
    assert!(error.contains("another copy of this index"), "{error}");
}

/// Where the newest list is damaged, the directory that made it goes on, and no other.
#[test]
fn a_damaged_newest_list_is_of_the_one_that_made_it() {
    let (tmp, dir, chain) = backed_up();
    let copy = copy_of(tmp.path());
    bury(&dir, &[10]);
    back_up(tmp.path(), chain.path());
    let list = chain.path().join("backups/2.json.gz");
    fs::write(&list, "?").unwrap();
    let error = refused(copy.path(), chain.path());
    assert!(error.contains("newest backup cannot be read"), "{error}");
    assert!(error.contains("an empty folder"), "{error}");
    // What the message says works.
    bring_back(chain.path(), copy.path(), Some(1), true);
    let again = copy_of(tmp.path());
    assert_eq!(back_up(copy.path(), chain.path()).backup, 3);
    // The state is that of backup 1, and so the first one has its generation.
    assert_eq!(back_up(again.path(), chain.path()).backup, 4);
}

/// Files of another history do not come among the generations of one that stays current.
#[test]
fn a_current_generation_stays_in_its_own_history() {
    let (tmp, dir, chain) = backed_up();
    let copy = copy_of(tmp.path());
    bury(&dir, &[10]);
    back_up(tmp.path(), chain.path());
    bury(&IndexDir::open(copy.path()).unwrap(), &[11]);
    let before = tree(copy.path());
    let options = RestoreOptions { force: true, keep_current: true, ..RestoreOptions::default() };
    let error = restore(chain.path(), copy.path(), &options, &silent).unwrap_err().to_string();
    assert!(error.contains("generation 4 is another one"), "{error}");
    assert_eq!(tree(copy.path()), before);
    // A restoration that keeps the current generation does not make the directory one of the chain.
    let earlier = RestoreOptions { backup: Some(1), ..options };
    restore(chain.path(), copy.path(), &earlier, &silent).unwrap();
    assert!(refused(copy.path(), chain.path()).contains("another copy of this index"));
}

/// A note that a later version of Ocelli wrote is neither read nor replaced.
#[test]
fn a_note_of_a_later_version_stays() {
    let (tmp, _) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    let note = tmp.path().join("backups.json");
    let later = r#"{"format":9,"index":"?","more":1}"#;
    fs::write(&note, later).unwrap();
    assert!(refused(tmp.path(), chain.path()).contains("version 9"));
    let options = RestoreOptions { force: true, ..RestoreOptions::default() };
    restore(chain.path(), tmp.path(), &options, &silent).unwrap_err();
    assert_eq!(fs::read_to_string(&note).unwrap(), later);
    // A damaged one is written anew: the chain knows the index.
    fs::write(&note, "?").unwrap();
    assert!(!back_up(tmp.path(), chain.path()).new);
    assert_eq!(known_chains(tmp.path()).unwrap().len(), 1);
}
