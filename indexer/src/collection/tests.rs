use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::{DescriptorSpec, Dtype, Part, PartKind, PartWriter, Snapshot};
use tempfile::tempdir;

use super::folder::Folder;
use super::near_misses;
use super::plan::Plan;
use super::settings::{Source, SourceKind};
use super::sources;
use super::state::{self, Built, Entry, Outcome, Place, Planned, Seen, State};
use crate::{BuildOptions, OnDuplicate, TrainOptions, build_without, no_opq, silent, train};

fn seen(path: &str, bytes: u64) -> Seen {
    Seen {
        path: path.into(),
        bytes,
        modified_ms: Some(1_700_000_000_123),
        bounding_box: None,
        rotate: None,
    }
}

fn at(batch: u32, part: u32, row: u32) -> Outcome {
    Outcome::At(Place { batch, part, row })
}

fn state() -> State {
    let entry = |seen, id, outcome| Entry { seen, id, outcome };
    let boxed =
        Seen { bounding_box: Some([1.0, 2.5, 3.0, 4.0]), rotate: Some(90), ..seen("/c", 3) };
    let photos = [
        ("a/\"1\".jpg", entry(seen("/a", 1), 4, at(0, 1, 7))),
        ("b.jpg", entry(seen("/b", 2), 5, Outcome::Rejected("not an image".into()))),
        ("c.jpg", entry(boxed, u64::MAX >> 1, at(1, 0, 0))),
        ("d.jpg", entry(seen("/d", 4), 6, Outcome::Rejected("cannot read: denied".into()))),
    ];
    State {
        next_id: 7,
        next_batch: 2,
        batches: [0, 1].into(),
        built: Some(Built { generation: 3, rows: "abc".into() }),
        photos: photos.map(|(key, entry)| (key.to_owned(), entry)).into(),
    }
}

/// What is written is read; a damaged line is named.
#[test]
fn a_state_stays() {
    let dir = tempdir().unwrap();
    let folder = Folder::at(dir.path()).unwrap();
    assert_eq!(State::read(&folder).unwrap(), State::default());
    fs::create_dir(folder.photos()).unwrap();
    let state = state();
    state.write(&folder).unwrap();
    assert_eq!(State::read(&folder).unwrap(), state);
    assert_eq!(state.rows().count(), 2);
    let photos = vec![("x".to_owned(), Planned { seen: seen("/x", 9), id: 1 })];
    let plan = dir.path().join("plan");
    state::write_plan(&plan, &photos).unwrap();
    assert_eq!(state::read_plan(&plan).unwrap(), Some(photos));
    assert_eq!(state::read_plan(&dir.path().join("none")).unwrap(), None);
    let text = fs::read_to_string(folder.state()).unwrap();
    fs::write(folder.state(), text.replace("\"b.jpg\"", "b.jpg")).unwrap();
    let error = State::read(&folder).unwrap_err().to_string();
    assert!(error.contains("state.jsonl: line 3"), "{error}");
}

/// Size, time, box and turn decide; what cannot be read may be readable now.
#[test]
fn a_plan_has_what_changed() {
    let dir = tempdir().unwrap();
    let readable = dir.path().join("d");
    fs::write(&readable, "").unwrap();
    let mut state = state();
    let now = |d: &Path| -> BTreeMap<String, Seen> {
        let photos = [
            ("a/\"1\".jpg", seen("/elsewhere/a", 1)),
            ("b.jpg", seen("/b", 2)),
            ("c.jpg", seen("/c", 3)),
            ("d.jpg", Seen { path: d.to_owned(), ..seen("", 4) }),
            ("e.jpg", seen("/e", 5)),
        ];
        photos.map(|(key, seen)| (key.to_owned(), seen)).into()
    };
    let ids = |plan: &Plan| -> Vec<(String, u64)> {
        plan.photos.iter().map(|(key, planned)| (key.clone(), planned.id)).collect()
    };
    let plan = Plan::new(&mut state, &now(Path::new("/no/such/file")));
    // The box of c is gone, e is new.
    let expected = [("c.jpg".to_owned(), u64::MAX >> 1), ("e.jpg".to_owned(), 7)];
    assert_eq!(ids(&plan), expected);
    assert_eq!((plan.kept, plan.kept_rejected, plan.added, plan.changed), (1, 2, 1, 1));
    assert_eq!(state.photos["a/\"1\".jpg"].seen.path, PathBuf::from("/elsewhere/a"));
    let mut state = self::state();
    let plan = Plan::new(&mut state, &now(&readable));
    assert_eq!(ids(&plan)[1], ("d.jpg".to_owned(), 6));
    assert_eq!(plan.kept_rejected, 1);
    let plan = Plan::new(&mut state, &BTreeMap::new());
    assert_eq!(plan.gone.len(), 4);
}

