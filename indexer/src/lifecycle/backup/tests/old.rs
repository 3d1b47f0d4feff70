//! Chains of format 1, as Ocelli wrote them before generations had files of their own.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// What the earlier version wrote for backup `number` of a directory.
fn back_up_as_before(root: &Path, target: &Path, number: u64) {
    for folder in ["objects", "backups"] {
        fs::create_dir_all(target.join(folder)).unwrap();
    }
    let note = root.join("backups.json");
    let files = tree(root);
    let oldest = files.iter().find(|(name, _)| name.starts_with("generations/")).unwrap();
    let index = match fs::read(target.join("backup.json")) {
        Ok(owner) => serde_json::from_slice::<serde_json::Value>(&owner).unwrap()["index"].take(),
        Err(_) => Hash::of(oldest.1).to_string().into(),
    };
    let (mut listed, mut sizes) = (Vec::new(), Vec::new());
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "CURRENT") {
        let hash = Hash::of(bytes);
        match name.ends_with(".json") {
            true => fs::write(target.join(format!("objects/{hash}.gz")), packed(bytes)).unwrap(),
            false => fs::write(target.join(format!("objects/{hash}")), bytes).unwrap(),
        }
        match name.starts_with("generations/") || name.starts_with("models/") {
            true => listed.push(serde_json::json!({
                "name": name, "bytes": bytes.len(), "sha256": hash.to_string(),
            })),
            false => sizes.push(bytes.len()),
        }
    }
    let current = String::from_utf8(files["CURRENT"].clone()).unwrap();
    let generation: u64 = current.split(' ').next().unwrap().parse().unwrap();
    let list = serde_json::json!({
        "format": 1, "index": index, "number": number, "generation": generation,
        "current": current, "listed": listed, "sizes": sizes, "time_ms": 0,
    });
    let list = packed(&serde_json::to_vec(&list).unwrap());
    fs::write(target.join(format!("backups/{number}.json.gz")), list).unwrap();
    let owner = serde_json::json!({ "format": 1, "index": index });
    fs::write(target.join("backup.json"), owner.to_string()).unwrap();
    let chains = [target.canonicalize().unwrap()];
    let known = serde_json::json!({ "format": 1, "index": index, "chains": chains });
    fs::write(note, known.to_string()).unwrap();
}

/// A chain of three backups, and the states that they are of.
fn old_chain() -> (TempDir, IndexDir, TempDir, Vec<BTreeMap<String, Vec<u8>>>) {
    let (tmp, dir) = index();
    let chain = tempdir().unwrap();
    let mut states = Vec::new();
    for number in 1..=3 {
        bury(&dir, &[10 * number]);
        back_up_as_before(tmp.path(), chain.path(), number);
        states.push(tree(tmp.path()));
    }
    (tmp, dir, chain, states)
}

#[test]
fn old_backups_are_read() {
    let (tmp, _dir, chain, states) = old_chain();
    assert_restored(chain.path(), &states);
    let before = tree(chain.path());
    // Nothing is new, nothing is said to be lost, and nothing is copied.
    let report = back_up(tmp.path(), chain.path());
    assert_eq!((report.new, report.backup, report.new_files), (false, 3, 0));
    assert_eq!((report.written_bytes, &report.healed[..]), (0, &[][..]));
    let after = tree(chain.path());
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));
    assert_restored(chain.path(), &states);
}

/// The first backups after an update cost what is new, and the old ones stay as they were.
#[test]
fn old_chains_go_on() {
    let (tmp, dir, chain, mut states) = old_chain();
    for id in [40, 50] {
        bury(&dir, &[id]);
        let report = back_up(tmp.path(), chain.path());
        assert_eq!((report.new_files, &report.healed[..]), (3, &[][..]));
        assert!(report.written_bytes as f64 <= 1.1 * report.new_bytes as f64, "{report:?}");
        states.push(tree(tmp.path()));
    }
    assert_restored(chain.path(), &states);
    let again = tempdir().unwrap();
    bring_back(chain.path(), again.path(), Some(2), false);
    bury(&IndexDir::open(again.path()).unwrap(), &[60]);
    back_up(again.path(), chain.path());
    states.push(tree(again.path()));
    assert_restored(chain.path(), &states);
}

/// An index of which nothing is left that the old chain has goes on: the earlier version wrote down
/// no history. Another one does not.
#[test]
fn a_chain_without_history_goes_on() {
    let (tmp, dir, chain, mut states) = old_chain();
    let other = copy_of(tmp.path());
    fs::remove_file(other.path().join("backups.json")).unwrap();
    for (dir, id) in [(&dir, 40), (&IndexDir::open(other.path()).unwrap(), 41)] {
        bury(dir, &[id]);
        for number in 1..=6 {
            let path = dir.root().join(format!("generations/{number}.json"));
            fs::remove_file(path).unwrap();
        }
        sweep(dir.root());
    }
    assert!(refused(other.path(), chain.path()).contains("another index"));
    let report = back_up(tmp.path(), chain.path());
    assert_eq!((report.backup, &report.healed[..]), (4, &[][..]));
    states.push(tree(tmp.path()));
    assert_restored(chain.path(), &states);
}

/// Files of old chains are healed as others are.
#[test]
fn old_chains_heal() {
    let (tmp, _dir, chain, states) = old_chain();
    back_up(tmp.path(), chain.path());
    for file in &backups(chain.path()).unwrap()[2].files {
        let object = object_of(chain.path(), file);
        flip(&object);
        let report = back_up(tmp.path(), chain.path());
        assert_eq!(report.healed.len(), 1, "{report:?}");
        assert_restored(chain.path(), &states);
    }
    // Before generations have files of their own.
    for is_lost in [false, true] {
        let (tmp, _dir, chain, states) = old_chain();
        let file = &backups(chain.path()).unwrap()[0].files;
        let file = file.iter().find(|file| file.name == "generations/2.json").unwrap();
        let object = object_of(chain.path(), file);
        flip(&object);
        if is_lost {
            fs::remove_file(&object).unwrap();
        }
        assert!(no_way_back(chain.path(), None).contains("generation 2"));
        let report = back_up(tmp.path(), chain.path());
        assert_eq!(report.healed.len(), 1, "{report:?}");
        assert!(report.healed[0].starts_with("generations/2.json"));
        assert_restored(chain.path(), &states);
    }
}

/// A generation that a later version wrote is not damaged.
#[test]
fn a_generation_of_a_later_version_is_not_lost() {
    let (tmp, _dir) = index();
    let chain = tempdir().unwrap();
    let later = r#"{"generation":{"format":2,"number":4,"more":1},"checksum":"?"}"#;
    fs::write(tmp.path().join("generations/4.json"), later).unwrap();
    back_up_as_before(tmp.path(), chain.path(), 1);
    let options = RestoreOptions { leave_out_damaged: true, ..RestoreOptions::default() };
    let new = tempdir().unwrap();
    let error = restore(chain.path(), new.path(), &options, &silent).unwrap_err().to_string();
    assert!(error.contains("version 2 is newer"), "{error}");
    assert!(list_backups(chain.path()).unwrap()[0].faults[0].contains("newer"));
}
