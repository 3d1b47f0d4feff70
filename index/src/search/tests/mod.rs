//! A generation's files: each must be the one that is named, and `verify` sees all of them.

mod filtered;
mod refine;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use roaring::RoaringBitmap;

use super::params::SearchParams;
use super::snapshot::Snapshot;
use crate::base::error::{Error, FileTrouble};
use crate::base::hash::Hash;
use crate::files::container::{FileKind, Reader, SectionKind, TILE_BYTES, Writer};
use crate::generations::IndexDir;
use crate::generations::NewGeneration;
use crate::model::Model;
use crate::model::fine::FineCodec;
use crate::model::{Metric, tests::small};
use crate::shard::ShardBuilder;
use crate::shard::{Shard, ShardEntry};
use crate::{ErrorCode, inspect};

const ROWS: u64 = 90;

fn x(id: u64) -> Vec<f32> {
    (0..12).map(|i| ((id * 31 + i * 7) % 17) as f32 / 9.0 - 0.9).collect()
}

/// Shard `task` of `plan`, whose ids are every third number and keys are of equal lengths.
fn shard(dir: &IndexDir, model: &Model, plan: &[u8], task: u32) -> ShardEntry {
    let mut b = ShardBuilder::new(model);
    for i in 0..ROWS {
        let id = 1000 + 3 * (ROWS - i) + u64::from(task) * 3 * ROWS;
        b.push(id, &format!("photos/{id}.jpg"), &x(id)).unwrap();
    }
    dir.put_shard(b, Hash::of(plan), task).unwrap()
}

fn generation(model: &Model, shards: Vec<ShardEntry>) -> NewGeneration {
    let (tombstones, deletes) = (BTreeMap::new(), None);
    NewGeneration { model: model.hash(), shards, tombstones, deletes, next_id: 10_000 }
}

/// An index of two shards of equal size.
fn two_shards(root: &Path) -> (IndexDir, Model, Vec<PathBuf>) {
    let dir = IndexDir::create(root).unwrap();
    let model = small(Metric::L2, false, 1);
    dir.put_model(&model).unwrap();
    let shards = vec![shard(&dir, &model, b"plan", 0), shard(&dir, &model, b"plan", 1)];
    assert_eq!(shards[0].bytes, shards[1].bytes, "so that the size tells nothing");
    let paths = shards.iter().map(|shard| dir.shard_path(&shard.name).unwrap()).collect();
    dir.commit(None, generation(&model, shards)).unwrap();
    (dir, model, paths)
}

/// The error of the second shard: it alone fails, and the first one's rows are found.
fn second_fails(root: &Path, whole: &[u64]) -> Error {
    let error = Snapshot::open(root, None).unwrap_err();
    let snapshot = Snapshot::open_degraded(root, None, None).unwrap();
    let params = SearchParams { k: 10, nprobe: 7, allow_partial: true, ..SearchParams::default() };
    let result = snapshot.search(&x(1000), &params).unwrap();
    assert_eq!(result.failed.len(), 1);
    assert_eq!(result.failed[0].error.to_string(), error.to_string());
    let first = |id: &u64| *id <= 1000 + 3 * ROWS;
    assert!(result.hits.len() == 10 && result.hits.iter().all(|hit| first(&hit.id)));
    let found: Vec<u64> = result.hits.iter().map(|hit| hit.id).collect();
    assert!(whole.iter().filter(|id| first(id)).all(|id| found.contains(id)));
    let strict = snapshot.search(&x(1000), &SearchParams { allow_partial: false, ..params });
    assert_eq!(strict.unwrap_err().to_string(), error.to_string());
    error
}

