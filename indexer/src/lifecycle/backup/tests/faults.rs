//! Faults of an index while it is backed up, of the disk, and numbers that cannot be.

use super::*;

/// The index with a shard that only generations 2 and 3 need, and that shard's path.
fn with_an_earlier_shard() -> (TempDir, IndexDir, PathBuf) {
    let (tmp, dir) = index();
    let shards = dir.current().unwrap().unwrap().shards;
    commit(&dir, vec![shards[0].clone()], &[], 2 * ROWS);
    let path = dir.shard_path(&shards[1].name).unwrap();
    (tmp, dir, path)
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// A damaged file that only earlier generations need ends no backup: they are left out, whether the
/// chain has the file or not.
#[test]
fn an_earlier_generation_that_is_damaged_is_left_out() {
    for has_it in [true, false] {
        for damage in [flip, cut] {
            let (tmp, dir, path) = with_an_earlier_shard();
            let chain = tempdir().unwrap();
            if has_it {
                back_up(tmp.path(), chain.path());
                bury(&dir, &[10]);
            }
            damage(&path);
            let report = back_up(tmp.path(), chain.path());
            let is_flip = fs::metadata(&path).unwrap().len() == report_size(&dir, &path);
            if has_it && is_flip {
                // The chain has its bytes, so nothing is lost, and nothing reads those here.
                assert_eq!(report.left_out, [""; 0]);
                continue;
            }
            let lost: Vec<bool> = [2, 3]
                .iter()
                .map(|n| {
                    let what = format!("generation {n}: ");
                    report.left_out.iter().any(|line| line.starts_with(&what))
                })
                .collect();
            assert_eq!((lost, report.left_out.len()), (vec![true, true], 2), "{report:?}");
            assert!(report.left_out[0].contains(path.file_name().unwrap().to_str().unwrap()));
            assert_eq!(report.healed, [""; 0]);
            let new = tempdir().unwrap();
            bring_back(chain.path(), new.path(), None, false);
            let restored = IndexDir::open(new.path()).unwrap().generations().unwrap();
            let all = dir.generations().unwrap();
            let expected: Vec<u64> = all.into_iter().filter(|n| ![2, 3].contains(n)).collect();
            assert_eq!(restored, expected);
            Snapshot::open(new.path(), None).unwrap().verify().unwrap();
            assert_eq!(check(chain.path(), 1, &silent).unwrap().faults, [""; 0]);
        }
    }
    // What the current generation needs ends it, and the error says so.
    let (tmp, dir, _) = with_an_earlier_shard();
    let shards = dir.current().unwrap().unwrap().shards;
    flip(&dir.shard_path(&shards[0].name).unwrap());
    let error = refused(tmp.path(), tempdir().unwrap().path());
    assert!(error.contains("generation 4, which is current"), "{error}");
    assert!(error.contains(&shards[0].name), "{error}");
}

/// The size of a shard as generation 3 has it.
fn report_size(dir: &IndexDir, path: &Path) -> u64 {
    let generation = dir.generation(3).unwrap();
    let is_it = |name: &str| dir.shard_path(name).unwrap() == path;
    generation.shards.iter().find(|shard| is_it(&shard.name)).unwrap().bytes
}

/// Only what is lost or damaged is left out, and never what alone says which ids were given.
#[test]
fn what_is_not_lost_is_not_left_out() {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    let path = tmp.path().join("generations/1.json");
    let good = fs::read(&path).unwrap();
    fs::write(&path, r#"{"generation":{"format":2,"number":1},"checksum":"?"}"#).unwrap();
    assert!(refused(tmp.path(), chain.path()).contains("newer than this program"));
    fs::write(&path, good).unwrap();
    // Generation 4 gives ids, and then generation 3 is current again.
    let current = fs::read(tmp.path().join("CURRENT")).unwrap();
    let mut shards = dir.current().unwrap().unwrap().shards;
    shards.push(shard(&dir, &model(0), 9, 1000, ROWS));
    let new = dir.shard_path(&shards[2].name).unwrap();
    commit(&dir, shards, &[], 1000 + ROWS);
    fs::write(tmp.path().join("CURRENT"), &current).unwrap();
    let last = tmp.path().join("generations/4.json");
    for path in [&new, &last] {
        let good = fs::read(path).unwrap();
        for damage in [flip, cut] {
            damage(path);
            let error = refused(tmp.path(), chain.path());
            assert!(error.contains("generation 4 cannot be left out"), "{error}");
            assert_eq!(list_backups(chain.path()).map_or(0, |all| all.len()), 0);
            fs::write(path, &good).unwrap();
        }
    }
    // Where the chain loses a generation that gave ids, this is said.
    back_up(tmp.path(), chain.path());
    let files = &backups(chain.path()).unwrap()[0].files;
    let file = files.iter().find(|file| file.name == "generations/4.json").unwrap();
    flip(&object_of(chain.path(), file));
    let options = RestoreOptions { leave_out_damaged: true, ..RestoreOptions::default() };
    let new = tempdir().unwrap();
    let report = restore(chain.path(), new.path(), &options, &silent).unwrap();
    assert!(report.left_out[0].contains("ids that it gave are given again"), "{report:?}");
}

/// Puts a file in the place of another whose bytes the system fails to read, with EIO.
#[cfg(target_os = "linux")]
fn fail(path: &Path) {
    fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", path).unwrap();
    assert_eq!(fs::read(path).unwrap_err().raw_os_error(), Some(5));
}

/// A file of the chain that the disk does not give back counts as damaged.
#[cfg(target_os = "linux")]
#[test]
fn a_dying_disk_is_damage() {
    let (tmp, dir, chain) = backed_up();
    bury(&dir, &[10]);
    back_up(tmp.path(), chain.path());
    let all = backups(chain.path()).unwrap();
    for file in all[1].files.iter().filter(|file| !all[0].files.contains(file)) {
        let object = object_of(chain.path(), file);
        fail(&object);
        let error = no_way_back(chain.path(), None);
        assert!(error.contains("--backup 1"), "{error}");
        let report = back_up(tmp.path(), chain.path());
        assert_eq!((report.new_files, report.healed.len()), (1, 1), "{report:?}");
        assert_eq!(check(chain.path(), 1, &silent).unwrap().faults, [""; 0]);
    }
    let earlier = all[1].files.iter().find(|file| file.name == "generations/1.json").unwrap();
    fail(&object_of(chain.path(), earlier));
    let options = RestoreOptions { leave_out_damaged: true, ..RestoreOptions::default() };
    let new = tempdir().unwrap();
    assert_eq!(restore(chain.path(), new.path(), &options, &silent).unwrap().left_out.len(), 1);
    back_up(tmp.path(), chain.path());
    fail(&chain.path().join("backups/2.json.gz"));
    let error = no_way_back(chain.path(), None);
    assert!(error.contains("backup 2 cannot be restored"), "{error}");
    assert!(error.contains("--backup 1"), "{error}");
    assert_eq!(back_up(tmp.path(), chain.path()).backup, 3);
    fail(&chain.path().join("backup.json"));
    back_up(tmp.path(), chain.path());
    assert_eq!(list_backups(chain.path()).unwrap().iter().filter(|line| line.whole).count(), 2);
}

/// Rewrites a list, whatever it has then.
fn change_list(chain: &Path, number: u64, change: impl Fn(&mut serde_json::Value)) {
    let path = chain.join(format!("backups/{number}.json.gz"));
    let unpacked = flate2::read::GzDecoder::new(File::open(&path).unwrap());
    let mut list: serde_json::Value = serde_json::from_reader(unpacked).unwrap();
    change(&mut list);
    let level = flate2::Compression::best();
    let mut packed = flate2::write::GzEncoder::new(File::create(&path).unwrap(), level);
    serde_json::to_writer(&mut packed, &list).unwrap();
    packed.finish().unwrap();
}

/// Sizes that cannot be are damage, and end no process.
#[test]
fn sizes_that_cannot_be_are_damage() {
    let (tmp, _dir) = index();
    for bytes in [u64::MAX, 1 << 63, (1 << 62) + 1, 1 << 62] {
        let chain = tempdir().unwrap();
        back_up(tmp.path(), chain.path());
        change_list(chain.path(), 1, |list| list["listed"][0]["bytes"] = bytes.into());
        let listed = list_backups(chain.path()).unwrap();
        assert!(!listed[0].whole && !listed[0].faults.is_empty());
        let report = check(chain.path(), 1, &silent).unwrap();
        assert!(report.whole.is_empty() && !report.faults.is_empty());
        assert!(readable_backups(chain.path()).is_empty());
        assert!(no_way_back(chain.path(), None).contains("corrupt"));
        assert_eq!(back_up(tmp.path(), chain.path()).backup, 2);
    }
}

/// The command that a failed restoration names works in the same directory.
#[test]
fn the_way_out_works_where_something_was_written() {
    let (tmp, dir, chain) = backed_up();
    let state = tree(tmp.path());
    let mut shards = dir.current().unwrap().unwrap().shards;
    shards.push(shard(&dir, &model(0), 9, 1000, ROWS));
    let added = format!("shards/{}", shards[2].name);
    commit(&dir, shards, &[], 1000 + ROWS);
    back_up(tmp.path(), chain.path());
    let files = &backups(chain.path()).unwrap()[1].files;
    flip(&object_of(chain.path(), files.iter().find(|file| file.name == added).unwrap()));
    let new = tempdir().unwrap();
    let stages = parking_lot::Mutex::new(BTreeSet::new());
    let see = |p: Progress| {
        stages.lock().insert(p.stage);
    };
    let options = RestoreOptions::default();
    let error = restore(chain.path(), new.path(), &options, &see).unwrap_err().to_string();
    assert!(error.ends_with("--backup 1 --force"), "{error}");
    // That another backup is read for it can be seen.
    assert!(stages.lock().contains("prove another backup"));
    bring_back(chain.path(), new.path(), Some(1), true);
    let restored = tree(new.path());
    assert!(state.iter().all(|(name, bytes)| restored.get(name) == Some(bytes)));
}

/// A quick backup that meets damage says what heals it.
#[test]
fn a_quick_backup_says_what_heals() {
    let (tmp, dir, chain) = backed_up();
    bury(&dir, &[10]);
    let files = &backups(chain.path()).unwrap()[0].files;
    let file = files.iter().find(|file| file.name.starts_with("tombstones/")).unwrap();
    flip(&object_of(chain.path(), file));
    let options = BackupOptions { quick: true, ..BackupOptions::default() };
    let error = backup_with(tmp.path(), chain.path(), &options, &silent).unwrap_err().to_string();
    assert!(error.contains("without --quick"), "{error}");
    assert_eq!(back_up(tmp.path(), chain.path()).healed.len(), 1);
}

/// Files that are named much as lists are no lists.
#[test]
fn other_names_are_no_numbers() {
    let (tmp, _dir) = index();
    let chain = tempdir().unwrap();
    back_up(tmp.path(), chain.path());
    for name in ["05.json.gz", "+7.json.gz"] {
        fs::write(chain.path().join("backups").join(name), "?").unwrap();
    }
    assert_eq!(list_backups(chain.path()).unwrap().len(), 1);
    let last = chain.path().join(format!("backups/{}.json.gz", u64::MAX));
    fs::write(&last, "?").unwrap();
    let error = refused(tmp.path(), chain.path());
    assert!(error.contains("move that file out of the folder"), "{error}");
    fs::remove_file(last).unwrap();
    assert!(!back_up(tmp.path(), chain.path()).new);
}
