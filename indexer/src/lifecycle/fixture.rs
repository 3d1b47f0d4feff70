//! A small index for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ocelli_index::{
    Cause, Change, DescriptorSpec, Generation, Hash, IndexDir, Metric, Model, ModelParts, Names,
    NewGeneration, ShardBuilder, ShardEntry, Snapshot,
};
use tempfile::TempDir;

use super::change::commit_by;

pub(crate) const ROWS: u64 = 60;

pub(crate) fn model(seed: u32) -> Model {
    let spread = |n: u32, scale: f32| -> Vec<f32> {
        (0..n).map(|i| ((i + seed) as f32 * 1.7).sin() * scale).collect()
    };
    Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("test", 4).unwrap(),
        metric: Metric::L2,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: 4,
        d: 4,
        nlist: 3,
        coarse: spread(12, 1.0).into(),
        m: 2,
        ksub: 16,
        codebooks: spread(64, 0.3),
        training: BTreeMap::new(),
    })
    .unwrap()
}

pub(crate) fn shard(dir: &IndexDir, model: &Model, task: u32, first: u64, rows: u64) -> ShardEntry {
    let mut b = ShardBuilder::new(model);
    for id in first..first + rows {
        let x: Vec<f32> = (0..4).map(|j| ((id * 7 + j) as f32 * 0.31).sin()).collect();
        b.push(id, &format!("photo {id}"), &x).unwrap();
    }
    dir.put_shard(b, Hash::of(b"plan"), task).unwrap()
}

/// A shard of rows with ids and keys of their own.
pub(crate) fn shard_with(dir: &IndexDir, task: u32, rows: &[(u64, &str)]) -> ShardEntry {
    let model = model(0);
    let mut b = ShardBuilder::new(&model);
    for (id, key) in rows {
        let x: Vec<f32> = (0..4).map(|j| ((id % 1000 * 7 + j) as f32 * 0.31).sin()).collect();
        b.push(*id, key, &x).unwrap();
    }
    dir.put_shard(b, Hash::of(b"plan"), task).unwrap()
}

/// Ids of the rows that the current generation has.
pub(crate) fn living(root: &Path) -> BTreeSet<u64> {
    let snapshot = Snapshot::open(root, None).unwrap();
    let mut ids = BTreeSet::new();
    for (number, shard) in snapshot.shards().enumerate() {
        let dead = snapshot.deleted(number as u32);
        let alive = (0..shard.rows()).filter(|&row| !dead.is_some_and(|dead| dead.contains(row)));
        ids.extend(alive.map(|row| shard.id(row).unwrap()));
    }
    ids
}

/// Three generations: one shard; two; two, with some rows deleted.
pub(crate) fn index() -> (TempDir, IndexDir) {
    let tmp = tempfile::tempdir().unwrap();
    let dir = IndexDir::create(tmp.path()).unwrap();
    let model = model(0);
    dir.put_model(&model).unwrap();
    let first = shard(&dir, &model, 0, 0, ROWS);
    let second = shard(&dir, &model, 1, ROWS, ROWS);
    let commit = |expected, shards: Vec<ShardEntry>, dead: &[u32]| {
        let mut tombstones = BTreeMap::new();
        if !dead.is_empty() {
            let hash = dir.put_tombstones(&dead.iter().copied().collect()).unwrap();
            tombstones.insert(shards[0].name.clone(), hash);
        }
        let next_id = shards.len() as u64 * ROWS;
        let model = model.hash();
        let new = NewGeneration { model, shards, tombstones, deletes: None, next_id };
        dir.commit(expected, new).unwrap();
    };
    commit(None, vec![first.clone()], &[]);
    commit(Some(1), vec![first.clone(), second.clone()], &[]);
    commit(Some(2), vec![first, second], &[3, 4]);
    (tmp, dir)
}

/// Commits a generation of these shards, with some rows of the first deleted.
pub(crate) fn commit(dir: &IndexDir, shards: Vec<ShardEntry>, dead: &[u32], next_id: u64) {
    let mut tombstones = BTreeMap::new();
    if !dead.is_empty() {
        let hash = dir.put_tombstones(&dead.iter().copied().collect()).unwrap();
        tombstones.insert(shards[0].name.clone(), hash);
    }
    let model = model(0).hash();
    let new = NewGeneration { model, shards, tombstones, deletes: None, next_id };
    let current = dir.current().unwrap().map(|current| current.number);
    dir.commit(current, new).unwrap();
}

/// Deletes rows by id, as the command does.
pub(crate) fn bury(dir: &IndexDir, ids: &[u64]) {
    let names = Names { ids: ids.to_vec(), keys: Vec::new() };
    let change = Change::Delete { names, cause: Cause::Delete };
    dir.commit_change(&change, &commit_by("delete", &[])).unwrap();
}

/// Adds a shard; rows of the same key or id make room.
pub(crate) fn upsert(dir: &IndexDir, shard: ShardEntry, next_id: u64) {
    let current = dir.current().unwrap().unwrap();
    let change = Change::Add {
        parent: current.number,
        model: current.model,
        shards: vec![shard],
        first_id: None,
        next_id,
        supersede: true,
    };
    dir.commit_change(&change, &commit_by("upsert", &[])).unwrap();
}

/// Makes a generation current without any of the checks of a commit.
pub(crate) fn force(dir: &IndexDir, generation: &Generation) {
    let compact = serde_json::to_vec(generation).unwrap();
    let checksum = Hash::of(&compact);
    let sealed = serde_json::json!({ "generation": generation, "checksum": checksum });
    let path = dir.root().join(format!("generations/{}.json", generation.number));
    fs::write(path, serde_json::to_vec(&sealed).unwrap()).unwrap();
    let line = format!("{} {checksum}\n", generation.number);
    fs::write(dir.root().join("CURRENT"), line).unwrap();
}

/// Every file of an index, by its name, without those that only this machine knows.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if !name.starts_with('.') && name != "backups.json" {
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}
