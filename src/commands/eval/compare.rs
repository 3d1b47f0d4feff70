//! `ocelli eval retrieval --compare RUN_A RUN_B`.

use std::path::Path;

use anyhow::Result;
use ocelli_indexer::evaluate::bootstrap::RESAMPLES;
use ocelli_indexer::evaluate::compare::{Comparison, RunFile, SetupComparison, compare};

use super::text::some;
use crate::output::{Format, cell, print, thousands};

/// Queries that changed most, as many as are listed.
const CHANGED: usize = 20;

/// Compares two reports of `--out`.
pub fn run(a: &Path, b: &Path, format: Format) -> Result<()> {
    let comparison = compare(&RunFile::open(a)?, &RunFile::open(b)?, CHANGED)?;
    print(format, &comparison, text)
}

fn text(comparison: &Comparison) -> String {
    let mut text = format!("{}\n", cell(&comparison.dataset));
    for (name, side) in [("A", &comparison.a), ("B", &comparison.b)] {
        text += &format!("{name}: {}, {}\n", side.path.display(), cell(&side.search));
    }
    for caution in &comparison.cautions {
        text += &format!("caution: {caution}\n");
    }
    for (side, only) in [("A", &comparison.only_a), ("B", &comparison.only_b)] {
        if !only.is_empty() {
            text += &format!("setups of {side} alone: {}\n", some(only));
        }
    }
    for setup in &comparison.setups {
        text += "\n";
        text += &of_setup(setup);
    }
    text
}

fn of_setup(setup: &SetupComparison) -> String {
    let value = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |v| format!("{v:.4}"));
    let [a, b] = setup.values;
    let name = cell(&setup.setup);
    let mut text = format!("{name}: {} A {}, B {}\n", setup.measure, value(a), value(b));
    if let Some(difference) = &setup.difference {
        let [low, high] = difference.interval;
        let p = match difference.p {
            0.0 => format!("< {:.4}", 2.0 / RESAMPLES as f64),
            p => format!("{p:.4}"),
        };
        text += &format!(
            "B - A over {} common queries: {:+.4}, 95 % interval {low:+.4} to {high:+.4}, p {p} \
             (paired bootstrap)\n",
            thousands(setup.common as u64),
            difference.mean,
        );
    }
    text += &format!(
        "B is better for {}, worse for {}, equal for {}\n",
        thousands(setup.better as u64),
        thousands(setup.worse as u64),
        thousands(setup.equal as u64)
    );
    if setup.ties[0] != setup.ties[1] {
        let [a, b] = &setup.ties;
        text += &format!("caution: images of equal score were ordered differently, {a} and {b}\n");
    }
    if setup.images[0] != setup.images[1] {
        text += &format!(
            "caution: the databases differ in size, {} and {} images\n",
            thousands(setup.images[0] as u64),
            thousands(setup.images[1] as u64)
        );
    }
    for (side, only) in [("A", &setup.only_a), ("B", &setup.only_b)] {
        if !only.is_empty() {
            text += &format!("queries of {side} alone: {}\n", some(only));
        }
    }
    for changed in &setup.changed {
        let (a, b) = (changed.a, changed.b);
        text += &format!("{:+.4}  {a:.4} -> {b:.4}  {}\n", b - a, cell(&changed.name));
    }
    text
}