/// A sound file of the right size in the place of another one.
#[test]
fn a_misplaced_shard_fails_alone_and_says_so() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, model, paths) = two_shards(tmp.path());
    let params = SearchParams { k: 10, nprobe: 7, ..SearchParams::default() };
    let whole = Snapshot::open(tmp.path(), None).unwrap().search(&x(1000), &params).unwrap();
    let whole: Vec<u64> = whole.hits.iter().map(|hit| hit.id).collect();
    let good = fs::read(&paths[1]).unwrap();
    let other_model = small(Metric::L2, false, 2);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = IndexDir::create(elsewhere.path()).unwrap();
    let other_file = |entry: &ShardEntry| other.shard_path(&entry.name).unwrap();
    // The same plan and task, but a key is another one.
    let mut b = ShardBuilder::new(&model);
    for i in 0..ROWS {
        let id = 1000 + 3 * (ROWS - i) + 3 * ROWS;
        b.push(id, &format!("photos/{id}.{}", if i == 5 { "gif" } else { "jpg" }), &x(id)).unwrap();
    }
    let changed = other.put_shard(b, Hash::of(b"plan"), 1).unwrap();
    let part = elsewhere.path().join("a.part");
    let mut w = Writer::create(&part, FileKind::Part).unwrap();
    w.section(SectionKind::Meta, true, b"{}").unwrap();
    w.finish().unwrap();
    for (file, what) in [
        (paths[0].clone(), "task 0, expected 1"),
        (other_file(&shard(&other, &model, b"other", 1)), "plan "),
        (other_file(&changed), "seal "),
        (other_file(&shard(&other, &other_model, b"plan", 1)), "model "),
        (part, "kind part, expected shard"),
    ] {
        fs::copy(&file, &paths[1]).unwrap();
        let error = second_fails(tmp.path(), &whole);
        assert!(matches!(error, Error::Misplaced { .. }), "{error}");
        assert_eq!(error.code(), ErrorCode::DataLoss);
        let text = error.to_string();
        assert!(text.contains(what) && text.contains(&paths[1].display().to_string()), "{text}");
        assert!(inspect(tmp.path(), true).is_err());
        // Nor is a generation made of it.
        let current = dir.current().unwrap().unwrap();
        let again = dir.commit(Some(1), generation(&model, current.shards));
        assert!(matches!(again, Err(Error::Misplaced { .. })), "{again:?}");
    }
    fs::write(&paths[1], good).unwrap();
    Snapshot::open(tmp.path(), None).unwrap().verify().unwrap();
}

/// A file that is gone, one that is cut, and one that the system does not give are three things.
#[test]
fn what_the_system_refuses_goes_on_from_its_mapping() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, model, paths) = two_shards(tmp.path());
    let params = SearchParams { k: 20, nprobe: 7, ..SearchParams::default() };
    let before = Snapshot::open(tmp.path(), None).unwrap();
    let whole = before.search(&x(1000), &params).unwrap().hits;
    let aside = tmp.path().join("aside");
    let good = fs::read(&paths[1]).unwrap();
    let missing = |snapshot: &Snapshot| snapshot.missing().next().unwrap().error.trouble();
    // A link that leads to itself is refused to everybody, root included.
    fs::rename(&paths[1], &aside).unwrap();
    std::os::unix::fs::symlink(&paths[1], &paths[1]).unwrap();
    let fresh = Snapshot::open_degraded(tmp.path(), None, None).unwrap();
    assert_eq!(missing(&fresh), Some(FileTrouble::Refused));
    let error = fresh.search(&x(1000), &params).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    let again = Snapshot::open_degraded(tmp.path(), None, Some(&before)).unwrap();
    assert_eq!((again.missing().len(), again.kept().len()), (0, 1));
    assert_eq!(again.kept()[0].name, dir.current().unwrap().unwrap().shards[1].name);
    assert_eq!(again.search(&x(1000), &params).unwrap().hits, whole);
    // It goes on from one reload to the next, and the model's file may be refused too.
    let model_path = dir.model_path(&model.hash()).unwrap();
    let model_bytes = fs::read(&model_path).unwrap();
    fs::remove_file(&model_path).unwrap();
    std::os::unix::fs::symlink(&model_path, &model_path).unwrap();
    let third = Snapshot::open_degraded(tmp.path(), None, Some(&again)).unwrap();
    assert_eq!(third.kept().iter().map(|k| k.name.as_str()).next(), Some("model"));
    assert_eq!(third.kept().len(), 2);
    assert_eq!(third.search(&x(1000), &params).unwrap().hits, whole);
    fs::remove_file(&model_path).unwrap();
    fs::write(&model_path, model_bytes).unwrap();
    // Absence and damage are not kept.
    fs::remove_file(&paths[1]).unwrap();
    let gone = Snapshot::open_degraded(tmp.path(), None, Some(&third)).unwrap();
    assert_eq!((missing(&gone), gone.kept().len()), (Some(FileTrouble::Missing), 0));
    fs::write(&paths[1], &good[..good.len() / 2]).unwrap();
    let cut = Snapshot::open_degraded(tmp.path(), None, Some(&third)).unwrap();
    assert_eq!((missing(&cut), cut.kept().len()), (Some(FileTrouble::Damaged), 0));
    fs::write(&paths[1], good).unwrap();
    let healed = Snapshot::open_degraded(tmp.path(), None, Some(&cut)).unwrap();
    assert_eq!((healed.missing().len(), healed.kept().len()), (0, 0));
    assert_eq!(healed.search(&x(1000), &params).unwrap().hits, whole);
}

