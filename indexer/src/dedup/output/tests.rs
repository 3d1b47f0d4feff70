use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, Row};
use serde_json::{Value, json};

use super::*;
use crate::dedup::clusters::{Linkage, NothingKnown};
use crate::dedup::edge::{Edge, Label};
use crate::dedup::fixture::{Table, edge};
use crate::dedup::keeper::{KnownPairs, Policy};
use crate::dedup::report::FilePictures;
use crate::dedup::resolve::{ResolveOptions, Resolved, resolve};
use crate::dedup::rows::{Edges, Facts};
use crate::silent;

fn options(out: &Path) -> ResolveOptions {
    ResolveOptions {
        best_score: 1.0,
        out: out.to_owned(),
        name: "photos".to_owned(),
        threshold: 0.9,
        linkage: Linkage::Leader,
        remove: Some(Label::Copy),
        keep: Policy::new(vec!["first-key".parse().unwrap()]).unwrap(),
        known_pairs: KnownPairs::default(),
        forms: vec![TableForm::Csv, TableForm::Jsonl],
        report: None,
        sample_per_band: 0,
        memory_bytes: 0,
        below: Vec::new(),
        join: json!({"index": "sha256 of it"}),
    }
}

fn run(edges: &dyn Edges, table: &Table, options: &ResolveOptions) -> Result<Resolved> {
    resolve(edges, table, &mut NothingKnown, &FilePictures::default(), options, &silent)
}

fn row(id: u64, key: &str) -> Facts {
    Facts { id, key: key.to_owned(), sha256: Some([id as u8; 32]), ..Facts::default() }
}

/// A row of a file that is written: its facts are those of the file.
fn file(folder: &Path, id: u64, name: &str, bytes: usize) -> Facts {
    let path = folder.join(name);
    fs::write(&path, vec![7; bytes]).unwrap();
    named(id, name, path)
}

/// A row of a file that is there.
fn named(id: u64, key: &str, path: PathBuf) -> Facts {
    let metadata = fs::metadata(&path).unwrap();
    let modified_ms = ocelli_pictures::photos::modified_ms(&metadata);
    Facts { path: Some(path), bytes: Some(metadata.len()), modified_ms, ..row(id, key) }
}

fn text(out: &Path, name: &str) -> String {
    fs::read_to_string(out.join(name)).unwrap()
}

