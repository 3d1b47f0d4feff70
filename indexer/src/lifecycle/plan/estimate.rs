//! What an index would take, before there is any row of it.

use serde::Serialize;

use crate::lifecycle::cost::{self, BuildCost, BuildSize, SearchCost, Shape, TrainCost};
use crate::{Error, Result};

/// Most rows, lists, dimensions and cores that are counted with: beyond them the formulas say
/// nothing.
const MOST: [(&str, u64); 4] =
    [("rows", 1 << 40), ("nlist", 1 << 24), ("dim", 1 << 16), ("cores", 1 << 20)];

/// The sizes of an index that is thought of.
#[derive(Clone, Debug, PartialEq)]
pub struct EstimateOptions {
    /// Sizes of its model.
    pub shape: Shape,
    /// Rows.
    pub rows: u64,
    /// Shards.
    pub shards: u64,
    /// Rows to train on.
    pub training_rows: u64,
    /// Iterations of k-means.
    pub niter: u64,
    /// Bytes of a key, compressed; 0: rows have no keys.
    pub key_bytes: f64,
    /// Bytes of a row's attributes.
    pub attribute_bytes: f64,
    /// Cores.
    pub cores: u64,
    /// Tasks that run at a time.
    pub tasks_at_once: u64,
    /// Memory that a task may take, in bytes; 0: as much as it needs.
    pub memory_budget_bytes: u64,
    /// Lists that queries look at.
    pub nprobe: Vec<u64>,
}

/// What an index would take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EstimateReport {
    /// Training of the model.
    pub train: TrainCost,
    /// The build, from descriptors.
    pub build: BuildCost,
    /// Time of both by the clock, in seconds.
    pub seconds: f64,
    /// Time of both of all cores together, in hours.
    pub core_hours: f64,
    /// Bytes of the shards for each row.
    pub bytes_per_row: f64,
    /// A query, for each number of lists that it may look at.
    pub search: Vec<SearchCost>,
}

/// What an index of these sizes would take on this kind of machine.
///
/// # Errors
/// Sizes that no index has.
pub fn estimate(options: &EstimateOptions) -> Result<EstimateReport> {
    let shape = &options.shape;
    let found = [options.rows, shape.nlist, shape.dim.max(shape.d), options.cores];
    for ((name, most), found) in MOST.into_iter().zip(found) {
        if !(1..=most).contains(&found) {
            return Err(Error::Invalid(format!("{name}: expected 1 to {most}, found {found}")));
        }
    }
    if shape.m == 0 || !shape.d.is_multiple_of(shape.m) {
        return Err(Error::Invalid(format!(
            "m: expected a divisor of the {} dimensions, found {}",
            shape.d, shape.m
        )));
    }
    if !(1..=options.rows).contains(&options.shards) {
        return Err(Error::Invalid(format!(
            "shards: expected 1 to {} (the rows), found {}",
            options.rows, options.shards
        )));
    }
    let bytes = |each: f64| (each * options.rows as f64) as u64;
    let size = BuildSize {
        rows: options.rows,
        shard_rows: options.rows.div_ceil(options.shards),
        shards: options.shards,
        key_bytes: bytes(options.key_bytes),
        attribute_bytes: bytes(options.attribute_bytes),
        has_ids: false,
        are_codes: false,
        threads: options.cores,
        tasks_at_once: options.tasks_at_once,
        memory_budget_bytes: options.memory_budget_bytes,
    };
    let train = cost::train(shape, options.training_rows, options.niter, options.cores);
    let build = cost::build(shape, &size);
    let search =
        |&nprobe: &u64| cost::search(shape, options.rows, options.shards, nprobe, options.cores);
    Ok(EstimateReport {
        train,
        build,
        seconds: train.seconds + build.seconds(),
        core_hours: (train.core_seconds + build.core_seconds) / 3600.0,
        bytes_per_row: build.disk_bytes as f64 / options.rows as f64,
        search: options.nprobe.iter().map(search).collect(),
    })
}