#[test]
fn an_id_that_stands_twice_is_refused_at_commit_with_both_places() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = IndexDir::create(tmp.path()).unwrap();
    let model = small(Metric::InnerProduct, false, 1);
    dir.put_model(&model).unwrap();
    let write = |task: u32, rows: &[(u64, &str)]| {
        let mut b = ShardBuilder::new(&model);
        rows.iter().for_each(|(id, key)| b.push(*id, key, &x(*id)).unwrap());
        dir.put_shard(b, Hash::of(b"plan"), task).unwrap()
    };
    let odd = write(0, &[(9, "nine"), (1, "one"), (5, "five"), (700, "far")]);
    let even = write(1, &[(8, "eight"), (2, "two")]);
    let apart = write(2, &[(1000, ""), (1001, "")]);
    let twice = write(3, &[(4, "four"), (5, "another five")]);
    dir.commit(None, generation(&model, vec![odd.clone(), even.clone(), apart.clone()])).unwrap();
    let mut new = generation(&model, vec![twice.clone(), apart, even, odd.clone()]);
    let error = dir.commit(Some(1), new.clone()).unwrap_err();
    let text = error.to_string();
    for part in ["id 5 ", "\"five\"", "\"another five\"", &odd.name, &twice.name, "ordinal 2"] {
        assert!(text.contains(part), "{text}: expected {part}");
    }
    assert_eq!(dir.current().unwrap().unwrap().number, 1);
    // One of the two is deleted: then it is there once.
    let hash = dir.put_tombstones(&RoaringBitmap::from_iter([1u32])).unwrap();
    new.tombstones.insert(twice.name.clone(), hash);
    dir.commit(Some(1), new.clone()).unwrap();
    Snapshot::open(tmp.path(), None).unwrap().verify().unwrap();
    // A shard that is named twice, and tombstones past its rows, are refused too.
    let doubled = generation(&model, vec![odd.clone(), odd.clone()]);
    assert!(dir.commit(Some(2), doubled).is_err());
    let hash = dir.put_tombstones(&RoaringBitmap::from_iter([4u32])).unwrap();
    let mut past = generation(&model, vec![odd.clone()]);
    past.tombstones.insert(odd.name.clone(), hash);
    let text = dir.commit(Some(2), past).unwrap_err().to_string();
    assert!(text.contains("ordinal 4 of 4 rows"), "{text}");
}

