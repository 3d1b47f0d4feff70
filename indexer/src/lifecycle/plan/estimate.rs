//! What an index would take, before there is any row of it.

use serde::Serialize;

use crate::lifecycle::cost::{self, BuildCost, BuildSize, SearchCost, Shape, TrainCost};
use crate::{Error, Result};

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
    check(options)?;
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

/// Refuses sizes that no index has.
fn check(options: &EstimateOptions) -> Result<()> {
    let shape = &options.shape;
    let within = |name: &str, found: u64, most: u64| match (1..=most).contains(&found) {
        true => Ok(()),
        false => Err(Error::Invalid(format!("{name}: expected 1 to {most}, found {found}"))),
    };
    within("rows", options.rows, 1 << 40)?;
    within("nlist", shape.nlist, (1 << 24).min(options.rows))?;
    within("dim", shape.dim, 1 << 16)?;
    within("the dimension after a PCA", shape.d, shape.dim)?;
    within("cores", options.cores, 1 << 20)?;
    within("shards", options.shards, options.rows.min(1 << 20))?;
    within("tasks at once", options.tasks_at_once, 1 << 20)?;
    within("training rows", options.training_rows, options.rows)?;
    within("iterations", options.niter, 1 << 16)?;
    for &nprobe in &options.nprobe {
        within("nprobe", nprobe, shape.nlist)?;
    }
    if shape.m == 0 || !shape.d.is_multiple_of(shape.m) {
        return Err(Error::Invalid(format!(
            "m: expected a divisor of the {} dimensions, found {}",
            shape.d, shape.m
        )));
    }
    within("bytes of a finer code", shape.fine_bytes.max(1), 1 << 20)?;
    for (name, found) in
        [("bytes of a key", options.key_bytes), ("bytes of attributes", options.attribute_bytes)]
    {
        if !(0.0..=1e6).contains(&found) {
            return Err(Error::Invalid(format!("{name}: expected 0 to 1000000, found {found}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> EstimateOptions {
        EstimateOptions {
            shape: Shape {
                dim: 96,
                d: 96,
                nlist: 4096,
                m: 24,
                ksub: 256,
                fine_bytes: 0,
                has_terms: true,
                is_rotated: false,
            },
            rows: 10_000_000,
            shards: 4,
            training_rows: 262_144,
            niter: 25,
            key_bytes: 0.0,
            attribute_bytes: 0.0,
            cores: 2,
            tasks_at_once: 1,
            memory_budget_bytes: 0,
            nprobe: vec![1, 4096],
        }
    }

    #[test]
    fn sizes_that_no_index_has_are_refused() {
        assert!(estimate(&options()).is_ok());
        let wrong: [fn(&mut EstimateOptions); 14] = [
            |o| o.rows = 0,
            |o| o.rows = u64::MAX,
            |o| o.shape.nlist = 0,
            |o| o.shape.nlist = o.rows + 1,
            |o| o.shape.d = 97,
            |o| o.shape.m = 25,
            |o| o.shape.m = 0,
            |o| o.shards = o.rows + 1,
            |o| o.cores = 0,
            |o| o.training_rows = 0,
            |o| o.niter = 0,
            |o| o.key_bytes = f64::NAN,
            |o| o.attribute_bytes = -1.0,
            |o| o.nprobe.push(0),
        ];
        for (i, change) in wrong.into_iter().enumerate() {
            let mut options = options();
            change(&mut options);
            assert!(estimate(&options).is_err(), "number {i}");
        }
        // The largest that are counted with overflow nothing.
        let mut most = options();
        most.shape = Shape { dim: 1 << 16, d: 1 << 16, nlist: 1 << 24, m: 1 << 16, ..most.shape };
        let changed = EstimateOptions { rows: 1 << 40, shards: 1 << 20, cores: 1 << 20, ..most };
        assert!(estimate(&changed).unwrap().seconds.is_finite());
    }

    /// More tasks at a time than cores sort no faster.
    #[test]
    fn tasks_share_cores() {
        let at_once = |tasks| {
            let options = EstimateOptions { tasks_at_once: tasks, shards: 40, ..options() };
            estimate(&options).unwrap().build.sort_seconds
        };
        assert!(at_once(2) < at_once(1));
        assert_eq!(at_once(2).to_bits(), at_once(32).to_bits());
    }
}
