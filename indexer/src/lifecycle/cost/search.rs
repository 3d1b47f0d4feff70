//! The cost of searches.

use ocelli_index::Met;

use super::Shape;
use super::rates::{LIST_NS, LUT_NS, PROBE_NS, QUERY_NS, SCAN_NS};

/// The cost of a query.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct SearchCost {
    /// Lists that it looks at.
    pub nprobe: u64,
    /// One core's time, in microseconds.
    pub core_us: f64,
    /// Queries a second of all cores, each query by itself, where the index is in memory.
    pub queries_per_second: f64,
}

/// The cost of a query that looks at `nprobe` lists of an index of `rows` in so many shards, on
/// `threads` cores. Lists are taken to be equally long; a query finds longer ones.
pub fn search(shape: &Shape, rows: u64, shards: u64, nprobe: u64, threads: u64) -> SearchCost {
    let nprobe = nprobe.min(shape.nlist);
    let met = Met::by_query(shape.nlist as usize, nprobe as usize).vectors as f64;
    let scanned = rows as f64 * nprobe as f64 / shape.nlist as f64;
    let core_ns = QUERY_NS
        + shape.d as f64 * (met * PROBE_NS + shape.ksub as f64 * LUT_NS)
        + nprobe as f64 * shards as f64 * LIST_NS
        + scanned * shape.code_bytes() * SCAN_NS;
    SearchCost {
        nprobe,
        core_us: core_ns / 1e3,
        queries_per_second: 1e9 / core_ns * threads as f64,
    }
}
