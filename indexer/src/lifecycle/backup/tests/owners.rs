//! The directory that a chain is of goes on with it, whatever was lost, and no other does.

use std::sync::atomic::AtomicBool;

use super::*;

/// Removes all generations but the newest two, as `gc` does.
fn collect(dir: &IndexDir) {
    let numbers = dir.generations().unwrap();
    for number in &numbers[..numbers.len() - 2] {
        fs::remove_file(dir.root().join(format!("generations/{number}.json"))).unwrap();
    }
    sweep(dir.root());
}

/// Two disks that take turns at one path, each with its chain.
#[test]
fn disks_may_take_turns() {
    let (tmp, dir) = index();
    let mount = tempdir().unwrap();
    let place = |name: &str| mount.path().join(name);
    let swap = |from: &str, to: &str| {
        fs::rename(place("disk"), place(from)).unwrap();
        fs::rename(place(to), place("disk")).unwrap();
    };
    fs::create_dir(place("b")).unwrap();
    for id in [10, 11] {
        bury(&dir, &[id]);
        back_up(tmp.path(), &place("disk"));
    }
    swap("a", "b");
    for id in [20, 21, 22] {
        bury(&dir, &[id]);
        back_up(tmp.path(), &place("disk"));
        collect(&dir);
    }
    // The newest of disk A is of a generation that is gone, and so is that of disk B later.
    swap("b", "a");
    back_up(tmp.path(), &place("disk"));
    for id in [30, 31, 32] {
        bury(&dir, &[id]);
        collect(&dir);
    }
    swap("a", "b");
    let report = back_up(tmp.path(), &place("disk"));
    let new = tempdir().unwrap();
    bring_back(&place("disk"), new.path(), Some(report.backup), false);
    assert_eq!(tree(new.path()), tree(tmp.path()));
}

/// The newest list is lost, and the generation of the one before is gone: the chain goes on, and
/// gives no number again.
#[test]
fn a_lost_list_ends_no_chain() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    for id in [10, 11, 12] {
        bury(&dir, &[id]);
        back_up(tmp.path(), chain.path());
    }
    collect(&dir);
    bury(&dir, &[13]);
    collect(&dir);
    fs::remove_file(chain.path().join("backups/3.json.gz")).unwrap();
    assert_eq!(back_up(tmp.path(), chain.path()).backup, 4);
}