fn source(path: &Path, kind: SourceKind, prefix: &str) -> Source {
    Source { path: path.to_owned(), kind, prefix: prefix.to_owned() }
}

/// Keys of the first folder are its paths, those of others have a name before them, once each.
#[test]
fn folders_join() {
    let dir = tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for name in ["a/in", "b", "c/b", "d"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::write(root.join("d/list.txt"), "x.jpg\n").unwrap();
    let all = |names: &[&str]| -> Vec<PathBuf> { names.iter().map(|n| root.join(n)).collect() };
    let mut sources = Vec::new();
    sources::add(&mut sources, &all(&["a"])).unwrap();
    sources::add(&mut sources, &all(&["a", "b", "b", "c/b", "d/list.txt"])).unwrap();
    let expected = [
        source(&root.join("a"), SourceKind::Folder, ""),
        source(&root.join("b"), SourceKind::Folder, "b"),
        source(&root.join("c/b"), SourceKind::Folder, "b-2"),
        source(&root.join("d/list.txt"), SourceKind::List, "list"),
    ];
    assert_eq!(sources, expected);
    for nested in ["a/in", "c", "."] {
        let error = sources::add(&mut sources, &all(&[nested])).unwrap_err().to_string();
        assert!(error.contains("lies in"), "{nested}: {error}");
    }
    assert_eq!(sources, expected);
    let mut two = Vec::new();
    sources::add(&mut two, &all(&["b", "a"])).unwrap();
    assert_eq!(two.iter().map(|s| s.prefix.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    fs::write(root.join("d/x.parquet"), b"PAR1....").unwrap();
    fs::write(root.join("d/x.bin"), [0; 9]).unwrap();
    for (name, says) in [("d/x.parquet", "tar or Parquet"), ("d/x.bin", "other bytes")] {
        let error = sources::add(&mut two, &all(&[name])).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn keys_that_are_meant() {
    let keys = ["paris/eiffel_01.jpg", "paris/eiffel_02.jpg", "rome/forum.png", "x.jpg"];
    let near = |wanted| near_misses(keys.into_iter(), wanted);
    assert_eq!(near("eiffel_01.jpg"), ["paris/eiffel_01.jpg", "paris/eiffel_02.jpg"]);
    assert_eq!(near("Rome/Forum.jpg"), ["rome/forum.png"]);
    assert_eq!(near("rome"), ["rome/forum.png"]);
    assert_eq!(near("something else"), [""; 0]);
}

/// Rows that are left out do not count, nor do their keys and ids; a shard without rows is none.
#[test]
fn an_index_without_some_rows() {
    let dir = tempdir().unwrap();
    let spec = DescriptorSpec::foreign("waves", 8).unwrap();
    let wave = |i: usize| -> Vec<f32> { (1..=8).map(|j| ((i * j) as f32 * 0.01).sin()).collect() };
    let part = |name: &str, rows: std::ops::Range<usize>| {
        let path = dir.path().join(name);
        let mut part = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec).unwrap();
        for i in rows {
            part.push(&format!("wave {i}"), Some(i as u64), &wave(i)).unwrap();
        }
        part.finish().unwrap();
        Part::open(&path).unwrap()
    };
    let parts = [part("a.part", 1..701), part("b.part", 501..901)];
    let options = TrainOptions { m: 8, ksub: 16, ..TrainOptions::default() };
    let (model, _) = train(&parts, &options, &no_opq, &silent).unwrap();
    let options = BuildOptions {
        shards: 4,
        threads: 1,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: 0,
    };
    let index = dir.path().join("index");
    let build =
        |left_out: &[usize]| build_without(&parts, &model, &index, &options, left_out, &silent);
    // Rows 500 to 699 of the first part have the keys of the first rows of the second.
    assert!(build(&[]).unwrap_err().to_string().contains("there twice"));
    let left_out: Vec<usize> = (0..275).chain(500..700).collect();
    let report = build(&left_out).unwrap();
    assert_eq!((report.rows, report.shards, report.rejected), (625, 3, 0));
    assert_eq!(report.ids, (276, 900));
    let snapshot = Snapshot::open(&index, None).unwrap();
    assert!(snapshot.find_key("wave 275").unwrap().is_none());
    assert!(snapshot.find_key("wave 276").unwrap().is_some());
    let row = snapshot.find_key("wave 501").unwrap().unwrap();
    assert_eq!(snapshot.id(row).unwrap(), 501);
    let error = build(&(0..1100).collect::<Vec<_>>()).unwrap_err().to_string();
    assert!(error.contains("all left out"), "{error}");
}
