//! New rows against old ones: only pairs with a new row count.

use std::collections::BTreeSet;

use ocelli_index::IndexDir;
use ocelli_index::{Metric, Part};
use ocelli_indexer::FineChoice;
use ocelli_indexer::dedup::pairs::RowSet;
use ocelli_indexer::lifecycle::{CompactOptions, add, compact};
use ocelli_indexer::silent;

use super::world::{
    Found, Image, World, build_options, dedup, model, pairs, plain, with_copies, write_part,
};

const OLD: usize = 2000;

/// Old rows with copies among them, and new ones: copies of old rows, copies of each other, others.
fn images() -> (Vec<Image>, Vec<Image>) {
    let old = plain("old", &with_copies(OLD, 31, 0.02));
    let mut new = plain("new", &with_copies(300, 32, 0.02));
    for (row, image) in new.iter_mut().enumerate().take(100) {
        image.vector = old[row * 10].vector.iter().map(|x| x + 0.005).collect();
    }
    (old, new)
}

/// Keys of all pairs with a new row that reach the threshold.
fn brute(old: &[Image], new: &[Image], threshold: f32) -> BTreeSet<[String; 2]> {
    let mut want = BTreeSet::new();
    let all: Vec<&Image> = new.iter().chain(old).collect();
    for (i, a) in new.iter().enumerate() {
        for b in &all[i + 1..] {
            if Metric::L2.of(&a.vector, &b.vector) <= threshold {
                let mut keys = [a.key.clone(), b.key.clone()];
                keys.sort();
                want.insert(keys);
            }
        }
    }
    want
}

fn check(found: &[Found], want: &BTreeSet<[String; 2]>) {
    let keys = |pair: &Found| {
        let mut keys = [pair.a_key.clone(), pair.b_key.clone()];
        keys.sort();
        keys
    };
    let keys: Vec<[String; 2]> = found.iter().map(keys).collect();
    let once: BTreeSet<_> = keys.iter().cloned().collect();
    assert_eq!(once.len(), keys.len(), "a pair is there twice");
    assert!(once.is_subset(want));
    assert!(once.len() as f64 >= 0.99 * want.len() as f64, "{} of {}", once.len(), want.len());
    assert!(want.len() > 100, "{} pairs", want.len());
    assert!(keys.iter().all(|keys| keys.iter().any(|key| key.starts_with("new"))));
    // Both kinds are there.
    let mixed = keys.iter().filter(|keys| keys[1].starts_with("old")).count();
    assert!(mixed >= 95 && keys.len() > mixed, "{mixed} of {}", keys.len());
}

const THRESHOLD: f32 = 0.01;

#[test]
fn a_batch_against_a_collection() {
    let (old, new) = images();
    for fine in [Some(FineChoice::F16), None] {
        let folder = tempfile::tempdir().unwrap();
        let trained = model(folder.path(), &old, Metric::L2, (16, 4), fine);
        let path = folder.path().join("model");
        trained.write(&path).unwrap();
        let collection = World::under(folder, &trained, &old, 2);
        let again = ocelli_index::Model::open(&path).unwrap();
        let batch = World::under(tempfile::tempdir().unwrap(), &again, &new, 1);
        let mut options = batch.options(THRESHOLD, "out");
        options.against = Some(collection.index.clone());
        if fine.is_none() {
            options.vectors = vec![batch.part.clone(), collection.part.clone()];
        }
        for tasks in [1, 5] {
            options.tasks = tasks;
            dedup(&options, None, &silent).unwrap();
            let found = pairs(&options.out);
            check(&found, &brute(&old, &new, THRESHOLD));
            // Rows of the other index come behind.
            assert!(found.iter().all(|pair| pair.a_key.starts_with("new")));
            let by = if fine.is_none() { "vectors" } else { "fine_codes" };
            assert!(found.iter().all(|pair| pair.scored_by == by));
        }
    }
}

#[test]
fn indexes_of_two_models_are_refused() {
    let (old, new) = images();
    let collection = World::new(&old, Metric::L2, (16, 4), None, 1);
    let batch = World::new(&new, Metric::L2, (4, 4), None, 1);
    let mut options = batch.options(THRESHOLD, "out");
    options.against = Some(collection.index.clone());
    let error = dedup(&options, None, &silent).unwrap_err().to_string();
    assert!(error.contains("different models") && error.contains("ocelli rebuild"), "{error}");
}

