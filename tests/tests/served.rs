//! Lives of an index while a searcher serves it: no query fails, and each answer is that of one
//! whole generation.

// Counts are read in the output.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ocelli_index::{DescriptorSpec, Dtype, IndexDir, PartKind, PartWriter, SearchParams, Snapshot};
use ocelli_proto::tonic::transport::Endpoint;
use ocelli_proto::v1::query_term::Term;
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use ocelli_proto::v1::{QueryTerm, QueryVector, SearchOptions, SearchRequest};
use ocelli_test_support::cases;
use ocelli_tests::{Server, run, succeed};
use tempfile::TempDir;

const DIM: usize = 8;
/// Lists of the models: queries look at all of them.
const NLIST: usize = 4;
/// More than an index ever holds here.
const K: usize = 500;
/// Changes of one life.
const CHANGES: usize = 10;
/// Kinds of changes, some of which are more frequent; the last is a way back.
const KINDS: u64 = 10;
/// Lives of the short test.
const LIVES: usize = 3;

/// A sequence of numbers that follows from its seed (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIM).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).collect()
    }
}

/// An index directory, parts and models.
struct Life {
    dir: TempDir,
    numbers: Numbers,
    parts: usize,
}

impl Life {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ (seed + 1));
        let mut life = Self { dir, numbers, parts: 0 };
        let first = life.part(60);
        for model in ["a.model", "b.model"] {
            let more = life.part(80);
            let nlist = NLIST.to_string();
            let flags = ["--nlist", &nlist, "--m", "8", "--force", "--niter", "3"];
            let out = life.path(model);
            succeed(
                "ocelli",
                ["train", &first, &more].into_iter().chain(flags).chain(["--out", &out]),
            );
        }
        let (model, index) = (life.path("a.model"), life.path("index"));
        succeed("ocelli", ["build", &first, "--model", &model, "--out", &index, "--shards", "2"]);
        life
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A part of so many rows, whose keys are among forty.
    fn part(&mut self, rows: usize) -> String {
        let path = self.path(&format!("{}.part", self.parts));
        self.parts += 1;
        let spec = DescriptorSpec::foreign("numbers", DIM as u32).unwrap();
        let mut part =
            PartWriter::create(path.as_ref(), PartKind::Descriptors, Dtype::F32, &spec).unwrap();
        let mut keys = BTreeSet::new();
        for row in 0..rows {
            // Keys of large parts are their own.
            let key =
                if rows > 20 { 1000 * self.parts + row } else { self.numbers.below(40) as usize };
            if keys.insert(key) {
                let x = self.numbers.vector();
                part.push(&format!("{key}.jpg"), None, &x).unwrap();
            }
        }
        part.finish().unwrap();
        path
    }

    /// One change of the index by a command of some kind, whose name is returned if it was done.
    /// Some have nothing to do, or must be refused.
    fn change(&mut self, kind: u64) -> Option<String> {
        let index = self.path("index");
        let rows = 1 + self.numbers.below(6) as usize;
        let id = self.numbers.below(80).to_string();
        let key = format!("{}.jpg", self.numbers.below(40));
        let words: Vec<String> = match kind {
            0 | 1 => vec!["add".into(), index, self.part(rows)],
            2 | 3 => vec!["upsert".into(), index, self.part(rows)],
            4 | 5 => ["delete", &index, "--id", &id, "--key", &key].map(str::to_owned).into(),
            6 => ["delete", &index, "--id", &id, "--erase"].map(str::to_owned).into(),
            7 => ["compact", &index, "--all"].map(str::to_owned).into(),
            8 => {
                let model = self.path(if rows.is_multiple_of(2) { "a.model" } else { "b.model" });
                vec!["rebuild".into(), index, "--model".into(), model]
            }
            _ => ["rollback", &index].map(str::to_owned).into(),
        };
        let done = run("ocelli", &words);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!said.contains("panicked"), "{words:?}: {said}");
        assert!(done.status.success() || done.status.code() == Some(1), "{words:?}: {said}");
        // What nobody needs goes, but not what a searcher may be about to open.
        succeed("ocelli", ["gc", &self.path("index"), "--keep-generations", "4", "--yes"]);
        done.status.success().then(|| words[0].clone())
    }

    /// The current generation, and all ids in the order of their distance from x.
    fn expected(&self, x: &[f32]) -> (u64, Vec<u64>) {
        let snapshot = Snapshot::open(&self.dir.path().join("index"), None).unwrap();
        let params = SearchParams { k: K, nprobe: NLIST, ..SearchParams::default() };
        let hits = snapshot.search(x, &params).unwrap().hits;
        assert_eq!(hits.len() as u64, snapshot.rows());
        (snapshot.generation().number, hits.iter().map(|hit| hit.id).collect())
    }
}

