//! What cannot be done is said before the work.

use std::fs;

use ocelli_index::Metric;
use ocelli_indexer::FineChoice;
use ocelli_indexer::silent;

use super::world::{DIM, World, dedup, normalised, plain, with_copies};

#[test]
fn thresholds_and_options_out_of_range() {
    let x = with_copies(800, 41, 0.05);
    let l2 = World::new(&plain("r", &x), Metric::L2, (4, 4), Some(FineChoice::F16), 1);
    let error = |change: &dyn Fn(&mut ocelli_indexer::dedup::pairs::DedupOptions)| {
        let mut options = l2.options(0.1, "out");
        change(&mut options);
        dedup(&options, None, &silent).unwrap_err().to_string()
    };
    for threshold in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = error(&|options| options.threshold = threshold);
        assert!(error.contains("threshold: expected a number, found"), "{error}");
    }
    let found = error(&|options| options.threshold = -0.5);
    assert!(found.contains("a squared distance, 0 or more, found -0.5"), "{found}");
    assert!(error(&|options| options.nprobe = Some(0)).contains("nprobe: expected at least 1"));
    assert!(error(&|options| options.looks = 0).contains("expected at least 1, found 0"));
    assert!(error(&|options| options.phash_bits = 65).contains("expected 0 to 64, found 65"));
    let found = error(&|options| {
        options.since = Some(1);
        options.against = Some(l2.index.clone());
    });
    assert!(found.contains("found both"), "{found}");
    let found = error(&|options| options.since = Some(7));
    assert!(found.contains("--since 7: expected a generation before 1"), "{found}");
    let found = error(&|options| options.memory_budget_bytes = 1 << 20);
    assert!(found.contains("the smallest budget that works is"), "{found}");
    let file = l2.folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let found = error(&|options| options.out = file.join("out"));
    assert!(found.contains("file/out"), "{found}");
}

/// Codes that cannot tell a threshold say so, and name one that they can; that one works.
#[test]
fn codes_that_cannot_tell_say_so() {
    for (metric, near) in [(Metric::L2, 1e-4), (Metric::InnerProduct, 0.9999)] {
        let x = with_copies(2000, 42, 0.05);
        let x = if metric == Metric::L2 { x } else { normalised(x) };
        let world = World::new(&plain("r", &x), metric, (8, 4), None, 1);
        let mut options = world.options(near, "out");
        let error = dedup(&options, None, &silent).unwrap_err().to_string();
        assert!(error.contains("cannot tell") && error.contains("--vectors"), "{error}");
        let offered: f32 = error.rsplit_once(' ').unwrap().1.parse().unwrap();
        // Rounded to the digits that people read.
        options.threshold = metric.score(metric.cost(offered) + 1e-3);
        dedup(&options, None, &silent).unwrap();
        options.threshold = near;
        options.vectors = vec![world.part.clone()];
        dedup(&options, None, &silent).unwrap();

        // What is said of the error is about what vectors say; codebooks alone say it roughly.
        let snapshot = ocelli_index::Snapshot::open(&world.index, None).unwrap();
        let mut sum = 0.0;
        for (row, x) in (0..).zip(x.chunks_exact(DIM)) {
            let row = ocelli_index::Row { shard: 0, ordinal: row };
            let error = snapshot.vector(row).unwrap();
            sum += error.iter().zip(x).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        }
        let real = 2.0 * sum / 2000.0;
        if metric == Metric::L2 {
            let said = f64::from(offered) / real;
            // Codebooks that were learned on so few rows fit these better than others.
            assert!((0.1..1.4).contains(&said), "{said}");
        }
        let ratio = snapshot.model().resolution_sq(false) / real;
        assert!((0.2..3.0).contains(&ratio), "{metric}: {ratio}");
    }
}
