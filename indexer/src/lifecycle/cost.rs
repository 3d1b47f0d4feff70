//! The cost of a build: disk, memory and time as functions of its input.
//!
//! Coefficients are estimates for one processor; each has its name and unit. A
//! prediction is no promise: another processor or disk has other coefficients.

use ocelli_index::{Estimate, FineCodec, Metric, Model};

/// One core's time for the product of one coordinate of a row with one centroid's, in ns.
const ASSIGN_NS: f64 = 0.006;
/// Centroids that a row meets where they are in groups, for each square root of their number.
const NEAR_CENTROIDS: f64 = 24.0;
/// Centroids from which on they are in groups.
const GROUPED_NLIST: f64 = 8192.0;
/// One core's time for one coordinate and one codeword, in ns.
const QUANTIZE_NS: f64 = 0.02;
/// One core's time for one product of the rotation, in ns.
const ROTATE_NS: f64 = 0.08;
/// One core's time for a row besides: reading, names, sorting, merging, in ns.
const ROW_NS: f64 = 900.0;
/// Bytes that the disk takes in a second.
const DISK_BYTES_PER_S: f64 = 400e6;
/// Bytes of a row in a run, besides its code and its key: list, id, ordinal, hash, lengths.
const RUN_ROW_BYTES: f64 = 36.0;
/// Bytes of a key in a run for each byte of it in a part, which is compressed.
const KEY_UNFOLDED: f64 = 2.5;
/// The program itself, in bytes.
const PROGRAM_BYTES: f64 = 40e6;

/// The size of a build.
#[derive(Clone, Copy, Debug)]
pub struct BuildSize {
    /// Rows.
    pub rows: u64,
    /// Rows of the largest shard.
    pub shard_rows: u64,
    /// Shards.
    pub shards: u64,
    /// Bytes of the keys of all parts, compressed.
    pub key_bytes: u64,
    /// Bytes of the attributes of all parts.
    pub attribute_bytes: u64,
    /// Whether the rows bring ids.
    pub has_ids: bool,
    /// Whether the rows are codes already.
    pub are_codes: bool,
    /// Threads of a task.
    pub threads: u64,
    /// Memory that a task may take, in bytes; 0: no limit.
    pub memory_budget_bytes: u64,
}

/// Disk, memory and time that a build of `size` under `model` takes.
pub fn build(model: &Model, size: &BuildSize) -> Estimate {
    let rows = size.rows as f64;
    let code_bytes = (model.parts().m + fine_bytes(model)) as f64;
    let disk = shard_bytes(model, size);
    let run_row = code_bytes
        + RUN_ROW_BYTES
        + (KEY_UNFOLDED * size.key_bytes as f64 + size.attribute_bytes as f64) / rows.max(1.0);
    let task_bytes = run_row * size.shard_rows as f64;
    let needs = PROGRAM_BYTES + model_bytes(model) + 1.5 * task_bytes;
    let budget = size.memory_budget_bytes as f64;
    let (memory, work) = match size.memory_budget_bytes {
        0 => (needs, 0.0),
        _ => (needs.min(budget), if needs > budget { task_bytes } else { 0.0 }),
    };
    let cpu_s = rows * row_ns(model, size) / 1e9 / size.threads.max(1) as f64;
    let spilled = if work > 0.0 { 2.0 * run_row * rows } else { 0.0 };
    let seconds = cpu_s + (disk + spilled) / DISK_BYTES_PER_S;
    Estimate {
        disk_bytes: disk as u64,
        work_bytes: work as u64,
        memory_bytes: memory as u64,
        seconds: seconds.ceil() as u64,
    }
}

fn fine_bytes(model: &Model) -> usize {
    model.fine_codec().map_or(0, FineCodec::code_bytes)
}

/// Bytes of all shards: what each row has, and what each list of each shard has.
fn shard_bytes(model: &Model, size: &BuildSize) -> f64 {
    let p = model.parts();
    let rows = size.rows as f64;
    let bits = |n: u64| f64::from(u64::BITS - n.leading_zeros());
    let ordinal = bits(size.shard_rows) / 8.0;
    let code = if p.ksub == 16 { p.m as f64 / 2.0 } else { p.m as f64 };
    let term = if p.metric == Metric::L2 { 1.0 } else { 0.0 };
    let ids = if size.has_ids { 7.0 + ordinal } else { 0.0 };
    let keys = if size.key_bytes > 0 { 4.0 + ordinal } else { 0.0 };
    let row = code + fine_bytes(model) as f64 + term + ordinal + bits(p.nlist as u64) / 8.0;
    let list = 32.0 + 8.0 * code;
    rows * (row + ids + keys)
        + (size.key_bytes + size.attribute_bytes) as f64
        + size.shards as f64 * p.nlist as f64 * list
}

/// Memory of a model that encodes.
fn model_bytes(model: &Model) -> f64 {
    let p = model.parts();
    (14 * p.nlist * p.d + 100 * p.nlist + 24 * p.ksub * p.d + 8 * p.d * p.dim) as f64
}

/// One core's time for a row, in ns.
fn row_ns(model: &Model, size: &BuildSize) -> f64 {
    if size.are_codes {
        return ROW_NS;
    }
    let p = model.parts();
    let (d, nlist) = (p.d as f64, p.nlist as f64);
    let near = if nlist >= GROUPED_NLIST { NEAR_CENTROIDS * nlist.sqrt() } else { nlist };
    let rotation = if p.rotation.is_some() { d * p.dim as f64 * ROTATE_NS } else { 0.0 };
    ROW_NS + rotation + d * near.min(nlist) * ASSIGN_NS + d * p.ksub as f64 * QUANTIZE_NS
}
