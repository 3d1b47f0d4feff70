//! The life of an index: whatever is done to it, in whatever order, it holds what it should.

mod killed;
mod op;
mod together;
mod world;

use ocelli_test_support::cases;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use op::op;
use world::{World, models};

/// Sequences of changes; `./test --long` makes a thousand.
#[test]
fn an_index_holds_what_it_should_whatever_is_done_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let models = models(folder.path());
    let config = Config {
        cases: cases(25, 1000),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let ops = prop::collection::vec(op(), 1..14);
    let outcome = TestRunner::new(config).run(&ops, |ops| {
        let index = tempfile::tempdir().unwrap();
        let mut world = World::new(&index.path().join("index"), models.clone());
        for op in &ops {
            world.apply(op);
            world.check();
        }
        Ok(())
    });
    if let Err(failed) = outcome {
        panic!("{failed}");
    }
}
