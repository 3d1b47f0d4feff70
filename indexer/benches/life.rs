//! Benchmark of the life of an index: adding, deleting, compacting, beside building it anew.
//!
//! ```text
//! cargo bench -p ocelli-indexer --bench life -- FOLDER
//! ```
//!
//! FOLDER has `base.fvecs`, `query.fvecs` and `groundtruth.ivecs`. Prints one line of JSON.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::{
    DescriptorSpec, Dtype, Model, Part, PartKind, PartWriter, Scratch, SearchParams, Snapshot,
    VectorFile,
};
use ocelli_indexer::lifecycle::change::Names;
use ocelli_indexer::lifecycle::{CompactOptions, add, compact, delete};
use ocelli_indexer::{BuildOptions, OnDuplicate, TrainOptions, build, no_opq, silent, train};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

const K: usize = 10;
const QUERIES: usize = 1000;

struct Data {
    base: VectorFile,
    queries: Vec<f32>,
    truth: Vec<Vec<u64>>,
    dim: usize,
}

impl Data {
    fn open(folder: &Path) -> Outcome<Self> {
        let base = VectorFile::open(&folder.join("base.fvecs"))?;
        let dim = base.dim();
        let queries = VectorFile::open(&folder.join("query.fvecs"))?.read(0..QUERIES)?;
        let bytes = fs::read(folder.join("groundtruth.ivecs"))?;
        let words: Vec<u32> =
            bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let stride = words[0] as usize + 1;
        let truth = words
            .chunks(stride)
            .take(QUERIES)
            .map(|row| row[1..].iter().map(|&id| u64::from(id)).collect())
            .collect();
        Ok(Self { base, queries, truth, dim })
    }

    /// A part of rows, whose ids are their numbers.
    fn part(&self, folder: &Path, rows: std::ops::Range<usize>) -> Outcome<Part> {
        let path = folder.join(format!("{}-{}.part", rows.start, rows.end));
        let spec = DescriptorSpec::foreign("sift", self.dim as u32)?;
        let mut part = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec)?;
        for start in rows.clone().step_by(10_000) {
            let x = self.base.read(start..(start + 10_000).min(rows.end))?;
            for (id, x) in (start..).zip(x.chunks(self.dim)) {
                part.push(&format!("photos/{id:08}.jpg"), Some(id as u64), x)?;
            }
        }
        part.finish()?;
        Ok(Part::open(&path)?)
    }

    /// Share of the true nearest ten among the ten found, share of the nearest among the first
    /// hundred, and microseconds a query on one thread.
    fn search(&self, index: &Path) -> Outcome<(f64, f64, f64)> {
        let snapshot = Snapshot::open(index, None)?;
        let params = SearchParams { k: 100, nprobe: 32, ..SearchParams::default() };
        let mut scratch = Scratch::default();
        let (mut ten, mut first) = (0, 0);
        for (x, truth) in self.queries.chunks(self.dim).zip(&self.truth) {
            let hits = snapshot.search_with(x, &params, &mut scratch)?.hits;
            let near: HashSet<u64> = hits.iter().take(K).map(|hit| hit.id).collect();
            ten += truth[..K].iter().filter(|id| near.contains(id)).count();
            first += usize::from(hits.iter().any(|hit| hit.id == truth[0]));
        }
        let mut best = f64::INFINITY;
        let params = SearchParams { k: K, ..params };
        for _ in 0..5 {
            let start = Instant::now();
            for x in self.queries.chunks(self.dim) {
                snapshot.search_with(x, &params, &mut scratch)?;
            }
            best = best.min(start.elapsed().as_secs_f64() * 1e6 / QUERIES as f64);
        }
        Ok((ten as f64 / (K * QUERIES) as f64, first as f64 / QUERIES as f64, best))
    }
}

fn options() -> BuildOptions {
    BuildOptions {
        shards: 1,
        threads: 0,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: 0,
    }
}

fn seconds<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, f64)> {
    let start = Instant::now();
    let done = work()?;
    Ok((done, start.elapsed().as_secs_f64()))
}