/// A backup that was killed once its list was there is known.
#[test]
fn a_backup_that_was_killed_last_is_known() {
    let (tmp, dir, chain) = backed_up();
    bury(&dir, &[10]);
    // The list cannot be written: what is noted before it stays.
    let lock = chain.path().join(".lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    refused(tmp.path(), chain.path());
    fs::remove_dir(&lock).unwrap();
    let note = fs::read(tmp.path().join("backups.json")).unwrap();
    back_up(tmp.path(), chain.path());
    fs::write(tmp.path().join("backups.json"), note).unwrap();
    for id in [11, 12] {
        bury(&dir, &[id]);
        collect(&dir);
    }
    assert_eq!(back_up(tmp.path(), chain.path()).backup, 3);
}

/// What an earlier version wrote down is understood.
#[test]
fn a_note_of_format_2_is_read() {
    let (tmp, dir, chain) = backed_up();
    let current = fs::read_to_string(tmp.path().join("CURRENT")).unwrap();
    let note = tmp.path().join("backups.json");
    let new: serde_json::Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    let place = chain.path().canonicalize().unwrap().display().to_string();
    let seen = serde_json::json!({ "backup": 1, "current": current.trim_end() });
    let old = serde_json::json!({
        "format": 2, "index": new["index"], "chains": [place], "newest": { place.as_str(): seen },
    });
    fs::write(&note, old.to_string()).unwrap();
    for id in [10, 11, 12] {
        bury(&dir, &[id]);
        collect(&dir);
    }
    assert_eq!(back_up(tmp.path(), chain.path()).backup, 2);
}

/// An index whose note was lost and that then began another chain is still that of the first one,
/// also once nothing is left that both have.
#[test]
fn an_index_may_have_two_names() {
    let (tmp, dir) = index();
    let (first, second) = (tempdir().unwrap(), tempdir().unwrap());
    bury(&dir, &[10]);
    back_up(tmp.path(), first.path());
    collect(&dir);
    fs::remove_file(tmp.path().join("backups.json")).unwrap();
    back_up(tmp.path(), second.path());
    bring_back(first.path(), tmp.path(), None, true);
    collect(&dir);
    back_up(tmp.path(), first.path());
    assert_eq!(known_chains(tmp.path()).unwrap().len(), 2);
    for id in [11, 12, 13] {
        bury(&dir, &[id]);
        collect(&dir);
    }
    for chain in [&first, &second] {
        assert!(back_up(tmp.path(), chain.path()).new);
        bring_back(chain.path(), tmp.path(), None, true);
        let new = tempdir().unwrap();
        bring_back(chain.path(), new.path(), None, false);
        assert_eq!(tree(new.path()), tree(tmp.path()));
    }
}

/// A refusal advises nothing by which something is lost, and what it says works.
#[test]
fn a_refusal_is_harmless() {
    let (tmp, dir, chain) = backed_up();
    let copy = copy_of(tmp.path());
    bury(&dir, &[10]);
    back_up(tmp.path(), chain.path());
    bury(&IndexDir::open(copy.path()).unwrap(), &[11]);
    let error = refused(copy.path(), chain.path());
    assert!(!error.contains("--force"), "{error}");
    assert!(error.contains("has another generation of that number"), "{error}");
    let new = tempdir().unwrap();
    bring_back(chain.path(), new.path(), None, false);
    bury(&IndexDir::open(new.path()).unwrap(), &[12]);
    assert_eq!(back_up(new.path(), chain.path()).backup, 3);
}

/// A copy that is behind and gets the files of the newest backup without its state stays a copy,
/// also when it goes on.
#[test]
fn files_alone_make_no_history() {
    let (tmp, dir, chain) = backed_up();
    let copy = copy_of(tmp.path());
    bury(&dir, &[10]);
    back_up(tmp.path(), chain.path());
    let options = RestoreOptions { force: true, keep_current: true, ..RestoreOptions::default() };
    let report = restore(chain.path(), copy.path(), &options, &silent).unwrap();
    assert_eq!(report.generation, 3);
    assert!(copy.path().join("generations/4.json").exists());
    for _ in 0..2 {
        assert!(refused(copy.path(), chain.path()).contains("another copy of this index"));
        bury(&IndexDir::open(copy.path()).unwrap(), &[11]);
    }
    bury(&dir, &[12]);
    assert_eq!(back_up(tmp.path(), chain.path()).backup, 3);
}

/// A current generation that cannot be read, but is not lost, is not replaced where it was to stay.
#[test]
fn a_current_generation_of_a_later_version_stays() {
    let (tmp, _dir) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    let later = r#"{"generation":{"format":2,"number":4},"checksum":"?"}"#;
    fs::write(tmp.path().join("generations/4.json"), later).unwrap();
    fs::write(tmp.path().join("CURRENT"), format!("4 {}\n", Hash::of(b"4"))).unwrap();
    let before = tree(tmp.path());
    let options = RestoreOptions { force: true, keep_current: true, ..RestoreOptions::default() };
    let error = restore(chain.path(), tmp.path(), &options, &silent).unwrap_err().to_string();
    assert!(error.contains("newer than this program"), "{error}");
    assert_eq!(tree(tmp.path()), before);
}

/// A backup that another copy adds while a directory is restored is not one that the directory came
/// from.
#[test]
fn what_is_added_meanwhile_is_another_history() {
    let (tmp, dir, chain) = backed_up();
    let new = tempdir().unwrap();
    let done = AtomicBool::new(false);
    let add = |_: Progress| {
        if !done.swap(true, Ordering::Relaxed) {
            bury(&dir, &[10]);
            assert_eq!(back_up(tmp.path(), chain.path()).backup, 2);
        }
    };
    let options = RestoreOptions { threads: 1, ..RestoreOptions::default() };
    restore(chain.path(), new.path(), &options, &add).unwrap();
    bury(&IndexDir::open(new.path()).unwrap(), &[11]);
    assert!(refused(new.path(), chain.path()).contains("another copy of this index"));
}

/// A chain within its index is found by where it is, and not by its name.
#[cfg(unix)]
#[test]
fn a_link_into_the_index_is_refused() {
    let (tmp, _dir) = index();
    let elsewhere = tempdir().unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(tmp.path(), &link).unwrap();
    let error = refused(tmp.path(), &link.join("backups"));
    assert!(error.contains("within the index"), "{error}");
    assert!(!tmp.path().join("backups").exists());
}