/// Rows that were added since; also where a compaction has put them beside old ones, and where one
/// took the place of an old row.
#[test]
fn rows_since_a_generation() {
    let (old, mut new) = images();
    // An old row whose picture has changed is new.
    new[0].key = "old10".to_owned();
    let world = World::new(&old, Metric::L2, (16, 4), Some(FineChoice::F16), 2);
    let path = world.folder.path().join("new.part");
    write_part(&path, &new);
    add(&[Part::open(&path).unwrap()], &world.index, &build_options(1), true, &silent).unwrap();
    new[0].key = "new0".to_owned();
    let renamed = |mut found: Vec<Found>, is_new: &dyn Fn(u64) -> bool| {
        for pair in &mut found {
            for (key, row) in [(&mut pair.a_key, pair.a), (&mut pair.b_key, pair.b)] {
                if key == "old10" && is_new(row) {
                    *key = "new0".to_owned();
                }
            }
        }
        found
    };
    let mut left = old.clone();
    left.remove(10);
    let mut options = world.options(THRESHOLD, "out");
    options.since = Some(1);
    dedup(&options, None, &silent).unwrap();
    let before = renamed(pairs(&options.out), &|row| row >= OLD as u64);
    check(&before, &brute(&left, &new, THRESHOLD));

    let all = CompactOptions { all: true, memory_budget_bytes: 0 };
    compact(&world.index, &all, &silent).unwrap();
    let dir = IndexDir::open(&world.index).unwrap();
    let rows = RowSet::open((&dir, None), None, Some(1)).unwrap();
    let old_rows = (0..rows.count()).filter(|&row| rows.is_old(rows.row(row))).count();
    assert_eq!((rows.count(), old_rows), ((OLD + 299) as u64, OLD - 1));
    dedup(&options, None, &silent).unwrap();
    let after = renamed(pairs(&options.out), &|row| !rows.is_old(rows.row(row)));
    let keys = |found: &[Found]| -> BTreeSet<[String; 2]> {
        let pair = |pair: &Found| {
            let mut keys = [pair.a_key.clone(), pair.b_key.clone()];
            keys.sort();
            keys
        };
        found.iter().map(pair).collect()
    };
    assert_eq!(keys(&before), keys(&after));

    for (since, says) in [(3, "expected a generation before 3"), (0, "generations that are there")]
    {
        options.since = Some(since);
        let error = dedup(&options, None, &silent).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Equal rows hang on an old one, and old ones do not hang on each other.
#[test]
fn equal_rows_hang_on_an_old_one() {
    let (mut old, mut new) = images();
    let hash = |n: u8| Some([n; 32]);
    for (images, base) in [(&mut old, 0u32), (&mut new, 100_000)] {
        for (number, image) in images.iter_mut().enumerate() {
            let mut sha256 = [0; 32];
            sha256[..4].copy_from_slice(&(base + number as u32 + 1).to_le_bytes());
            image.sha256 = Some(sha256);
        }
    }
    for (images, rows) in [(&mut old, [1500, 1600]), (&mut new, [200, 250])] {
        rows.into_iter().for_each(|row| images[row].sha256 = hash(9));
    }
    let folder = tempfile::tempdir().unwrap();
    let trained = model(folder.path(), &old, Metric::L2, (16, 4), Some(FineChoice::F16));
    let path = folder.path().join("model");
    trained.write(&path).unwrap();
    let collection = World::under(folder, &trained, &old, 1);
    let again = ocelli_index::Model::open(&path).unwrap();
    let batch = World::under(tempfile::tempdir().unwrap(), &again, &new, 1);
    let mut options = batch.options(THRESHOLD, "out");
    options.against = Some(collection.index.clone());
    let report = dedup(&options, None, &silent).unwrap();
    assert_eq!(report.join.groups.same_file, 3);
    let found = pairs(&options.out);
    let same: Vec<(&str, &str)> = found
        .iter()
        .filter(|pair| pair.label == "same_file")
        .map(|pair| (pair.a_key.as_str(), pair.b_key.as_str()))
        .collect();
    assert_eq!(same, [("new200", "old1500"), ("new250", "old1500")]);
}
