//! Data sets in their official syntax, made up and small.

mod forms;
mod ground_truth;
mod photo_sets;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use super::*;
use crate::Error;
use crate::evaluate::measures::{ApForm, Measure};

const ROXFORD: &str = r#"{"imlist": ["a", "b", "c", "d"], "qimlist": ["q", "r"], "gnd": [
    {"bbx": [1, 2, 30, 40.5], "easy": [0], "hard": [2], "junk": [3]},
    {"bbx": null, "easy": [], "hard": [1], "junk": []}]}"#;

/// A directory with files of the given contents.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempdir().unwrap();
    for (name, content) in files {
        put(dir.path(), name, content);
    }
    dir
}

fn put(dir: &Path, name: &str, content: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn open(path: &Path) -> Dataset {
    Dataset::open(path, None).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(path: &Path) -> String {
    Dataset::open(path, None).unwrap_err().to_string()
}

fn names(list: &[Named]) -> Vec<&str> {
    list.iter().map(|named| &*named.name).collect()
}

fn setup<'a>(dataset: &'a Dataset, name: &str) -> &'a Setup {
    dataset.setups.iter().find(|setup| setup.name == name).unwrap()
}

fn setup_names(dataset: &Dataset) -> Vec<&str> {
    dataset.setups.iter().map(|setup| setup.name.as_str()).collect()
}

fn listed(dataset: &Dataset) -> Vec<&str> {
    match &dataset.database {
        Database::Listed(images) => names(images),
        Database::Below(folder) => panic!("below {folder:?}"),
    }
}

/// Query, positives and junk of each line of a setup.
fn asked<'a>(dataset: &'a Dataset, name: &str) -> Vec<(&'a str, Vec<&'a str>, Vec<&'a str>)> {
    let lines = setup(dataset, name).asked.iter();
    lines
        .map(|asked| {
            let query = dataset.queries[asked.query].name.as_str();
            (query, names(&asked.positives), names(&asked.junk))
        })
        .collect()
}

/// What all of these sets have but UKBench.
fn has_rules(setup: &Setup, own: OwnPhoto, absent: Absent) {
    assert_eq!(setup.rules.precision, ApForm::Trapezoid);
    assert_eq!(setup.rules.headline, Measure::Map);
    assert_eq!((setup.own, setup.absent), (own, absent));
}

const HALL: [(&str, &str); 4] = [
    ("gt/hall_1_query.txt", "oxc1_hall_000006 136.5 34.1 648.5 955.7\n"),
    ("gt/hall_1_good.txt", "hall_000026\nhall_000126\n"),
    ("gt/hall_1_ok.txt", "hall_000006\n\n"),
    ("jpg/hall_000006.jpg", ""),
];

/// What `indexer/tests/data/gnd/make.py` wrote in each of its files.
fn is_made_up(dataset: &Dataset, file: &str) {
    let hall = |numbers: &[u32]| numbers.iter().map(|n| format!("hall_{n:06}")).collect();
    let all: Vec<String> = hall(&[0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(listed(dataset), all, "{file}");
    assert_eq!(setup_names(dataset), ["easy", "medium", "hard"], "{file}");
    let lines = |name| {
        let lines = asked(dataset, name).into_iter();
        let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<Vec<_>>();
        lines.map(move |(query, good, junk)| (query.to_owned(), owned(good), owned(junk)))
    };
    let gate = |number: u32, positives: &[u32], junk: &[u32]| {
        (format!("gate_{number:06}"), hall(positives), hall(junk))
    };
    let expected = [gate(1, &[2, 5], &[7, 1, 0]), gate(2, &[], &[3, 4, 6])];
    assert!(lines("easy").eq(expected), "{file}: {:?}", asked(dataset, "easy"));
    let expected = [gate(1, &[2, 5, 0], &[7, 1]), gate(2, &[3, 4, 6], &[])];
    assert!(lines("medium").eq(expected), "{file}: {:?}", asked(dataset, "medium"));
    let expected = [gate(1, &[0], &[7, 1, 2, 5]), gate(2, &[3, 4, 6], &[])];
    assert!(lines("hard").eq(expected), "{file}: {:?}", asked(dataset, "hard"));
    let boxes: Vec<BoundingBox> =
        dataset.queries.iter().filter_map(|query| query.bounding_box).collect();
    assert_eq!(boxes, [[136.5, 34.1, 648.5, 955.7], [0.0, 0.0, 10.0, 20.0]], "{file}");
    for setup in &dataset.setups {
        has_rules(setup, OwnPhoto::AllHidden, Absent::NotFound);
    }
}

const JSON: &str = r#"{"images": ["a", "b", "c", "d", "e/f.jpg"], "more": 1,
    "folder_label": {"a": "t", "b": "t", "c": "u", "d": "t"},
    "queries": [{"name": "a", "bbox": [1, 2, 30, 40.5], "original_size": [9, 9],
                 "ok": ["a", "d"], "junk": ["b", "f"]}],
    "revisited_queries": [{"name": "a", "bbox": [1, 2, 30, 40.5], "easy": ["b"], "hard": []}]}"#;
