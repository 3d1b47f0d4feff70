//! The cost of a build.

use ocelli_index::{Estimate, Met};

use super::Shape;
use super::rates::{
    DISK_BYTES_PER_S, GROUP_NS, KEY_NS, MEET_NEAR_NS, MEET_NS, PROCESS_NS, QUANTIZE_NS, READ_NS,
    ROTATE_NS, ROW_NS, WORD_NS,
};

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
    /// Cores that work on it.
    pub threads: u64,
    /// Tasks that run at a time.
    pub tasks_at_once: u64,
    /// Memory that a task may take, in bytes; 0: no limit.
    pub memory_budget_bytes: u64,
}

/// The cost of a build.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct BuildCost {
    /// Time by the clock of finding lists and encoding, in seconds.
    pub encode_seconds: f64,
    /// Time by the clock of sorting, merging and writing, in seconds.
    pub sort_seconds: f64,
    /// Time of all cores together, in seconds.
    pub core_seconds: f64,
    /// Bytes of all shards.
    pub disk_bytes: u64,
    /// Bytes that one task writes and removes again.
    pub work_bytes: u64,
    /// Largest memory of a task, in bytes.
    pub memory_bytes: u64,
}

impl BuildCost {
    /// Time by the clock, in seconds.
    pub fn seconds(&self) -> f64 {
        self.encode_seconds + self.sort_seconds
    }

    /// The estimate that a plan has.
    pub fn estimate(&self) -> Estimate {
        Estimate {
            disk_bytes: self.disk_bytes,
            work_bytes: self.work_bytes,
            memory_bytes: self.memory_bytes,
            seconds: self.seconds().ceil() as u64,
        }
    }
}

/// The cost of a build of `size` under a model of `shape`.
pub fn build(shape: &Shape, size: &BuildSize) -> BuildCost {
    let (rows, threads) = (size.rows as f64, size.threads.max(1) as f64);
    let disk = shard_bytes(shape, size);
    let run_row = shape.m as f64
        + shape.fine_bytes as f64
        + RUN_ROW_BYTES
        + (KEY_UNFOLDED * size.key_bytes as f64 + size.attribute_bytes as f64) / rows.max(1.0);
    let task_bytes = run_row * size.shard_rows as f64;
    let needs = PROGRAM_BYTES + shape.model_bytes() + 1.5 * task_bytes;
    let budget = size.memory_budget_bytes as f64;
    let (memory, work) = match size.memory_budget_bytes {
        0 => (needs, 0.0),
        _ => (needs.min(budget), if needs > budget { task_bytes } else { 0.0 }),
    };
    let spilled = if work > 0.0 { run_row * rows } else { 0.0 };
    let encode_core_s = if size.are_codes { 0.0 } else { rows * encode_ns(shape) / 1e9 };
    let key_ns = if size.key_bytes > 0 { KEY_NS } else { 0.0 };
    let sort_core_s = (rows * (ROW_NS + key_ns) + size.shards as f64 * PROCESS_NS) / 1e9;
    let at_once = size.tasks_at_once.clamp(1, size.shards.min(size.threads).max(1)) as f64;
    BuildCost {
        encode_seconds: encode_core_s / threads,
        // One task sorts and writes on little more than one core.
        sort_seconds: sort_core_s / at_once + spilled / DISK_BYTES_PER_S,
        core_seconds: encode_core_s + sort_core_s,
        disk_bytes: disk as u64,
        work_bytes: work as u64,
        memory_bytes: memory as u64,
    }
}

/// Bytes of all shards: what each row has, and what each list of each shard has.
fn shard_bytes(shape: &Shape, size: &BuildSize) -> f64 {
    let rows = size.rows as f64;
    let bits = |n: u64| f64::from(u64::BITS - n.leading_zeros());
    let ordinal = bits(size.shard_rows) / 8.0;
    let term = if shape.has_terms { 1.0 } else { 0.0 };
    let ids = if size.has_ids { 7.0 + ordinal } else { 0.0 };
    let keys = if size.key_bytes > 0 { 4.0 + ordinal } else { 0.0 };
    let code = shape.code_bytes();
    let row = code + shape.fine_bytes as f64 + term + ordinal + bits(shape.nlist) / 8.0;
    let list = 32.0 + 8.0 * code;
    rows * (row + ids + keys)
        + (size.key_bytes + size.attribute_bytes) as f64
        + size.shards as f64 * shape.nlist as f64 * list
}

/// One core's time to read a row, find its list and encode it, in ns.
fn encode_ns(shape: &Shape) -> f64 {
    let (dim, d, ksub) = (shape.dim as f64, shape.d as f64, shape.ksub as f64);
    let met = Met::by_row(shape.nlist as usize);
    let coordinates = d * met.vectors as f64;
    let assign = match met.groups {
        0 => coordinates * MEET_NS,
        groups => coordinates * MEET_NEAR_NS + groups as f64 * GROUP_NS,
    };
    let rotate = if shape.is_rotated { d * dim * ROTATE_NS } else { 0.0 };
    let quantize = ksub * (d * QUANTIZE_NS + shape.m as f64 * WORD_NS);
    dim * READ_NS + rotate + assign + quantize
}