fn lines(out: &Path, name: &str) -> Vec<Value> {
    text(out, name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows of a Parquet file as JSON.
fn parquet(out: &Path, name: &str) -> Vec<Value> {
    let file = File::open(out.join(name)).unwrap();
    let rows = SerializedFileReader::new(file).unwrap();
    let value = |field: &Field| match field {
        Field::Null => Value::Null,
        Field::Bool(value) => json!(value),
        Field::Long(value) => json!(value),
        Field::Float(value) => json!(value),
        Field::Str(value) => json!(value),
        other => panic!("{other:?}"),
    };
    let row = |row: Row| {
        let columns = row.get_column_iter();
        Value::Object(columns.map(|(name, field)| (name.clone(), value(field))).collect())
    };
    rows.get_row_iter(None).unwrap().map(|found| row(found.unwrap())).collect()
}

/// Three rows of one cluster and two of none; every table in every form.
#[test]
fn tables_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["b", "a", "c,\"x\"", "", "e"];
    let table = Table {
        facts: (10..).zip(keys).map(|(id, key)| row(id, key)).collect(),
        ..Table::default()
    };
    let near =
        Edge { phash_distance: Some(9), agreement: Some(0.25), ..edge(1, 2, 0.95, Label::Near) };
    let edges = vec![edge(0, 1, 1.0, Label::SameFile), near, edge(3, 4, 0.5, Label::Near)];
    let found = run(&edges, &table, &options(folder.path())).unwrap();
    let pairs = "id_a,id_b,key_a,key_b,score,scored_by,label,phash_distance,agreement,cluster\n\
                 10,11,b,a,1.0,vectors,same_file,,,0\n\
                 11,12,a,\"c,\"\"x\"\"\",0.95,vectors,near,9,0.25,0\n\
                 13,14,,e,0.5,vectors,near,,,\n";
    assert_eq!(text(folder.path(), "pairs.csv"), pairs);
    let clusters = "id,key,cluster,representative,similarity,label,keep,duplicate_of,old\n\
                    11,a,0,11,1.0,,true,,false\n\
                    10,b,0,11,1.0,same_file,false,11,false\n\
                    12,\"c,\"\"x\"\"\",0,11,0.95,near,true,,false\n";
    assert_eq!(text(folder.path(), "clusters.csv"), clusters);
    let stats = "cluster,representative,rows,duplicates,weakest_edge,weakest_similarity,\
                 freed_bytes\n0,11,3,1,0.95,0.95,0\n";
    assert_eq!(text(folder.path(), "cluster_stats.csv"), stats);
    assert_eq!(text(folder.path(), "remove_ids.txt"), "10\n");
    assert_eq!(text(folder.path(), "remove_files.jsonl"), "");
    // Parquet has the same, with the numbers that JSON has.
    for name in ["pairs", "clusters", "cluster_stats"] {
        let json = lines(folder.path(), &format!("{name}.jsonl"));
        let tables = parquet(folder.path(), &format!("{name}.parquet"));
        assert_eq!(json.len(), tables.len());
        for (json, row) in json.iter().zip(&tables) {
            for (column, value) in json.as_object().unwrap() {
                let same = match (value.as_f64(), row[column].as_f64()) {
                    (Some(a), Some(b)) => (a - b).abs() < 1e-6,
                    _ => *value == row[column],
                };
                assert!(same, "{name} {column}: {value} {}", row[column]);
            }
        }
    }
    assert_eq!(found.files.unnamed, 1);
    let summary: Value = serde_json::from_str(&text(folder.path(), SUMMARY)).unwrap();
    assert_eq!(summary["schema_version"], 1);
    assert_eq!(summary["join"]["index"], "sha256 of it");
    assert_eq!(summary["keep"], json!(["first-key"]));
    assert_eq!((&summary["linkage"], &summary["remove"]), (&json!("leader"), &json!("copy")));
    assert_eq!(summary["pairs"]["by_label"], json!({"same_file": 1, "near": 2}));
    assert_eq!(summary["clusters"]["duplicates"], 1);
    let outputs = summary["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 11);
    for output in outputs {
        let bytes = fs::read(folder.path().join(output["name"].as_str().unwrap())).unwrap();
        assert_eq!(output["sha256"], ocelli_index::Hash::of(&bytes).to_string());
        assert_eq!(output["bytes"], bytes.len());
    }
}

/// Names, hard links, symlinks, and files that are not what they were.
#[test]
fn freed_bytes_are_right() {
    let photos = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let root = photos.path().canonicalize().unwrap();
    let kept = file(&root, 0, "a0", 100);
    let mut facts = vec![
        kept.clone(),
        // Goes, and frees 100 bytes.
        file(&root, 1, "b1", 100),
        // Both names of a file go, and free 300 bytes, once.
        file(&root, 2, "b2", 300),
    ];
    fs::hard_link(root.join("b2"), root.join("b3")).unwrap();
    facts.push(named(3, "b3", root.join("b3")));
    // One of two names goes: nothing is freed.
    facts.push(file(&root, 4, "b4", 500));
    fs::hard_link(root.join("b4"), root.join("elsewhere")).unwrap();
    // Another name of the file that stays, a symlink to it, and a way to it by another folder.
    fs::hard_link(root.join("a0"), root.join("b5")).unwrap();
    facts.push(named(5, "b5", root.join("b5")));
    symlink(root.join("a0"), root.join("b6")).unwrap();
    facts.push(named(6, "b6", root.join("b6")));
    symlink(&root, root.join("again")).unwrap();
    facts.push(named(7, "b7", root.join("again/a0")));
    facts.push(named(8, "b8", root.join("again/b1")));
    // Missing, changed, without a hash, without a file.
    facts.push(file(&root, 9, "b9", 10));
    fs::remove_file(root.join("b9")).unwrap();
    facts.push(file(&root, 10, "c0", 10));
    fs::write(root.join("c0"), "other").unwrap();
    facts.push(Facts { sha256: None, ..file(&root, 11, "c1", 10) });
    facts.push(row(12, "c2"));
    // A part of a photo, which has more than the duplicate.
    facts.push(Facts { is_part: true, ..file(&root, 13, "c3", 10) });
    let edges: Vec<Edge> = (1..14).map(|i| edge(0, i, 0.95, Label::Copy)).collect();
    let table = Table { facts, ..Table::default() };
    let found = run(&edges, &table, &options(out.path())).unwrap();
    let expected = FileCounts {
        listed: 4,
        freed_bytes: 400,
        unnamed: 1,
        missing: 1,
        changed: 1,
        kept_unfit: 0,
        no_hash: 1,
        symlinks: 1,
        another_name: 3,
        parts: 1,
    };
    assert_eq!(found.files, expected);
    let listed = lines(out.path(), "remove_files.jsonl");
    let paths: Vec<&str> = listed.iter().map(|line| line["path"].as_str().unwrap()).collect();
    let path = |name: &str| root.join(name).display().to_string();
    assert_eq!(paths, ["b1", "b2", "b3", "b4"].map(path));
    assert_eq!(listed[0]["kept"], path("a0"));
    assert_eq!(listed[0]["kept_sha256"], "00".repeat(32));
    assert_eq!((&listed[0]["sha256"], &listed[0]["bytes"]), (&json!("01".repeat(32)), &json!(100)));
    assert_eq!(text(out.path(), "remove_ids.txt").lines().count(), 13);
    // The file that stays has changed: nothing is listed.
    fs::write(root.join("a0"), "changed").unwrap();
    let found = run(&edges, &table, &options(out.path())).unwrap();
    assert_eq!((found.files.listed, found.files.freed_bytes), (0, 0));
    assert!(found.files.kept_unfit > 3);
}

/// A row is kept whose path is a symlink to another row's file: that file is no file to go.
#[test]
fn what_a_kept_symlink_leads_to_stays() {
    let photos = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let target = file(photos.path(), 1, "b", 100);
    symlink(photos.path().join("b"), photos.path().join("a")).unwrap();
    let facts = vec![named(0, "a", photos.path().join("a")), target];
    let table = Table { facts, ..Table::default() };
    let edges = vec![edge(0, 1, 1.0, Label::SameFile)];
    let found = run(&edges, &table, &options(out.path())).unwrap();
    assert_eq!((found.files.listed, found.files.another_name), (0, 1));
}

/// A cluster of more rows than are read at once, between small ones; in any memory the same bytes.
#[test]
fn large_clusters_and_small_ones() {
    const ROWS: u64 = 10_000;
    let facts = (0..ROWS + 60).map(|id| row(id, &format!("{id:06}"))).collect();
    let table = Table { facts, ..Table::default() };
    let mut edges: Vec<Edge> = (0..10).map(|i| edge(2 * i, 2 * i + 1, 0.95, Label::Copy)).collect();
    edges.extend((21..20 + ROWS).map(|row| edge(20, row, 1.0, Label::SamePixels)));
    edges.extend((0..10).map(|i| {
        let row = 20 + ROWS + 3 * i;
        edge(row, row + 2, 0.91 + i as f32 / 1000.0, Label::Near)
    }));
    let mut before = None;
    for memory_bytes in [0, 5 << 20, 64 << 20] {
        let folder = tempfile::tempdir().unwrap();
        let options = ResolveOptions { memory_bytes, ..options(folder.path()) };
        let found = run(&edges, &table, &options).unwrap();
        assert_eq!((found.clusters.clusters, found.clusters.largest_cluster), (21, ROWS));
        assert_eq!(found.clusters.duplicates, 10 + ROWS - 1);
        let stats = lines(folder.path(), "cluster_stats.jsonl");
        let sizes: Vec<u64> = stats.iter().map(|line| line["rows"].as_u64().unwrap()).collect();
        assert_eq!(sizes, [vec![2; 10], vec![ROWS], vec![2; 10]].concat());
        assert_eq!(stats[10]["representative"], 20);
        assert_eq!(stats[10]["duplicates"], ROWS - 1);
        let members = lines(folder.path(), "clusters.jsonl");
        assert_eq!(members.len() as u64, ROWS + 40);
        assert!(
            members
                .iter()
                .all(|line| line["keep"].as_bool().unwrap() == line["duplicate_of"].is_null())
        );
        let files: Vec<(String, String)> = found
            .outputs
            .into_iter()
            .map(|output| (output.name, output.sha256.to_string()))
            .collect();
        assert_eq!(*before.get_or_insert(files.clone()), files);
    }
    let folder = tempfile::tempdir().unwrap();
    let small = ResolveOptions { memory_bytes: 1 << 20, ..options(folder.path()) };
    let refused = run(&edges, &table, &small).unwrap_err().to_string();
    assert!(refused.contains("the smallest that works is 5 MiB"), "{refused}");
    assert!(!folder.path().join(SUMMARY).exists());
}

/// With old rows: they stay, they are marked, and no cluster of old rows alone is there.
#[test]
fn old_rows_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    let facts = (0..4).map(|id| row(id, &format!("{}", 9 - id))).collect();
    let table = Table { facts, old: 2, ..Table::default() };
    let edges = vec![
        edge(0, 1, 1.0, Label::SameFile),
        edge(0, 2, 1.0, Label::SameFile),
        edge(2, 3, 0.95, Label::Copy),
    ];
    run(&edges, &table, &options(folder.path())).unwrap();
    let kept = |line: &Value| (line["id"].as_u64(), line["keep"].as_bool(), line["old"].as_bool());
    let found: Vec<_> = lines(folder.path(), "clusters.jsonl").iter().map(kept).collect();
    let of = |id: u64, keep: bool, old: bool| (Some(id), Some(keep), Some(old));
    // By the first key row 1 is before row 0, and row 3 before row 2; but old rows are before all.
    let expected = [of(1, true, true), of(0, true, true), of(3, false, false), of(2, false, false)];
    assert_eq!(found, expected);
    assert_eq!(text(folder.path(), "remove_ids.txt"), "3\n2\n");
}

/// What an earlier run left is not taken for this one's; what is wrong is said before the work.
#[test]
fn a_run_starts_clean_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let table = Table { facts: vec![row(0, "a"), row(1, "b")], ..Table::default() };
    let edges = vec![edge(0, 1, 1.0, Label::SameFile)];
    run(&edges, &table, &options(folder.path())).unwrap();
    assert!(folder.path().join("pairs.csv").exists());
    let again = ResolveOptions { forms: Vec::new(), ..options(folder.path()) };
    run(&edges, &table, &again).unwrap();
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "cluster_stats.parquet",
        "clusters.parquet",
        "pairs.parquet",
        "remove_files.jsonl",
        "remove_ids.txt",
        "summary.json",
    ];
    assert_eq!(names, expected);
    // A run that fails in the middle leaves no summary.
    let beyond = vec![edge(0, 1, 1.0, Label::SameFile), edge(0, 7, 1.0, Label::SameFile)];
    assert!(run(&beyond, &table, &again).is_err());
    assert!(!folder.path().join(SUMMARY).exists());
    let nan = ResolveOptions { threshold: f32::NAN, ..again.clone() };
    assert!(run(&edges, &table, &nan).unwrap_err().to_string().contains("expected a number"));
    let column = Policy::new(vec!["column=stars".parse().unwrap()]).unwrap();
    let column = ResolveOptions { keep: column, ..again };
    assert!(column.check(&table).unwrap_err().to_string().contains("no such column"));
    fs::write(folder.path().join("file"), "").unwrap();
    let nowhere = options(&folder.path().join("file"));
    let error = run(&edges, &table, &nowhere).unwrap_err().to_string();
    assert!(error.contains("make the folder"), "{error}");
}

/// A name that is not UTF-8 is in the list as bytes.
#[test]
fn any_name_can_be_listed() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let photos = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = photos.path().canonicalize().unwrap().join(OsStr::from_bytes(b"b\xff\n"));
    fs::write(&path, "x").unwrap();
    let facts = vec![file(photos.path(), 0, "a", 1), named(1, "b", path.clone())];
    let table = Table { facts, ..Table::default() };
    run(&vec![edge(0, 1, 1.0, Label::SameFile)], &table, &options(out.path())).unwrap();
    let listed = lines(out.path(), "remove_files.jsonl");
    use base64::Engine as _;
    let name = base64::engine::general_purpose::STANDARD.encode(path.as_os_str().as_bytes());
    assert_eq!(listed[0]["path"], json!({ "base64": name }));
}
