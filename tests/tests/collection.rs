//! A small collection that the tests share: generated landmarks, an untrained network, an index.
//!
//! Made once per test run by the real programs, in the order in which a user would run them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ocelli_bench_data::{LandmarkOptions, generate};
use ocelli_tests::{Server, json, succeed};
use serde_json::Value;
use tempfile::TempDir;

/// Sizes and dimensions small enough for a test, large enough for a meaning.
pub const SIZE: &str = "128";
/// Dimension after whitening.
pub const DIM: usize = 32;

/// The collection's files.
pub struct Collection {
    dir: TempDir,
    /// The report of `ocelli build`.
    pub build: Value,
}

impl Collection {
    /// A file of the collection.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Flags that name the network.
    pub fn network(&self) -> Vec<String> {
        vec!["--weights".into(), self.arg("net.safetensors"), "--sizes".into(), SIZE.into()]
    }

    /// An encoder service.
    pub fn encoder(&self) -> Server {
        let mut args = vec!["serve".to_owned()];
        args.extend(self.network());
        args.extend(["--whitening".into(), self.arg("w.whitening")]);
        Server::start("ocelli-encoder", args)
    }

    /// A searcher of the collection's index, through the `ocelli` command as a user would start it.
    pub fn searcher(&self, encoder: Option<&Server>) -> Server {
        let mut args =
            vec!["serve".to_owned(), "--index".into(), format!("demo={}", self.arg("index"))];
        if let Some(encoder) = encoder {
            args.extend(["--encoder".into(), encoder.url.clone()]);
        }
        Server::start("ocelli", args)
    }

    /// Asks a server; more flags say what for.
    pub fn ask(&self, server: &Server, flags: &[&str]) -> Value {
        let fixed = ["query", "--format", "json", "--server", &server.url];
        json("ocelli", fixed.iter().chain(flags))
    }
}

/// The collection, made at first use.
pub fn collection() -> &'static Collection {
    static COLLECTION: OnceLock<Collection> = OnceLock::new();
    COLLECTION.get_or_init(make)
}

fn make() -> Collection {
    let mut c = Collection { dir: tempfile::tempdir().unwrap(), build: Value::Null };
    let options = LandmarkOptions {
        landmarks: 4,
        views_per_landmark: 5,
        distractors: 20,
        queries_per_landmark: 1,
        seed: 5,
        longest_side: 160,
        threads: 2,
    };
    generate(&c.path("set"), &options).unwrap();
    spoil(&c.path("set/photos"));

    let encode = |more: &[&str]| {
        let mut args = vec!["encode".to_owned()];
        args.extend(more.iter().map(|s| (*s).to_owned()));
        json("ocelli", args.into_iter().chain(["--format".into(), "json".into()]))
    };
    succeed(
        "ocelli-encoder",
        [
            "weights",
            "seeded",
            "--arch",
            "resnet18",
            "--last-stage",
            "2",
            "--seed",
            "3",
            "--out",
            &c.arg("net.safetensors"),
        ],
    );
    let regions = encode(&[
        &c.arg("set/photos"),
        "--weights",
        &c.arg("net.safetensors"),
        "--sizes",
        SIZE,
        "--output",
        "regions",
        "--out",
        &c.arg("regions.part"),
    ]);
    assert_eq!(regions["rejected"], 2, "{regions}");
    let dim = DIM.to_string();
    succeed(
        "ocelli",
        [
            "whiten",
            &c.arg("regions.part"),
            "--covariance",
            "all",
            "--dim",
            &dim,
            "--out",
            &c.arg("w.whitening"),
        ],
    );
    encode(&[
        "--regions",
        &c.arg("regions.part"),
        "--whitening",
        &c.arg("w.whitening"),
        "--out",
        &c.arg("photos.part"),
    ]);
    encode(&[
        "--regions",
        &c.arg("regions.part"),
        "--whitening",
        &c.arg("w.whitening"),
        "--output",
        "regions",
        "--out",
        &c.arg("train.part"),
    ]);
    succeed(
        "ocelli",
        [
            "train",
            &c.arg("train.part"),
            "--nlist",
            "4",
            "--m",
            "8",
            "--force",
            "--out",
            &c.arg("a.model"),
        ],
    );
    c.build = json(
        "ocelli",
        [
            "build",
            &c.arg("photos.part"),
            "--model",
            &c.arg("a.model"),
            "--shards",
            "2",
            "--out",
            &c.arg("index"),
            "--format",
            "json",
        ],
    );
    c
}

/// Two files that are no photos, beside those that are.
fn spoil(photos: &Path) {
    let photo = std::fs::read_dir(photos).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(photo).unwrap();
    std::fs::write(photos.join("zz-cut.jpg"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(photos.join("zz-text.jpg"), "no picture").unwrap();
}