/// Builds an index of the first rows, and adds the others in portions of 1 %.
fn with_additions(
    data: &Data,
    model: &Model,
    folder: &Path,
    portions: usize,
) -> Outcome<(PathBuf, Vec<f64>)> {
    let (rows, one) = (data.base.rows(), data.base.rows() / 100);
    let index = folder.join(format!("added{portions}"));
    let first = rows - portions * one;
    build(&[data.part(folder, 0..first)?], model, &index, &options(), &silent)?;
    let mut times = Vec::new();
    for i in 0..portions {
        let part = [data.part(folder, first + i * one..first + (i + 1) * one)?];
        let add = || Ok(add(&part, &index, &options(), false, &silent)?);
        times.push(seconds(add)?.1);
    }
    Ok((index, times))
}

fn main() -> Outcome<()> {
    let folder = std::env::args().nth(1).filter(|arg| !arg.starts_with("--"));
    let Some(folder) = folder else { return Ok(()) };
    let data = Data::open(Path::new(&folder))?;
    let scratch = tempfile::tempdir()?;
    let scratch = scratch.path();
    let all = [data.part(scratch, 0..data.base.rows())?];
    let train_options =
        TrainOptions { nlist: 1024, m: 16, max_rows: 200_000, ..TrainOptions::default() };
    let ((model, _), train_s) = seconds(|| Ok(train(&all, &train_options, &no_opq, &silent)?))?;
    let whole = scratch.join("whole");
    let (_, build_s) = seconds(|| Ok(build(&all, &model, &whole, &options(), &silent)?))?;
    let one_shard = data.search(&whole)?;
    let (index, add_s) = with_additions(&data, &model, scratch, 1)?;
    let added = data.search(&index)?;
    fs::remove_dir_all(&index)?;
    let (index, _) = with_additions(&data, &model, scratch, 4)?;
    let four = data.search(&index)?;

    // A deletion, and what a server pays for it.
    let before = Snapshot::open(&index, None)?;
    before.warm();
    let names = Names { ids: vec![7], keys: vec!["photos/00000009.jpg".to_owned()] };
    let (_, delete_s) = seconds(|| Ok(delete(&index, names, false, &silent)?))?;
    let (_, reopen_s) = seconds(|| Ok(Snapshot::open_after(&index, None, Some(&before))?))?;
    let (_, open_s) = seconds(|| Ok(Snapshot::open(&index, None)?))?;

    // The fifth small shard, and the compaction that it brings.
    let one = data.base.rows() / 100;
    let spec = DescriptorSpec::foreign("sift", data.dim as u32)?;
    let path = scratch.join("fifth.part");
    let mut part = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec)?;
    for (id, x) in (data.base.rows()..).zip(data.base.read(0..one)?.chunks(data.dim)) {
        part.push(&format!("photos/{id:08}.jpg"), Some(id as u64), x)?;
    }
    part.finish()?;
    add(&[Part::open(&path)?], &index, &options(), false, &silent)?;
    let small = CompactOptions::default();
    let (small, small_s) = seconds(|| Ok(compact(&index, &small, &silent)?))?;
    let merge = CompactOptions { all: true, memory_budget_bytes: 0 };
    let (merged, merged_s) = seconds(|| Ok(compact(&index, &merge, &silent)?))?;
    let add_s = add_s[0];
    println!(
        "{}",
        json!({
            "rows": data.base.rows(), "train_s": train_s, "build_s": build_s, "add_1pct_s": add_s,
            "add_1pct_cost_share": add_s / build_s,
            "add_1pct_cost_share_with_training": add_s / (build_s + train_s),
            "recall10_one": one_shard.0, "recall10_added": added.0,
            "recall1_at_100_one": one_shard.1, "recall1_at_100_added": added.1,
            "query_us_one": one_shard.2, "query_us_four_small": four.2,
            "search_ratio": four.2 / one_shard.2,
            "delete_ms": delete_s * 1e3, "reopen_ms": reopen_s * 1e3, "open_ms": open_s * 1e3,
            "compact_read": small.bytes_read, "compact_written": small.bytes_written,
            "compact_ms": small_s * 1e3, "shards_after": small.shards,
            "compact_all_read": merged.bytes_read, "compact_all_written": merged.bytes_written,
            "compact_all_s": merged_s,
        })
    );
    Ok(())
}
