//! `ocelli eval retrieval` on a small data set of each protocol, in the syntax of the field.
//!
//! The sets are in `tests/fixtures/judging/`; its README works out every figure by hand.

mod refusals;
mod results;
mod rules;
mod sets;

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use ocelli_bench_data::{LandmarkOptions, generate};
use ocelli_tests::{fail, json, root, run, succeed};
use serde_json::Value;
use tempfile::TempDir;

const OXFORD: &str = "@ --descriptors @/photos.npy --row-names @/photos.txt --queries \
                      @/queries.npy --query-names @/queries.txt --similarity inner-product";
const PARIS: &str = "@ --descriptors @/photos.fvecs --row-names @/photos.txt --queries \
                     @/queries.fvecs --similarity inner-product";
const REVISITED: &str = "@ --descriptors @/features.mat --queries @/features.mat --similarity \
                         inner-product";
const HOLIDAYS: &str = "@ --descriptors @/photos.fvecs";
const DISC21: &str = "@ --rankings @/predictions.csv";
const GLDV2: &str = "@ --rankings @/submission.csv";
const ILIAS: &str = "@ --descriptors @/photos.npy --row-names @/photos.txt --queries \
                     @/queries.npy --similarity inner-product";
const MATCHES: &str = "@ --descriptors @/photos.npy --row-names @/photos.txt";

/// A copy of a fixture that a test may spoil, and an empty folder for what is written.
struct Copy {
    dir: TempDir,
    set: &'static str,
}

impl Copy {
    /// Copies the fixture, and makes the photos of sets whose protocol reads their names.
    fn of(set: &'static str) -> Self {
        let copy = Self { dir: tempfile::tempdir().unwrap(), set };
        copy_folder(&root().join("tests/fixtures/judging").join(set), &copy.at(""));
        let photos: Vec<String> = match set {
            "ukbench" => (0..8).map(|number| format!("full/ukbench{number:05}.jpg")).collect(),
            "copydays" => {
                let copies = ["strong/200001", "strong/200101", "jpegqual/75/200000"];
                let originals = ["original/200000", "original/200100", "original/200200"];
                let all = originals.iter().chain(&copies).chain(&["crops/80/200200"]);
                all.map(|photo| format!("{photo}.jpg")).collect()
            }
            _ => Vec::new(),
        };
        for photo in photos {
            let path = copy.at(&photo);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::new(8, 8).save(path).unwrap();
        }
        fs::create_dir(copy.dir.path().join("out")).unwrap();
        copy
    }

    /// A file of the set; the set's directory if the name is empty.
    fn at(&self, file: &str) -> PathBuf {
        let set = self.dir.path().join(self.set);
        if file.is_empty() { set } else { set.join(file) }
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        fs::write(self.at(file), text).unwrap();
    }

    /// Replaces a text that is there once.
    fn replace(&self, file: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.at(file)).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{old:?} in {file}");
        self.write(file, text.replace(old, new));
    }

    /// Arguments in one text: `@` at the start of a word is the set, `%` the folder of results.
    fn args(&self, text: &str) -> Vec<String> {
        let set = self.at("").display().to_string();
        let out = self.dir.path().join("out").display().to_string();
        let word = |word: &str| match (word.strip_prefix('@'), word.strip_prefix('%')) {
            (Some(rest), _) => format!("{set}{rest}"),
            (_, Some(rest)) => format!("{out}{rest}"),
            _ => word.to_owned(),
        };
        ["eval", "retrieval"].into_iter().chain(text.split_whitespace()).map(word).collect()
    }

    /// The report in JSON.
    fn report(&self, flags: &str) -> Value {
        json("ocelli", self.args(&format!("{flags} --format json")))
    }

    /// The headline figure of the first setup.
    fn value(&self, flags: &str) -> f64 {
        self.report(flags)["setups"][0]["value"].as_f64().unwrap()
    }

    /// A result file as JSON.
    fn result(&self, name: &str) -> Value {
        serde_json::from_slice(&self.result_bytes(name)).unwrap()
    }

    fn result_bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.path().join("out").join(name)).unwrap()
    }

    /// Names of what was written.
    fn written(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("out")).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        entries.map(|entry| name(entry.unwrap())).collect()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// Vectors in one dimension as `.fvecs`.
fn line(positions: &[f32]) -> Vec<u8> {
    positions.iter().flat_map(|x| [1_i32.to_le_bytes(), x.to_le_bytes()].concat()).collect()
}

#[track_caller]
fn is_about(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "found {found}, expected {expected}");
}

/// Judges a set: the first line of the report, and figures by the names of `--expect`. A figure
/// that is a hundredth off is exit code 1, and the report says which.
#[track_caller]
fn judged(set: &'static str, flags: &str, header: &str, figures: &[(&str, f64)]) {
    let copy = Copy::of(set);
    let mut args = copy.args(flags);
    for (name, value) in figures {
        args.extend(["--expect".to_owned(), format!("{name}={value:.9}±0.000001")]);
    }
    let text = succeed("ocelli", &args);
    assert_eq!(text.lines().next(), Some(header), "{text}");
    assert_eq!(text.matches("\nas expected: ").count(), figures.len(), "{text}");

    let (name, value) = figures[0];
    let mut args = copy.args(flags);
    args.extend(["--expect".to_owned(), format!("{name}={:.9}±0.009", value + 0.01)]);
    let output = run("ocelli", &args);
    let (text, error) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error, "error: 1 figure not as expected\n");
    assert!(text.contains(&format!("\nNOT as expected: {name}=")), "{text}");
}
