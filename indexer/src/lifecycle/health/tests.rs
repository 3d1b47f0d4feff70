use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use ocelli_index::{
    DescriptorSpec, Hash, IndexDir, Metric, Model, ModelParts, NewGeneration, ShardBuilder,
    ShardEntry,
};
use tempfile::TempDir;

use super::*;
use crate::silent;

const ROWS: u64 = 60;

fn model(seed: u32) -> Model {
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

fn shard(dir: &IndexDir, model: &Model, task: u32, first: u64, rows: u64) -> ShardEntry {
    let mut b = ShardBuilder::new(model);
    for id in first..first + rows {
        let x: Vec<f32> = (0..4).map(|j| ((id * 7 + j) as f32 * 0.31).sin()).collect();
        b.push(id, &format!("photo {id}"), &x).unwrap();
    }
    dir.put_shard(b, Hash::of(b"plan"), task).unwrap()
}

/// Three generations: one shard; two; two, with some rows deleted.
fn index() -> (TempDir, IndexDir) {
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

fn quick(root: &Path) -> HealthReport {
    examine(root, &HealthOptions { quick: true, threads: 2 }, &silent).unwrap()
}

fn whole(root: &Path) -> HealthReport {
    examine(root, &HealthOptions { quick: false, threads: 2 }, &silent).unwrap()
}

#[test]
fn nothing_is_wrong_with_a_sound_index() {
    let (tmp, _) = index();
    for report in [quick(tmp.path()), whole(tmp.path())] {
        assert_eq!(report.findings, []);
        assert_eq!((report.generation, report.sound), (Some(3), vec![1, 2, 3]));
    }
}

/// The file of a kind, the only one or the last by name.
fn file_in(root: &Path, folder: &str) -> PathBuf {
    let mut files: Vec<_> =
        fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.pop().unwrap()
}

fn shard_of(root: &Path, number: usize) -> PathBuf {
    let current = IndexDir::open(root).unwrap().generation(3).unwrap();
    root.join("shards").join(&current.shards[number].name)
}

fn replace(path: &Path, bytes: &[u8]) {
    // Another file of that name, as mappings of the good one may be open.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    replace(path, &bytes);
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    replace(path, &bytes[..bytes.len() / 2]);
}

type Damage = (&'static str, fn(&Path), Part, &'static str);

/// Each kind of damage, the part that is to be named, and the command that mends it here.
const DAMAGES: &[Damage] = &[
    ("no CURRENT", |r| fs::remove_file(r.join("CURRENT")).unwrap(), Part::Current, "--to 3"),
    ("CURRENT is garbage", |r| fs::write(r.join("CURRENT"), "?").unwrap(), Part::Current, "--to 3"),
    (
        "CURRENT names a generation that is not there",
        |r| {
            let text = fs::read_to_string(r.join("CURRENT")).unwrap();
            fs::write(r.join("CURRENT"), text.replace("3 ", "9 ")).unwrap();
        },
        Part::Current,
        "--to 3",
    ),
    (
        "CURRENT has another checksum",
        |r| {
            let text = fs::read_to_string(r.join("CURRENT")).unwrap();
            fs::write(r.join("CURRENT"), text.replace("3 ", "2 ")).unwrap();
        },
        Part::Current,
        "--to 3",
    ),
    (
        "the generation is damaged",
        |r| flip(&r.join("generations/3.json")),
        Part::Generation,
        "--to 2",
    ),
    (
        "the generation is of a later version",
        |r| {
            let path = r.join("generations/3.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
        },
        Part::NewerGeneration,
        "update ocelli",
    ),
    (
        "the model is lost",
        |r| fs::remove_file(file_in(r, "models")).unwrap(),
        Part::Model,
        "restore",
    ),
    ("the model is cut", |r| cut(&file_in(r, "models")), Part::Model, "restore"),
    ("the model is damaged", |r| flip(&file_in(r, "models")), Part::Model, "restore"),
    ("a shard is lost", |r| fs::remove_file(shard_of(r, 1)).unwrap(), Part::Shard, "--to 1"),
    ("a shard is cut", |r| cut(&shard_of(r, 1)), Part::Shard, "--to 1"),
    ("a byte of a shard is another", |r| flip(&shard_of(r, 1)), Part::Shard, "--to 1"),
    (
        "a shard is another one",
        |r| replace(&shard_of(r, 1), &fs::read(shard_of(r, 0)).unwrap()),
        Part::Shard,
        "--to 1",
    ),
    (
        "tombstones are lost",
        |r| fs::remove_file(file_in(r, "tombstones")).unwrap(),
        Part::Tombstones,
        "--to 2",
    ),
    ("tombstones are damaged", |r| flip(&file_in(r, "tombstones")), Part::Tombstones, "--to 2"),
    (
        "a shard may not be read",
        |r| fs::set_permissions(shard_of(r, 0), fs::Permissions::from_mode(0o000)).unwrap(),
        Part::Permissions,
        "chmod u+rX",
    ),
];

#[test]
fn each_kind_of_damage_is_named_with_what_mends_it() {
    for (name, damage, part, command) in DAMAGES {
        let (tmp, _) = index();
        damage(tmp.path());
        let report = whole(tmp.path());
        assert!(!report.is_usable(), "{name}: {report:?}");
        let finding = report.findings.iter().find(|finding| finding.part == *part);
        let finding = finding.unwrap_or_else(|| panic!("{name}: {report:#?}"));
        assert_eq!(finding.severity, Severity::Damage, "{name}");
        assert!(finding.mend[0].contains(command), "{name}: {finding:#?}");
    }
}

/// Damage that only an earlier generation suffers from is a warning.
#[test]
fn an_earlier_generation_is_less_important() {
    let (tmp, _) = index();
    flip(&tmp.path().join("generations/1.json"));
    let report = whole(tmp.path());
    assert!(report.is_usable());
    assert_eq!(report.sound, [2, 3]);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].severity, Severity::Warning);
}

#[test]
fn what_lies_around_is_noted() {
    let (tmp, dir) = index();
    shard(&dir, &model(0), 7, 1000, 5);
    let left = tmp.path().join("shards/.shards.ocelli-00000000-0123456789abcdef.tmp");
    fs::write(left, [0; 100]).unwrap();
    let report = whole(tmp.path());
    assert!(report.is_usable());
    let parts: Vec<Part> = report.findings.iter().map(|finding| finding.part).collect();
    assert_eq!(parts, [Part::Temporary, Part::Unreferenced]);
    assert!(report.findings.iter().all(|f| f.mend[0].contains("gc")), "{report:?}");
}

#[test]
fn small_shards_and_deleted_rows_ask_for_compaction() {
    let (tmp, dir) = index();
    let model = model(0);
    let current = dir.current().unwrap().unwrap();
    let mut shards = current.shards;
    shards.extend((0..5).map(|i| shard(&dir, &model, 10 + i, 1000 + 5 * u64::from(i), 5)));
    let dead = dir.put_tombstones(&(0..40).collect()).unwrap();
    let tombstones = BTreeMap::from([(shards[0].name.clone(), dead)]);
    let model = model.hash();
    let new = NewGeneration { model, shards, tombstones, deletes: None, next_id: 2000 };
    dir.commit(Some(3), new).unwrap();
    let report = whole(tmp.path());
    let parts: Vec<Part> = report.findings.iter().map(|finding| finding.part).collect();
    assert_eq!(parts, [Part::SmallShards, Part::DeletedRows]);
    assert!(report.findings.iter().all(|f| f.mend[0].contains("compact")), "{report:?}");
}

#[test]
fn a_folder_without_a_generation_says_so() {
    let tmp = tempfile::tempdir().unwrap();
    IndexDir::create(tmp.path()).unwrap();
    assert!(looks_like_index(tmp.path()));
    let report = whole(tmp.path());
    assert_eq!(report.findings[0].part, Part::Directory);
    assert!(examine(&tmp.path().join("nowhere"), &HealthOptions::default(), &silent).is_err());
}
