//! Chains with damaged and lost files.

use super::*;

/// Damages an object, which held these bytes.
type Damage = fn(&Path, &[u8]);
/// A flipped bit, a cut, and the loss of all.
const DAMAGES: [Damage; 3] = [
    |object, good| {
        let mut bad = good.to_vec();
        bad[good.len() / 2] ^= 1;
        fs::write(object, bad).unwrap();
    },
    |object, good| fs::write(object, &good[..good.len() / 2]).unwrap(),
    |object, _| fs::remove_file(object).unwrap(),
];

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
        let object = object_of(chain.path(), file);
        let good = fs::read(&object).unwrap();
        for damage in DAMAGES {
            damage(&object, &good);
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

/// Whatever object of a chain is damaged or lost, the next backup of the same index writes it again
/// and says so; then every backup can be restored.
#[test]
fn a_backup_heals_its_chain() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    bury(&dir, &[70]);
    back_up(tmp.path(), chain.path());
    bury(&dir, &[80, 81]);
    let state = tree(tmp.path());
    back_up(tmp.path(), chain.path());
    for file in &backups(chain.path()).unwrap()[1].files {
        let object = object_of(chain.path(), file);
        let good = fs::read(&object).unwrap();
        for damage in DAMAGES {
            damage(&object, &good);
            assert_ne!(check(chain.path(), 1, &silent).unwrap().faults, [""; 0]);
            let report = back_up(tmp.path(), chain.path());
            assert!(!report.new && report.backup == 2 && report.new_files == 1, "{report:?}");
            assert_eq!(report.healed.len(), 1);
            assert!(report.healed[0].starts_with(&file.name), "{report:?}");
            assert_eq!(fs::read(&object).unwrap(), good);
            assert_eq!(check(chain.path(), 1, &silent).unwrap().faults, [""; 0]);
        }
    }
    // A list that is damaged is lost: it is named, and a new backup has what it had.
    fs::write(chain.path().join("backups/2.json.gz"), "?").unwrap();
    let report = back_up(tmp.path(), chain.path());
    assert!(report.new && report.backup == 3 && report.new_files == 0);
    assert!(report.unreadable.len() == 1 && report.unreadable[0].contains("2.json.gz"));
    let new = tempdir().unwrap();
    bring_back(chain.path(), new.path(), None, false);
    assert_eq!(tree(new.path()), state);
    // A quick backup proves no bytes, but sees sizes.
    let shard = &readable_backups(chain.path())[0].files;
    let shard = shard.iter().find(|file| file.name.starts_with("shards/")).unwrap();
    let object = object_of(chain.path(), shard);
    let mut bytes = fs::read(&object).unwrap();
    bytes[100] ^= 1;
    fs::write(&object, &bytes).unwrap();
    let options = BackupOptions { quick: true, ..BackupOptions::default() };
    let quick = || backup_with(tmp.path(), chain.path(), &options, &silent).unwrap();
    assert_eq!(quick().new_files, 0);
    fs::write(&object, &bytes[..100]).unwrap();
    assert_eq!(quick().healed.len(), 1);
}

/// Damage to what only the newest backup needs leaves the earlier ones whole. Without a number the
/// newest is restored or nothing: the error names the newest that is whole.
#[test]
fn the_newest_whole_backup_is_named() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    let mut states = Vec::new();
    for id in [10, 20, 30] {
        bury(&dir, &[id]);
        back_up(tmp.path(), chain.path());
        states.push(tree(tmp.path()));
    }
    let later: Vec<BackupFile> = {
        let all = backups(chain.path()).unwrap();
        let new = all[2].files.iter().filter(|file| !all[1].files.contains(file));
        new.cloned().collect()
    };
    assert_eq!(later.len(), 3);
    let list = chain.path().join("backups/3.json.gz");
    let objects = later.iter().map(|file| object_of(chain.path(), file));
    for path in objects.chain([list]) {
        let good = fs::read(&path).unwrap();
        flip(&path);
        for number in [None, Some(3)] {
            let error = no_way_back(chain.path(), number);
            assert!(error.contains("backup 3 cannot be restored"), "{error}");
            assert!(error.contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
            assert!(error.contains("--backup 2") && !error.contains("leave-out"), "{error}");
        }
        assert_eq!(check(chain.path(), 1, &silent).unwrap().whole, [1, 2]);
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        let listed = list_backups(chain.path()).unwrap();
        let whole: Vec<bool> = listed.iter().map(|line| line.whole).collect();
        assert_eq!(whole, [true, true, false], "{listed:?}");
        assert!(!listed[2].faults.is_empty());
        let numbers = readable_backups(chain.path());
        assert_eq!(numbers.iter().map(|backup| backup.number).collect::<Vec<u64>>(), [1, 2]);
        for (number, state) in [(1, &states[0]), (2, &states[1])] {
            let new = tempdir().unwrap();
            bring_back(chain.path(), new.path(), Some(number), false);
            assert_eq!(tree(new.path()), *state);
        }
        fs::write(&path, good).unwrap();
    }
    fs::remove_file(chain.path().join("backups/1.json.gz")).unwrap();
    let error = no_way_back(chain.path(), Some(1));
    assert!(error.contains("no backup 1; there are 2, 3"), "{error}");
    assert_eq!(check(chain.path(), 1, &silent).unwrap().faults, [""; 0]);
}

