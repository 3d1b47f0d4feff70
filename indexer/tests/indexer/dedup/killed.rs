//! A run that is killed at any moment goes on, and its files are those of a run that was not.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ocelli_index::Metric;
use ocelli_indexer::dedup::pairs::{DEFAULT_LOOKS, DEFAULT_PHASH_BITS, DedupOptions};
use ocelli_indexer::silent;
use ocelli_test_support::cases;

use super::world::{World, dedup, files, plain, with_copies};

/// The index, the part and the folder of the files, for a child of this test.
const CHILD: &str = "OCELLI_TEST_DEDUP_OF_A_CHILD";

fn options(world: &World, out: &str) -> DedupOptions {
    let mut options = world.options(0.05, out);
    options.vectors = vec![world.part.clone()];
    options.tasks = 12;
    options.threads = 1;
    options
}

/// No test of its own: the run that the test below ends.
#[test]
fn child() {
    let Ok(place) = env::var(CHILD) else { return };
    let [index, part, out] = place.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let options = DedupOptions {
        threshold: 0.05,
        index: index.into(),
        against: None,
        since: None,
        vectors: vec![part.into()],
        nprobe: Some(64),
        phash_bits: DEFAULT_PHASH_BITS,
        looks: DEFAULT_LOOKS,
        tasks: 12,
        threads: 1,
        memory_budget_bytes: 0,
        out: out.into(),
        after: serde_json::Value::Null,
    };
    dedup(&options, None, &silent).unwrap();
}

fn start(world: &World, out: &Path) -> std::process::Child {
    let place = [&world.index, &world.part, out].map(|path| path.display().to_string()).join("\n");
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "dedup::killed::child"])
        .env(CHILD, place)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_run_goes_on() {
    let x = with_copies(20_000, 51, 0.05);
    let world = World::new(&plain("r", &x), Metric::L2, (32, 4), None, 2);
    let whole = options(&world, "whole");
    let begun = Instant::now();
    dedup(&whole, None, &silent).unwrap();
    let took = begun.elapsed();
    let want = files(&whole.out);
    let mut cut_short = 0;
    let kills = cases(8u32, 30);
    for kill in 0..kills {
        let options = options(&world, &format!("out-{kill}"));
        let mut child = start(&world, &options.out);
        // A test binary takes a moment to start.
        sleep(took * kill / kills + Duration::from_millis(30));
        child.kill().unwrap(); // SIGKILL.
        child.wait().unwrap();
        let summary = options.out.join("summary.json");
        if !summary.exists() {
            cut_short += 1;
        }
        dedup(&options, None, &silent).unwrap();
        assert!(files(&options.out) == want, "kill {kill}");
        let work = world.folder.path().join(format!("out-{kill}.work"));
        assert!(!work.exists(), "{:?}", std::fs::read_dir(&work).unwrap().collect::<Vec<_>>());
    }
    assert!(cut_short >= kills / 2, "{cut_short} of {kills} runs were cut short");
}