/// Flips a byte at both ends and in the middle of every section of every file, in the padding, the
/// checksums and the footer: each is seen.
#[test]
fn verify_sees_damage_in_every_section_of_every_file() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = IndexDir::create(tmp.path()).unwrap();
    let mut model = small(Metric::L2, true, 5);
    model.group_centroids(Some(3));
    let refinement = FineCodec::sq8(model.hash(), &[0.02; 12], &[1e-6; 12]).unwrap();
    let model = model.with_fine_codec(refinement).unwrap();
    dir.put_model(&model).unwrap();
    let shards = vec![shard(&dir, &model, b"plan", 0), shard(&dir, &model, b"plan", 1)];
    let hash = dir.put_tombstones(&RoaringBitmap::from_iter([3u32, 4, 60])).unwrap();
    let mut new = generation(&model, shards);
    new.tombstones.insert(new.shards[1].name.clone(), hash);
    dir.commit(None, new).unwrap();
    inspect(tmp.path(), true).unwrap();

    let mut files = Vec::new();
    for folder in ["models", "shards", "tombstones", "generations", "."] {
        for entry in fs::read_dir(tmp.path().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
            if path.is_file() && !hidden {
                files.push(path);
            }
        }
    }
    let (mut flips, mut kinds) = (0, std::collections::BTreeSet::new());
    for path in files {
        let good = fs::read(&path).unwrap();
        let mut places = vec![0, good.len() / 2, good.len() - 1];
        let container = Reader::open_any(&path).ok();
        if let Some(file) = &container {
            let mut end = 0;
            for s in file.sections() {
                kinds.insert((file.kind().name(), s.known().unwrap().name()));
                assert!(s.len > 0);
                places.extend(
                    [s.offset, s.offset + s.len / 2, s.offset + s.len - 1].map(|p| p as usize),
                );
                // Padding before it.
                places.extend((end < s.offset).then_some(end as usize));
                end = s.offset + s.len;
            }
            // The checksums, the footer's table, its checksum.
            let data = (end as usize).next_multiple_of(4096);
            let checks = 4 * data.div_ceil(TILE_BYTES);
            places.extend([data - 1, data, data + checks, data + checks + 9, good.len() - 9]);
        }
        drop(container);
        for at in places {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            // Another file of that name, as mappings of the good one may be open.
            fs::remove_file(&path).unwrap();
            fs::write(&path, bad).unwrap();
            let outcome = inspect(tmp.path(), true);
            assert!(outcome.is_err(), "{}: byte {at} of {}", path.display(), good.len());
            flips += 1;
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, good).unwrap();
    }
    inspect(tmp.path(), true).unwrap();
    let names = |kind| kinds.iter().filter(|k| k.0 == kind).map(|k| k.1).collect::<Vec<_>>();
    assert_eq!(names("model").len(), 7, "{kinds:?}");
    assert_eq!(names("shard").len(), 11, "{kinds:?}");
    assert!(flips > 100, "{flips}");
}

/// Sections whose checksums are right but which contradict each other.
#[test]
fn verify_sees_sections_that_disagree() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = IndexDir::create(tmp.path()).unwrap();
    let model = small(Metric::L2, false, 1);
    let entry = shard(&dir, &model, b"plan", 0);
    let good = Shard::open(&dir.shard_path(&entry.name).unwrap(), &model).unwrap();
    let bad = tmp.path().join("bad.shard");
    let proven = |path: &Path| {
        let shard = Shard::open(path, &model)?;
        shard.verify()?;
        shard.verify_codes(&model, 0..model.parts().nlist as u32)
    };
    // Writes the shard anew with one section changed, and its checksums right.
    let write = |kind: SectionKind, change: &dyn Fn(&mut Vec<u8>)| {
        let mut w = Writer::create(&bad, FileKind::Shard).unwrap();
        for s in good.file().sections() {
            let mut bytes = good.file().read(s, 0, s.len).unwrap().to_vec();
            let found = s.known().unwrap();
            if found == kind {
                change(&mut bytes);
            }
            w.section(found, s.required(), &bytes).unwrap();
        }
        w.finish().unwrap();
        proven(&bad)
    };
    write(SectionKind::Meta, &|_| {}).unwrap();
    // Of each section: a bit that leaves its length as it is.
    let flip = |at: usize| move |bytes: &mut Vec<u8>| bytes[at] ^= 1;
    for (kind, at) in [
        (SectionKind::Ordinals, 0),
        (SectionKind::ListOf, 0),
        (SectionKind::Ids, 1),
        (SectionKind::IdMap, 0),
        (SectionKind::KeyMap, 3),
        (SectionKind::ListTable, 12),
    ] {
        let outcome = write(kind, &flip(at));
        assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{kind:?}: {outcome:?}");
    }
    let outcome = write(SectionKind::Scalars, &|bytes| bytes.fill(255));
    assert!(outcome.unwrap_err().to_string().contains("its scalar says"));
    // One row fewer has a key than the shard says.
    let keys = SectionKind::Keys;
    let all: Vec<String> = (0..ROWS as u32).map(|o| good.key(o).unwrap()).collect();
    let outcome = write(keys, &|bytes| {
        let fewer = all.iter().enumerate().map(|(i, k)| if i == 7 { "" } else { k });
        *bytes = crate::files::keys::encode(fewer.collect::<Vec<_>>().into_iter()).unwrap();
    });
    assert!(outcome.unwrap_err().to_string().contains("rows have a key"));
    let outcome = write(keys, &|bytes| {
        let swapped = all.iter().rev().map(String::as_str);
        *bytes = crate::files::keys::encode(swapped.collect::<Vec<_>>().into_iter()).unwrap();
    });
    assert!(outcome.unwrap_err().to_string().contains("does not lead back"));
}
