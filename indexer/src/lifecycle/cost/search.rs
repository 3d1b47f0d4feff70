//! The cost of searches.

use ocelli_index::Met;

use super::Shape;
use super::rates::{
    FAR_NS, LIST_NS, LUT_NS, PICK_NEAR_NS, PICK_NS, PROBE_NEAR_NS, PROBE_NS, SCAN_NS, SHARD_NS,
};

/// Rows that a query scans over those of lists of equal length: it finds long lists more often.
const LONGER: f64 = 1.1;
/// Bytes of codes from which on an index is too large for the processor's table of pages.
const FAR_BYTES: f64 = (1u64 << 30) as f64;

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
/// `threads` cores.
pub fn search(shape: &Shape, rows: u64, shards: u64, nprobe: u64, threads: u64) -> SearchCost {
    let nprobe = nprobe.min(shape.nlist);
    let met = Met::by_query(shape.nlist as usize, nprobe as usize);
    let (probe, pick) =
        if met.groups == 0 { (PROBE_NS, PICK_NS) } else { (PROBE_NEAR_NS, PICK_NEAR_NS) };
    let is_far = rows as f64 * shape.code_bytes() > FAR_BYTES;
    let scan = if is_far { SCAN_NS + FAR_NS } else { SCAN_NS };
    let lists = nprobe as f64;
    let scanned = LONGER * rows as f64 * lists / shape.nlist as f64;
    let core_ns = shape.d as f64 * (met.vectors as f64 * probe + shape.ksub as f64 * LUT_NS)
        + lists * pick
        + shards as f64 * (SHARD_NS + lists * LIST_NS)
        + scanned * shape.code_bytes() * scan;
    SearchCost {
        nprobe,
        core_us: core_ns / 1e3,
        queries_per_second: 1e9 / core_ns * threads as f64,
    }
}