/// A file that only an earlier generation needs takes nothing from the current one, which comes
/// back where that is asked for.
#[test]
fn a_damaged_earlier_generation_can_be_left_out() {
    let (tmp, dir, chain) = backed_up();
    let shards = dir.current().unwrap().unwrap().shards;
    commit(&dir, vec![shards[0].clone()], &[], 2 * ROWS);
    bury(&dir, &[10]);
    back_up(tmp.path(), chain.path());
    let state = tree(tmp.path());
    let files = &backups(chain.path()).unwrap()[1].files;
    let named = |name: &str| files.iter().find(|file| file.name == name).unwrap();
    let shard = named(&format!("shards/{}", shards[1].name));
    // The second shard is in generations 2 and 3.
    let cases = [(named("generations/1.json"), &[1][..]), (shard, &[2, 3][..])];
    let options = RestoreOptions { leave_out_damaged: true, ..RestoreOptions::default() };
    for (file, lost) in cases {
        let object = object_of(chain.path(), file);
        let good = fs::read(&object).unwrap();
        for is_lost in [false, true] {
            flip(&object);
            if is_lost {
                fs::remove_file(&object).unwrap();
            }
            let error = no_way_back(chain.path(), None);
            assert!(error.contains("no other backup of the chain is whole"), "{error}");
            assert!(error.contains("--leave-out-damaged"), "{error}");
            assert_eq!(check(chain.path(), 1, &silent).unwrap().whole, [0; 0]);
            let new = tempdir().unwrap();
            let report = restore(chain.path(), new.path(), &options, &silent).unwrap();
            assert_eq!(report.generation, 5);
            let restored = tree(new.path());
            for (name, bytes) in &restored {
                assert!(state.get(name) == Some(bytes), "{name}");
            }
            // Where the file of a generation is gone, nothing but CURRENT proves one.
            let is_generation = file.name.starts_with("generations/");
            let lost = if is_lost && is_generation { &[1, 2, 3, 4][..] } else { lost };
            let has = |number: &u64| restored.contains_key(&format!("generations/{number}.json"));
            let gone: Vec<u64> = (1..=5).filter(|number| !has(number)).collect();
            assert_eq!(gone, lost);
            assert!(!report.left_out.is_empty());
            Snapshot::open(new.path(), None).unwrap().verify().unwrap();
            fs::write(&object, &good).unwrap();
        }
    }
    assert_eq!(check(chain.path(), 1, &silent).unwrap().whole, [1, 2]);
    // What the current generation needs cannot be left out.
    flip(&object_of(chain.path(), named(&format!("shards/{}", shards[0].name))));
    let new = tempdir().unwrap();
    let error = restore(chain.path(), new.path(), &options, &silent).unwrap_err().to_string();
    assert!(error.contains("no other backup") && !error.contains("leave-out"), "{error}");
}

/// The lost file of a generation comes again under the name that lists give it, and so do two of
/// one number.
#[test]
fn lost_generations_of_two_histories_come_again() {
    let (tmp, dir, chain) = backed_up();
    let mut states = vec![tree(tmp.path())];
    let again = tempdir().unwrap();
    bring_back(chain.path(), again.path(), None, false);
    for id in [10, 20] {
        bury(&dir, &[id]);
        back_up(tmp.path(), chain.path());
        states.push(tree(tmp.path()));
    }
    bring_back(chain.path(), again.path(), Some(1), true);
    let second = IndexDir::open(again.path()).unwrap();
    bury(&second, &[30]);
    back_up(again.path(), chain.path());
    states.push(tree(again.path()));
    let names = || -> Vec<String> {
        let names = tree(chain.path()).into_keys();
        names.filter(|name| name.starts_with("generations/")).collect()
    };
    let before = names();
    for name in &before {
        let is_fourth = name.starts_with("generations/4-");
        if is_fourth {
            fs::remove_file(chain.path().join(name)).unwrap();
        }
    }
    assert_eq!(before.len() - names().len(), 2);
    assert!(no_way_back(chain.path(), Some(2)).contains("lost files of generations: 4"));
    // The second history comes first.
    let healed = back_up(again.path(), chain.path()).healed;
    assert_eq!(healed, ["generations/4.json: was lost"]);
    let options = RestoreOptions {
        backup: Some(3),
        force: true,
        leave_out_damaged: true,
        ..RestoreOptions::default()
    };
    restore(chain.path(), tmp.path(), &options, &silent).unwrap();
    back_up(tmp.path(), chain.path());
    states.push(tree(tmp.path()));
    assert_eq!(names(), before);
    assert_restored(chain.path(), &states);
}
