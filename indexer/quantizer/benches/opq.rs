//! Is OPQ worth its time on descriptors of a network? What `./bench opq` runs.
//!
//! Usage: `opq SCRATCH_DIR WHITENING TRAIN.regions.part QUERY.regions.part`. Region vectors of
//! photos, as `ocelli encode --output regions` writes them, plain and whitened. Models are trained
//! on the first half of TRAIN's photos; indexed are the regions of its other half and of every
//! second photo of QUERY; queries are regions of the photos between. All lists are probed, so that
//! only the codes decide.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ocelli_index::{
    DescriptorSpec, Dtype, Model, Part, PartKind, PartWriter, SearchParams, Snapshot, Whitening,
    simd,
};
use ocelli_indexer::{
    BoxError, BuildOptions, OnDuplicate, OpqRows, TrainOptions, build, silent, train,
};
use ocelli_quantizer::OpqOptions;
use ocelli_vector::{dense, l2_normalize};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Regions asked for.
const QUERIES: usize = 1000;
const CODE_BYTES: usize = 64;
const NLIST: usize = 16;
const K: usize = 100;

/// Rows `(n, dim)` in three roles.
struct Sets {
    dim: usize,
    train: Vec<f32>,
    base: Vec<f32>,
    queries: Vec<f32>,
}

impl Sets {
    fn read(train: &Part, query: &Part) -> Result<Self> {
        let half = train.images() / 2;
        let split = train.rows_of(half).start;
        let mut base = train.read(split..train.rows())?;
        let mut queries = Vec::new();
        for image in 0..query.images() {
            let rows = query.read(query.rows_of(image))?;
            let set = if image % 2 == 0 { &mut base } else { &mut queries };
            set.extend(rows);
        }
        let dim = train.dim();
        // Evenly over the photos.
        let n = queries.len() / dim;
        let chosen = (0..QUERIES.min(n)).map(|i| i * n / QUERIES.min(n));
        let queries = chosen.flat_map(|i| &queries[i * dim..][..dim]).copied().collect();
        Ok(Self { dim, train: train.read(0..split)?, base, queries })
    }

    /// The same sets whitened and normalised again.
    fn whitened(&self, whitening: &Whitening) -> Result<Self> {
        let apply = |x: &[f32]| -> Result<Vec<f32>> {
            let mut out = Vec::new();
            for row in x.chunks_exact(self.dim) {
                let mut row = whitening.apply(row)?;
                if l2_normalize(&mut row) {
                    out.extend(row);
                }
            }
            Ok(out)
        };
        Ok(Self {
            dim: whitening.projection.len() / self.dim,
            train: apply(&self.train)?,
            base: apply(&self.base)?,
            queries: apply(&self.queries)?,
        })
    }

    /// The K nearest rows of each query, by L2.
    fn truth(&self) -> Vec<Vec<u64>> {
        let ids: Vec<u32> = (0..(self.base.len() / self.dim) as u32).collect();
        let mut distances = Vec::new();
        let nearest = |q: &[f32]| {
            dense::l2_sqs_of(simd(), q, &self.base, &ids, &mut distances);
            let mut order = ids.clone();
            order.sort_by(|&a, &b| distances[a as usize].total_cmp(&distances[b as usize]));
            order.iter().take(K).map(|&id| u64::from(id)).collect()
        };
        self.queries.chunks_exact(self.dim).map(nearest).collect()
    }
}

/// A part with one row a photo.
fn part(path: &Path, x: &[f32], dim: usize) -> Result<Part> {
    let spec = DescriptorSpec::foreign("regions", dim as u32)?;
    let mut writer = PartWriter::create(path, PartKind::Descriptors, Dtype::F32, &spec)?;
    for row in x.chunks_exact(dim) {
        writer.push("", None, row)?;
    }
    writer.finish()?;
    Ok(Part::open(path)?)
}

