//! Killed at any moment, an index holds what its last commit says.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use ocelli_index::{IndexDir, Snapshot};
use ocelli_indexer::lifecycle::{CompactOptions, compact};
use ocelli_indexer::silent;
use ocelli_test_support::cases;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::op::{Op, op};
use super::world::{State, World, models, same};

/// The folder in which a child of this test works, and the number of its changes.
const CHILD: &str = "OCELLI_TEST_LIFE_OF_A_CHILD";
const OPS: usize = 60;

fn ops(seed: u8) -> Vec<Op> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let ops = prop::collection::vec(op(), OPS).new_tree(&mut runner).unwrap().current();
    // The directory stays the same, since the parent looks at it.
    ops.into_iter().filter(|op| !matches!(op, Op::Restore)).collect()
}

fn done_file(folder: &Path) -> PathBuf {
    folder.join("done")
}

/// No test of its own: the life that [`a_life_that_is_cut_short_leaves_what_was_committed`] ends.
#[test]
fn child() {
    let Ok(place) = env::var(CHILD) else { return };
    let (seed, folder) = place.split_once(' ').unwrap();
    let folder = Path::new(folder);
    let mut world = World::new(&folder.join("index"), models(folder));
    fs::write(done_file(folder), "0").unwrap();
    for (i, op) in ops(seed.parse().unwrap()).iter().enumerate() {
        world.apply(op);
        // Written beside and renamed, so that it is whole.
        fs::write(folder.join("new"), (i + 1).to_string()).unwrap();
        fs::rename(folder.join("new"), done_file(folder)).unwrap();
    }
}

#[test]
fn a_life_that_is_cut_short_leaves_what_was_committed() {
    for seed in 0..cases(2u8, 10) {
        // What the index holds after each change.
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(&folder.path().join("index"), models(folder.path()));
        let mut states = vec![world.state.clone()];
        for op in ops(seed) {
            world.apply(&op);
            states.push(world.state.clone());
        }
        for kill in 0..cases(6u64, 25) {
            kill_and_look(seed, Duration::from_millis(40 + 97 * kill % 1500), &states);
        }
    }
}

/// Starts a life, ends it after a while, and looks at what is left.
fn kill_and_look(seed: u8, after: Duration, states: &[State]) {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "life::killed::child"])
        .env(CHILD, format!("{seed} {}", folder.path().display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !done_file(folder.path()).exists() && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(2));
    }
    sleep(after);
    child.kill().unwrap(); // SIGKILL.
    child.wait().unwrap();
    let done: usize = fs::read_to_string(done_file(folder.path())).unwrap().parse().unwrap();
    let snapshot = Snapshot::open(&index, None).unwrap();
    snapshot.verify().unwrap();
    let rows = snapshot.rows();
    let holds = |state: &&State| {
        state.rows.len() as u64 == rows
            && state.rows.iter().all(|(&id, row)| {
                // A rebuild changes what rows decode to and nothing else.
                let decodes_to =
                    |x: &[f32]| x.iter().zip(&row.decoded).all(|(a, b)| (a - b).abs() < 1e-4);
                snapshot.find_id(id).unwrap().is_some_and(|found| {
                    snapshot.key(found).unwrap() == row.key
                        && decodes_to(&snapshot.vector(found).unwrap())
                })
            })
    };
    // The change that was under way is there wholly or not at all.
    let near = &states[done..(done + 2).min(states.len())];
    let state = near.iter().find(holds);
    let state = state.unwrap_or_else(|| panic!("{done} changes of life {seed}: {rows} rows"));
    same(&snapshot, state);
    // Life goes on.
    compact(&index, &CompactOptions { all: true, memory_budget_bytes: 0 }, &silent).unwrap();
    let snapshot = Snapshot::open(&index, None).unwrap();
    snapshot.verify().unwrap();
    same(&snapshot, state);
    assert!(IndexDir::open(&index).unwrap().current().unwrap().is_some());
}