/// The different answers of each generation, and the number of questions.
type Answers = (BTreeMap<u64, BTreeSet<Vec<u64>>>, usize);

/// Asks one question without a pause until it is told to stop.
fn ask(url: &str, x: &[f32], stop: &Arc<AtomicBool>) -> JoinHandle<Answers> {
    let (url, stop) = (url.to_owned(), Arc::clone(stop));
    let vector = QueryVector { values: x.to_vec(), spec_hash: String::new() };
    let request = SearchRequest {
        terms: vec![QueryTerm { weight: None, term: Some(Term::Vector(vector)) }],
        options: Some(SearchOptions {
            k: K as u32,
            nprobe: NLIST as u32,
            ..SearchOptions::default()
        }),
        ..SearchRequest::default()
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let endpoint = Endpoint::from_shared(url).unwrap();
            let mut client = SearchServiceClient::new(endpoint.connect().await.unwrap());
            let (mut answers, mut asked) = (BTreeMap::<u64, BTreeSet<_>>::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let answer = client.search(request.clone()).await.unwrap().into_inner();
                answers.entry(answer.generation).or_default().insert(answer.ids);
                asked += 1;
            }
            (answers, asked)
        })
    })
}

/// Random commands, one after the other, on a directory that is served; `./test --long` lives more
/// lives.
#[test]
fn no_query_fails_and_none_sees_half_a_change() {
    let (mut asked, mut changed, mut seen, mut done) = (0, 0, 0, BTreeSet::new());
    for seed in 0..cases(LIVES as u64, 100) {
        let mut life = Life::new(seed);
        let x = life.numbers.vector();
        let served = format!("life={}", life.path("index"));
        let server = Server::start("ocelli", ["serve", "--index", &served, "--threads", "1"]);
        let stop = Arc::new(AtomicBool::new(false));
        let client = ask(&server.url, &x, &stop);
        // Commands commit one generation each at most, but for erasure: two, of equal answers.
        let (first, ids) = life.expected(&x);
        let (mut last, mut expected) = (first, BTreeMap::from([(first, ids)]));
        for change in 0..CHANGES {
            // Each life has a way back.
            let kind = if change == CHANGES - 3 { KINDS - 1 } else { life.numbers.below(KINDS) };
            done.extend(life.change(kind));
            let (number, ids) = life.expected(&x);
            // A way back makes an earlier generation current again.
            last = number;
            if expected.insert(number, ids).is_none() {
                changed += 1;
            }
        }
        // The last generation is answered from.
        let end = Instant::now() + Duration::from_secs(60);
        let is_served = || {
            let status =
                succeed("ocelli", ["admin", "status", "--server", &server.url, "--format", "json"]);
            let status: serde_json::Value = serde_json::from_str(status.trim()).unwrap();
            status["indexes"][0]["generation"] == last
        };
        while !is_served() {
            assert!(Instant::now() < end, "seed {seed}: generation {last} is never served");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        let (answers, questions) = client.join().expect("no query fails");
        asked += questions;
        seen += answers.len();
        for (number, answers) in answers {
            assert_eq!(answers.len(), 1, "seed {seed}: generation {number} has several answers");
            let Some(want) = expected.get(&number) else { continue };
            assert_eq!(answers.first(), Some(want), "seed {seed}: generation {number}");
        }
        let current =
            IndexDir::open(life.path("index").as_ref()).unwrap().current().unwrap().unwrap();
        assert_eq!(current.number, last);
        assert!(server.terminate());
    }
    println!(
        "served: {changed} generations, {seen} of them answered, {asked} queries, none failed"
    );
    // Every command was done at least once, and clients saw more than the first generations.
    let commands = ["add", "upsert", "delete", "compact", "rebuild", "rollback"];
    assert!(commands.iter().all(|command| done.contains(*command)), "{done:?}");
    assert!(2 * changed > CHANGES && seen > LIVES && asked > seen, "{changed}, {seen}, {asked}");
}