/// Share of the true first `t` that are among the first `f` found.
fn recall(found: &[Vec<u64>], truth: &[Vec<u64>], t: usize, f: usize) -> f64 {
    let hits: usize = found
        .iter()
        .zip(truth)
        .map(|(found, truth)| truth[..t].iter().filter(|id| found[..f].contains(id)).count())
        .sum();
    hits as f64 / (t * truth.len()) as f64
}

fn learn_opq(rows: OpqRows<'_>) -> std::result::Result<Vec<f32>, BoxError> {
    let OpqRows { x, d, m, niter, threads } = rows;
    let options = OpqOptions { niter, ..OpqOptions::default() };
    Ok(ocelli_quantizer::opq(x, d, m, threads, &options)?)
}

/// Ids of the K best hits of each query, from an index of the parts at `dir`. All lists are probed.
fn search(parts: &[Part], model: &Model, sets: &Sets, dir: &Path) -> Result<Vec<Vec<u64>>> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    let options = BuildOptions {
        shards: 1,
        threads: 0,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: 0,
    };
    build(parts, model, dir, &options, &silent)?;
    let snapshot = Snapshot::open(dir, None)?;
    let params = SearchParams { k: K, nprobe: NLIST, ..SearchParams::default() };
    let mut found = Vec::new();
    for query in sets.queries.chunks_exact(sets.dim) {
        let hits = snapshot.search(query, &params)?.hits;
        found.push(hits.iter().map(|hit| hit.id).collect());
    }
    Ok(found)
}

fn main() -> Result<()> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [scratch, whitening, train_part, query_part] = args.as_slice() else {
        return Err("usage: opq SCRATCH_DIR WHITENING TRAIN.regions.part QUERY.regions.part".into());
    };
    let scratch = Path::new(scratch);
    let plain =
        Sets::read(&Part::open(Path::new(train_part))?, &Part::open(Path::new(query_part))?)?;
    let whitened = plain.whitened(&Whitening::open(Path::new(whitening))?)?;
    let mut results = BTreeMap::new();
    for (name, sets) in [("plain", plain), ("whitened", whitened)] {
        let dim = sets.dim;
        let rows = |x: &[f32]| x.len() / dim;
        println!(
            "\n{name}, {dim} dimensions, {CODE_BYTES} bytes: {} rows trained on, {} indexed, {} \
             queries, nlist {NLIST}, all probed",
            rows(&sets.train),
            rows(&sets.base),
            rows(&sets.queries)
        );
        let truth = sets.truth();
        let train_rows = [part(&scratch.join("train.part"), &sets.train, dim)?];
        let base_rows = [part(&scratch.join("base.part"), &sets.base, dim)?];
        for opq in [false, true] {
            let options = TrainOptions {
                nlist: NLIST,
                m: CODE_BYTES,
                opq: Some(opq),
                max_rows: 0,
                ..Default::default()
            };
            let (model, report) = train(&train_rows, &options, &learn_opq, &silent)?;
            let found = search(&base_rows, &model, &sets, &scratch.join("opq.index"))?;
            let [one, ten, hundred] =
                [(1, 1), (10, 10), (10, 100)].map(|(t, f)| recall(&found, &truth, t, f));
            println!(
                "  {:<12} recall1@1 {one:.4}, recall10@10 {ten:.4}, recall10@100 {hundred:.4}; \
                 mean squared error {:.5}; trained in {:.1} s",
                if opq { "with OPQ" } else { "without OPQ" },
                report.mse,
                report.seconds
            );
            let key = format!("{name}_{}", if opq { "opq" } else { "pq" });
            let values = [one, ten, hundred].map(|x| (x * 1e4).round() / 1e4);
            results.insert(
                key,
                json!({
                    "recall1@1": values[0],
                    "recall10@10": values[1],
                    "recall10@100": values[2],
                }),
            );
        }
    }
    println!("\n{}", serde_json::to_string(&results)?);
    Ok(())
}
