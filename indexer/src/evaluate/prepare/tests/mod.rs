//! Whole preparations with an encoder that is none: vectors of the bytes of files.

mod kept;
mod learned;
mod photo_lists;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use ocelli_index::{
    DescriptorSpec, Dtype, Part, PartKind, PartWriter, Rejected, RejectedWriter, Snapshot,
    Whitening,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::evaluate::dataset::{At, BoundingBox, Database, Form, NameRule, Named, Place, Query};
use crate::{WhitenCovariance, no_opq, silent};

/// Dimension of the vectors before a whitening.
const DIM: usize = 8;
/// Region vectors of a photo.
const REGIONS: usize = 6;

/// A folder with photos, weights and a place to work in.
struct Bench {
    folder: TempDir,
    calls: RefCell<Vec<Vec<String>>>,
    /// Calls from this one on fail after they have written their part.
    fails_at: RefCell<usize>,
}

impl Bench {
    /// Photos `set/00.jpg` to `set/05.jpg`, `other/00.jpg` to `other/19.jpg`.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, count) in [("set", 6), ("other", 20)] {
            fs::create_dir(folder.path().join(name)).unwrap();
            for i in 0..count {
                let path = folder.path().join(format!("{name}/{i:02}.jpg"));
                fs::write(path, format!("{name} {i:02}")).unwrap();
            }
        }
        fs::write(folder.path().join("net.safetensors"), "weights").unwrap();
        Bench { folder, calls: RefCell::default(), fails_at: RefCell::new(usize::MAX) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn work(&self, name: &str) -> String {
        // As the working folder is resolved.
        fs::canonicalize(self.path("work")).unwrap().join(name).display().to_string()
    }

    fn options(&self) -> PrepareOptions {
        let encoder_flags =
            vec!["--weights".into(), self.path("net.safetensors").into(), "--sizes=448".into()];
        PrepareOptions { work: self.path("work"), encoder_flags, ..PrepareOptions::default() }
    }

    /// Runs a preparation. Returns the calls of the encoder with the result.
    fn run(&self, set: &Dataset, options: &PrepareOptions) -> (Vec<Vec<String>>, Result<Prepared>) {
        self.calls.borrow_mut().clear();
        let encode = |args: &[OsString]| self.encode(args);
        let prepared = prepare(set, options, &encode, &no_opq, &silent);
        (self.calls.borrow().clone(), prepared)
    }

    fn error(&self, set: &Dataset, options: &PrepareOptions) -> String {
        let (calls, prepared) = self.run(set, options);
        assert!(calls.is_empty(), "{calls:?}");
        prepared.unwrap_err().to_string()
    }

    /// The encoder. Files that begin with `bad` are rejected.
    fn encode(&self, args: &[OsString]) -> std::result::Result<(), BoxError> {
        let args: Vec<String> = args.iter().map(|a| a.to_str().unwrap().to_owned()).collect();
        self.calls.borrow_mut().push(args.iter().map(|arg| complete(arg)).collect());
        let value =
            |flag: &str| args.iter().position(|a| a == flag).map(|at| PathBuf::from(&args[at + 1]));
        let whitening = value("--whitening").map(|path| Whitening::open(&path).unwrap());
        let is_regions = value("--output").is_some();
        let kind = if is_regions { PartKind::Regions } else { PartKind::Descriptors };
        let images: Vec<(String, std::result::Result<Vec<f32>, String>)> = match value("--regions")
        {
            Some(part) => {
                let part = Part::open(&part).unwrap();
                let image = |i| (part.key(i).unwrap(), Ok(part.read(part.rows_of(i)).unwrap()));
                (0..part.images()).map(image).collect()
            }
            None => lines(&value("--list").unwrap()).into_iter().map(encoded).collect(),
        };
        let (dim, name) = match &whitening {
            Some(whitening) => (whitening.dim_out(), "whitened"),
            None => (DIM, "plain"),
        };
        let spec = DescriptorSpec::foreign(name, dim as u32).unwrap();
        let out = value("--out").unwrap();
        let mut part = PartWriter::create(&out, kind, Dtype::F32, &spec).unwrap();
        let mut rejected = RejectedWriter::create(&RejectedWriter::path_for(&out)).unwrap();
        for (key, rows) in images {
            let rows = match rows {
                Ok(rows) => rows,
                Err(reason) => {
                    let key = Some(key.as_str());
                    let line = Rejected { key, file: None, row: None, reason: &reason };
                    rejected.push(&line).unwrap();
                    continue;
                }
            };
            let rows = if is_regions { &rows[..] } else { &rows[..DIM] };
            let rows: Vec<f32> = match &whitening {
                None => rows.to_vec(),
                Some(whitening) => {
                    rows.chunks(DIM).flat_map(|row| whitening.apply(row).unwrap()).collect()
                }
            };
            part.push(&key, None, &rows).unwrap();
        }
        rejected.finish().unwrap();
        part.finish().unwrap();
        match self.calls.borrow().len() > *self.fails_at.borrow() {
            true => Err("ocelli-encoder encode: ended with exit code 1".into()),
            false => Ok(()),
        }
    }

    /// Writes a file again, a minute later than before.
    fn touch(&self, name: &str) {
        let later = SystemTime::now() + Duration::from_secs(60);
        File::options().write(true).open(self.path(name)).unwrap().set_modified(later).unwrap();
    }
}

/// An argument with the name that a file has when it is complete, in place of that in the folder
/// of what is not.
fn complete(arg: &str) -> String {
    let Some((work, new)) = arg.split_once("/.new-") else { return arg.to_owned() };
    format!("{work}/{}", new.split_once('/').unwrap().1)
}

/// The list's lines.
fn lines(list: &Path) -> Vec<Value> {
    let text = fs::read_to_string(list).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Vectors that depend on the file's bytes.
fn encoded(line: Value) -> (String, std::result::Result<Vec<f32>, String>) {
    let bytes = fs::read(line["path"].as_str().unwrap()).unwrap();
    let key = line["key"].as_str().unwrap().to_owned();
    if bytes.starts_with(b"bad") {
        return (key, Err("not an image".to_owned()));
    }
    let seed = bytes.iter().fold(7_u64, |sum, &b| sum.wrapping_mul(31).wrapping_add(u64::from(b)));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (key, Ok((0..REGIONS * DIM).map(|_| rng.random_range(-1.0..1.0)).collect()))
}

fn named(name: &str) -> Named {
    let place = Place { file: Arc::from(Path::new("gt/list.txt")), at: At::Line(3) };
    Named::new(name, place)
}

/// A data set of the photos below `set`; the first is a query as a whole, the second by a box.
fn set(bench: &Bench, boxed: Option<BoundingBox>) -> Dataset {
    let query = |name: &str, photo: &str, bounding_box| Query {
        name: name.to_owned(),
        photo: named(photo),
        bounding_box,
    };
    Dataset {
        name: "tiny".to_owned(),
        form: Form::Holidays,
        why: "it is made up".to_owned(),
        photos: vec![bench.path("set")],
        name_rule: NameRule::PathEnd,
        database: Database::Listed((0..6).map(|i| named(&format!("{i:02}"))).collect()),
        damaged: Vec::new(),
        queries: vec![query("whole", "00", None), query("boxed", "01", boxed)],
        setups: Vec::new(),
        rotations: BTreeMap::from([("01".to_owned(), 90), ("04".to_owned(), 270)]),
        mentioned: Vec::new(),
    }
}

const BOX: BoundingBox = [1.0, 2.0, 30.0, 40.5];

fn small_codes() -> TrainOptions {
    TrainOptions { nlist: 1, m: 2, ksub: 16, force: true, ..TrainOptions::default() }
}

/// Names and whether each was kept.
fn steps(prepared: &Prepared) -> Vec<(&str, bool)> {
    prepared.steps.iter().map(|step| (step.what.as_str(), step.kept)).collect()
}
