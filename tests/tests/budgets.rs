//! Budgets of memory, by the real program: no command takes more than it was given and a tenth, and
//! each ends with the same files as without a budget.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ocelli_index::{DescriptorSpec, Dtype, Hash, IndexDir, PartKind, PartWriter};
use ocelli_tests::{fail, peak_kib, program, succeed};
use tempfile::TempDir;

/// Rows whose keys alone are more than the budgets below.
const ROWS: usize = 120_000;
const KEY_BYTES: usize = 500;
/// A budget in MiB.
const BUDGET: u64 = 64;

/// A folder with parts, models, and an index.
struct Place {
    dir: TempDir,
}

/// The key of a row: characters that do not compress.
fn key(row: usize, len: usize) -> String {
    let mut state = row as u64 + 1;
    let mut key = format!("{row}-");
    while key.len() < len {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let digits = (0..8).map(|i| (state >> (16 + 6 * i)) as u8 & 63);
        key.extend(digits.map(|digit| char::from(b'0' + digit)));
    }
    key.truncate(len);
    key
}

/// Ids far apart, in no order.
fn id(row: usize) -> u64 {
    (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A part of the rows `first..first + rows`.
    fn part(&self, name: &str, (first, rows): (usize, usize), dim: usize, key_bytes: usize) {
        let spec = DescriptorSpec::foreign("numbers", dim as u32).unwrap();
        let path = self.path(name);
        let mut part = PartWriter::create(&path, PartKind::Descriptors, Dtype::F16, &spec).unwrap();
        let mut state = first as u64 + 1;
        let mut x = vec![0f32; dim];
        for row in first..first + rows {
            for x in &mut x {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *x = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            }
            let key = if key_bytes > 0 { key(row, key_bytes) } else { String::new() };
            part.push(&key, Some(id(row)), &x).unwrap();
        }
        part.finish().unwrap();
    }

    fn model(&self, name: &str, part: &str, nlist: usize, m: usize) {
        let args =
            ["train", &self.text(part), "--nlist", &nlist.to_string(), "--m", &m.to_string()];
        let out = ["--force", "--out", &self.text(name)];
        succeed("ocelli", args.into_iter().chain(out));
    }

    /// An index `index` of rows with long keys in two shards, a model, and the part `all.part`.
    fn with_long_keys() -> Self {
        let place = Self::new();
        place.part("all.part", (0, ROWS), 8, KEY_BYTES);
        place.part("some.part", (0, 4000), 8, 0);
        place.model("a.model", "some.part", 16, 4);
        let (part, model, out) =
            (place.text("all.part"), place.text("a.model"), place.text("index"));
        let args = ["build", &part, "--model", &model, "--out", &out, "--shards", "2"];
        succeed("ocelli", args);
        place
    }

    /// A copy of the index.
    fn copy(&self, name: &str) -> String {
        copy(&self.path("index"), &self.path(name));
        self.text(name)
    }

    /// Runs a command with a budget and without one, each on an index of its own (`INDEX` in
    /// `args`), and compares what is left. With the budget it keeps to it.
    fn same_within(&self, budget_mib: u64, args: &[&str]) {
        let on = |index: &str| -> Vec<String> {
            args.iter().map(|arg| arg.replace("INDEX", index)).collect()
        };
        let bounded = self.copy("bounded");
        let budget = format!("{budget_mib}MiB");
        let with = on(&bounded).into_iter().chain(["--memory-budget".to_owned(), budget]);
        within(budget_mib, with);
        let free = self.copy("free");
        succeed("ocelli", on(&free));
        assert_eq!(files(Path::new(&bounded)), files(Path::new(&free)));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Runs a command that must keep within a budget.
fn within(budget_mib: u64, args: impl IntoIterator<Item = String>) {
    let args: Vec<String> = args.into_iter().collect();
    let mut command = Command::new(program("ocelli"));
    command.args(&args).stdin(Stdio::null()).stdout(Stdio::null());
    let peak = peak_kib(command.spawn().unwrap());
    assert!(peak > 10_000, "{peak} KiB: nothing was measured");
    assert!(
        peak * 10 <= budget_mib * 1024 * 11,
        "{peak} KiB with a budget of {budget_mib} MiB: {args:?}"
    );
}

/// The files of an index that are named by their content, each with its hash.
fn files(index: &Path) -> BTreeMap<String, Hash> {
    let mut found = BTreeMap::new();
    for folder in ["shards", "tombstones", "deletes", "models"] {
        for entry in fs::read_dir(index.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{folder}/{}", path.file_name().unwrap().to_string_lossy());
            found.insert(name, Hash::of(&fs::read(path).unwrap()));
        }
    }
    assert!(!index.join("work").exists(), "runs are left");
    found
}

#[test]
fn a_compaction_keeps_its_budget() {
    let place = Place::with_long_keys();
    let few: Vec<String> =
        (0..100).flat_map(|row| ["--id".to_owned(), id(row * 7).to_string()]).collect();
    let index = place.text("index");
    succeed("ocelli", ["delete".to_owned(), index].into_iter().chain(few));
    place.same_within(BUDGET, &["compact", "INDEX", "--all"]);
}

#[test]
fn a_rebuild_of_stored_vectors_keeps_its_budget() {
    let place = Place::with_long_keys();
    place.model("b.model", "some.part", 24, 4);
    let model = place.text("b.model");
    let args = ["rebuild", "INDEX", "--model", &model, "--shards", "2", "--threads", "2"];
    place.same_within(BUDGET, &args);
}

#[test]
fn an_upsert_keeps_its_budget() {
    let place = Place::with_long_keys();
    let part = place.text("all.part");
    place.same_within(BUDGET, &["upsert", "INDEX", &part, "--threads", "2"]);
    // A new one has taken the place of each row.
    let index = IndexDir::open(&place.path("bounded")).unwrap();
    let current = index.current().unwrap().unwrap();
    let dead = current.tombstones.values().map(|hash| index.tombstones(hash, u32::MAX).unwrap());
    assert_eq!(dead.map(|dead| dead.len()).sum::<u64>(), ROWS as u64);
}

#[test]
fn an_addition_keeps_its_budget() {
    let place = Place::with_long_keys();
    place.part("new.part", (ROWS, ROWS / 2), 8, KEY_BYTES);
    let part = place.text("new.part");
    place.same_within(BUDGET, &["add", "INDEX", &part, "--threads", "2"]);
}

#[test]
fn a_deletion_of_a_file_of_keys_keeps_its_budget() {
    let place = Place::with_long_keys();
    let path = place.path("keys.txt");
    let mut out = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    // Some twice, and some that no row has.
    for row in (0..ROWS + 5000).rev().chain(0..1000) {
        writeln!(out, "{}", key(row, KEY_BYTES)).unwrap();
    }
    out.into_inner().unwrap();
    let keys = path.display().to_string();
    place.same_within(BUDGET, &["delete", "INDEX", "--from", &keys]);
}

/// Back to a generation whose delete log is more than the budget, and not that of the current one.
#[test]
fn a_way_back_keeps_its_budget() {
    let place = Place::with_long_keys();
    let index = place.text("index");
    let path = place.path("ids.txt");
    let ids: String = (1..ROWS).map(|row| format!("{}\n", id(row))).collect();
    fs::write(&path, ids).unwrap();
    succeed("ocelli", ["delete", &index, "--from", &path.display().to_string(), "--ids"]);
    succeed("ocelli", ["rollback", &index, "--to", "1", "--undo-deletes"]);
    succeed("ocelli", ["delete", &index, "--id", &id(0).to_string()]);
    place.same_within(BUDGET, &["rollback", "INDEX", "--to", "2"]);
}

#[test]
fn a_commit_of_an_upsert_keeps_its_budget() {
    let place = Place::with_long_keys();
    let (part, model) = (place.text("all.part"), place.text("a.model"));
    let mut left = Vec::new();
    for (name, budget) in [("bounded", "64MiB"), ("free", "0")] {
        let (index, plan) = (place.copy(name), place.text(&format!("{name}.plan")));
        let args = ["plan", "build", &part, "--model", &model, "--index", &index];
        let more = ["--mode", "upsert", "--memory-budget", budget, "--out", &plan];
        let all = args.into_iter().chain(more).map(str::to_owned);
        let commit = ["commit", "--plan", &plan].map(str::to_owned);
        match name {
            "bounded" => within(BUDGET, all.chain(["--threads".to_owned(), "2".to_owned()])),
            _ => drop(succeed("ocelli", all)),
        }
        succeed("ocelli", ["build", "--plan", &plan, "--task", "0", "--threads", "2"]);
        match name {
            "bounded" => within(BUDGET, commit),
            _ => drop(succeed("ocelli", commit)),
        }
        left.push(files(&place.path(name)));
    }
    assert_eq!(left[0], left[1]);
}

#[test]
fn a_proof_keeps_its_budget() {
    let place = Place::with_long_keys();
    let (part, index) = (place.text("all.part"), place.text("index"));
    succeed("ocelli", ["upsert", &index, &part]);
    let args = ["verify", &index, "--threads", "2", "--memory-budget", "64MiB"];
    within(BUDGET, args.map(str::to_owned));
    // What is wrong is found all the same.
    let shard = fs::read_dir(place.path("index/shards")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&shard, bytes).unwrap();
    assert!(fail("ocelli", 1, args).contains("fault"));
}

#[test]
fn a_backup_keeps_its_budget() {
    let place = Place::with_long_keys();
    let (part, index) = (place.text("all.part"), place.text("index"));
    succeed("ocelli", ["upsert", &index, &part]);
    let chain = place.text("chain");
    let args = ["backup", &index, &chain, "--threads", "2", "--memory-budget", "64MiB"];
    within(BUDGET, args.map(str::to_owned));
    let back = place.text("back");
    succeed("ocelli", ["restore", &chain, &back]);
    assert_eq!(files(Path::new(&back)), files(Path::new(&index)));
}

#[test]
fn an_export_keeps_its_budget() {
    let place = Place::with_long_keys();
    let index = place.text("index");
    for (kind, budget, flag) in [("parquet", 144, Some("--vectors")), ("faiss", BUDGET, None)] {
        let [bounded, free] = ["bounded", "free"].map(|name| place.text(&format!("{name}.{kind}")));
        let args = |out: &str| -> Vec<String> {
            let out = match kind {
                "faiss" => vec!["--out", out],
                _ => vec![out],
            };
            let args = ["export", kind, &index].into_iter().chain(out).chain(flag);
            args.map(str::to_owned).collect()
        };
        let with = ["--memory-budget".to_owned(), format!("{budget}MiB")];
        within(budget, args(&bounded).into_iter().chain(with));
        succeed("ocelli", args(&free));
        assert_eq!(fs::read(bounded).unwrap(), fs::read(free).unwrap(), "{kind}");
    }
}

#[test]
fn recall_keeps_its_budget() {
    let place = Place::new();
    // Codes that are more than the budget.
    place.part("all.part", (0, 900_000), 64, 0);
    place.part("some.part", (0, 4000), 64, 0);
    place.model("a.model", "some.part", 64, 64);
    let (part, model, index) = (place.text("all.part"), place.text("a.model"), place.text("index"));
    succeed("ocelli", ["build", &part, "--model", &model, "--out", &index]);
    let measured = |budget: &str| {
        let args = ["recall", &index, "--sample", "8", "--format", "json"];
        let text = succeed("ocelli", args.into_iter().chain(["--memory-budget", budget]));
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        report["at"][0]["recall"].as_f64().unwrap()
    };
    assert_eq!(measured("64MiB"), measured("0"));
    let args = ["recall", &index, "--sample", "8", "--memory-budget", "64MiB"];
    within(BUDGET, args.map(str::to_owned));
}

/// A budget that is too small is refused before any work, with the smallest that works; that one
/// works, and nothing below it.
#[test]
fn the_smallest_budget_that_works_is_named() {
    let place = Place::new();
    place.part("all.part", (0, 3000), 8, 40);
    place.model("a.model", "all.part", 16, 4);
    let (part, model) = (place.text("all.part"), place.text("a.model"));
    succeed("ocelli", ["build", &part, "--model", &model, "--out", &place.text("index")]);
    place.part("new.part", (3000, 3000), 8, 40);
    let (new, plan, out) =
        (place.text("new.part"), place.text("a.plan"), place.text("out.parquet"));
    let (chain, erased) = (place.text("chain"), key(7, 40));
    let commands: [&[&str]; 12] = [
        &["build", &part, "--model", &model, "--out", "INDEX", "--threads", "3"],
        &["add", "INDEX", &new, "--threads", "3"],
        &["upsert", "INDEX", &part, "--threads", "3"],
        &["rebuild", "INDEX", "--model", &model, "--threads", "3"],
        &["rebuild", "INDEX", &part, "--model", &model, "--threads", "3"],
        &["compact", "INDEX", "--all"],
        &["delete", "INDEX", "--id", "1"],
        &["delete", "INDEX", "--key", &erased, "--erase"],
        &["verify", "INDEX", "--threads", "3"],
        &["recall", "INDEX"],
        &["backup", "INDEX", &chain, "--threads", "3"],
        &["export", "parquet", "INDEX", &out],
    ];
    for (number, args) in commands.into_iter().enumerate() {
        let index = place.copy(&format!("index{number}"));
        // Something to compact.
        if args[0] == "compact" {
            succeed("ocelli", ["add", &index, &new]);
        }
        let run = |mib: u64| -> Vec<String> {
            let args = args.iter().map(|arg| arg.replace("INDEX", &index));
            args.chain(["--memory-budget".to_owned(), format!("{mib}MiB")]).collect()
        };
        let before = files(Path::new(&index));
        let smallest = smallest(&fail("ocelli", 1, run(1)));
        assert_eq!(smallest_of(run(smallest - 1)), smallest, "{args:?}");
        assert_eq!(files(Path::new(&index)), before, "{args:?} has begun");
        succeed("ocelli", run(smallest));
    }
    // A plan counts the threads of its tasks, not its own.
    let plan_of = |threads: &str, mib: u64| -> Vec<String> {
        let index = place.text("planned");
        let args = ["plan", "build", &part, "--model", &model, "--index", &index, "--out", &plan];
        let args = args.into_iter().chain(["--threads", threads]).map(str::to_owned);
        args.chain(["--memory-budget".to_owned(), format!("{mib}MiB")]).collect()
    };
    let [few, many] = ["1", "12"].map(|threads| smallest_of(plan_of(threads, 1)));
    assert!(few < many, "{few} MiB for 1 thread, {many} for 12");
    succeed("ocelli", plan_of("12", many));
    let task = |mib: u64| -> Vec<String> {
        let args = ["build", "--plan", &plan, "--task", "0", "--threads", "12"].map(str::to_owned);
        args.into_iter().chain(["--memory-budget".to_owned(), format!("{mib}MiB")]).collect()
    };
    assert_eq!(smallest_of(task(many - 1)), many);
    succeed("ocelli", task(many));
}

/// The smallest budget that a refusal names, in MiB.
fn smallest_of(args: Vec<String>) -> u64 {
    smallest(&fail("ocelli", 1, args))
}

fn smallest(message: &str) -> u64 {
    let (_, rest) = message.split_once("the smallest budget that works is ").expect(message);
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// More pairs than the budget holds: they are sorted in files, and the result is the same.
#[test]
fn pairs_of_a_deduplication_are_sorted_in_files() {
    let place = Place::new();
    place.part("rows.part", (0, 60_000), 8, 12);
    place.model("a.model", "rows.part", 16, 4);
    let text = |name: &str| place.text(name);
    let (part, model, index) = (text("rows.part"), text("a.model"), text("index"));
    succeed("ocelli", ["build", &part, "--model", &model, "--out", &index]);
    let args = |out: &str| -> Vec<String> {
        let flags = ["--threshold", "0.5", "--threads", "2", "--tasks", "2", "--vectors"];
        let words = ["dedup".to_owned(), text("index")].into_iter();
        words
            .chain(flags.map(str::to_owned))
            .chain([text("rows.part"), "--out".to_owned(), text(out)])
            .collect()
    };
    let budget = 100;
    let bounded = args("bounded").into_iter();
    within(budget, bounded.chain(["--memory-budget".to_owned(), format!("{budget}MiB")]));
    succeed("ocelli", args("free"));
    let summary = fs::read(place.path("free").join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    let pairs = summary["pairs"]["pairs"].as_u64().unwrap();
    // More than the least memory to sort in.
    assert!(pairs * 32 > 8 << 20, "{pairs} pairs: they would fit");
    for name in ["pairs.parquet", "summary.json"] {
        let read = |out: &str| Hash::of(&fs::read(place.path(out).join(name)).unwrap());
        assert_eq!(read("bounded"), read("free"), "{name}");
    }
}
