use std::fs;

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
