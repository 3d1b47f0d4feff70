//! `ocelli plan estimate`.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use ocelli_indexer::lifecycle::cost::Shape;
use ocelli_indexer::lifecycle::plan::{EstimateOptions, EstimateReport, estimate};

use crate::commands::bytes;
use crate::output::{OutputArgs, print, thousands};

const ESTIMATE_EXAMPLE: &str = "\
A billion vectors of 96 dimensions with keys, on 64 cores:
  ocelli plan estimate --rows 1000000000 --dim 96 --m 24 --nlist 262144 --cores 64 \\
    --shards 40 --tasks-at-once 32 --key-bytes 12 --memory-budget 4GiB";

/// A metric on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EstimateMetric {
    L2,
    InnerProduct,
}

#[derive(Args)]
#[command(after_help = ESTIMATE_EXAMPLE)]
pub struct PlanEstimateArgs {
    /// Rows of the index
    #[arg(long, value_name = "N")]
    pub rows: u64,
    /// Dimension of the descriptors
    #[arg(long, value_name = "D")]
    pub dim: u64,
    /// Dimension after a PCA; 0: there is none
    #[arg(long, value_name = "D", default_value_t = 0)]
    pub pca: u64,
    /// Sub-quantizers
    #[arg(long)]
    pub m: u64,
    /// Bits of each sub-quantizer's codeword: 8 or 4
    #[arg(long, default_value_t = 8)]
    pub bits: u64,
    /// Bytes of a finer code
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub fine_bytes: u64,
    /// Inverted lists
    #[arg(long)]
    pub nlist: u64,
    /// Rows are rotated (OPQ); a PCA is a rotation. What it takes to learn one is not counted
    #[arg(long)]
    pub rotated: bool,
    /// Metric of the search: codes of L2 have a byte more
    #[arg(long, value_enum, default_value_t = EstimateMetric::L2)]
    pub metric: EstimateMetric,
    /// Rows to train on [default: 64 for each list, all rows at most]
    #[arg(long, value_name = "N")]
    pub training_rows: Option<u64>,
    /// Iterations of k-means
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub niter: u64,
    /// Shards
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub shards: u64,
    /// Bytes of a key in an index, where keys that begin alike lie together; 0: there are no keys
    #[arg(long, value_name = "BYTES", default_value_t = 0.0)]
    pub key_bytes: f64,
    /// Bytes of a row's attributes in an index
    #[arg(long, value_name = "BYTES", default_value_t = 0.0)]
    pub attribute_bytes: f64,
    /// Cores [default: those of this machine]
    #[arg(long, value_name = "N")]
    pub cores: Option<u64>,
    /// Tasks that run at a time: each shard is one
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub tasks_at_once: u64,
    /// Memory that a task may take, such as 4GiB; 0: as much as it needs
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "0")]
    pub memory_budget: usize,
    /// Lists that a query looks at; several, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [16, 64])]
    pub nprobe: Vec<u64>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Says what an index would take.
pub fn run(args: PlanEstimateArgs) -> Result<()> {
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    if ![4, 8].contains(&args.bits) {
        bail!("--bits: expected 8 or 4, found {}", args.bits);
    }
    let shape = Shape {
        dim: args.dim,
        d: if args.pca > 0 { args.pca } else { args.dim },
        nlist: args.nlist,
        m: args.m,
        ksub: 1 << args.bits,
        fine_bytes: args.fine_bytes,
        has_terms: args.metric == EstimateMetric::L2,
        is_rotated: args.rotated || args.pca > 0,
    };
    let options = EstimateOptions {
        shape,
        rows: args.rows,
        shards: args.shards,
        training_rows: args.training_rows.unwrap_or(args.nlist.saturating_mul(64).min(args.rows)),
        niter: args.niter,
        key_bytes: args.key_bytes,
        attribute_bytes: args.attribute_bytes,
        cores: args.cores.unwrap_or_else(cores),
        tasks_at_once: args.tasks_at_once,
        memory_budget_bytes: args.memory_budget as u64,
        nprobe: args.nprobe,
    };
    print(args.output.format, &estimate(&options)?, text)
}

fn text(r: &EstimateReport) -> String {
    let mib = |bytes: u64| thousands(bytes >> 20);
    let mut text = format!(
        "predicted; docs/scale.md says from what\n\
         training {:.1} s, {} MiB of memory\n\
         building {:.1} s (finding lists and encoding {:.1} s, sorting and writing {:.1} s), \
         {} MiB of memory a task\n\
         both {:.1} s, {:.2} hours of one core\n\
         {} MiB of shards, {:.1} bytes a row, and up to {} MiB more while a task runs",
        r.train.seconds,
        mib(r.train.memory_bytes),
        r.build.seconds(),
        r.build.encode_seconds,
        r.build.sort_seconds,
        mib(r.build.memory_bytes),
        r.seconds,
        r.core_hours,
        mib(r.build.disk_bytes),
        r.bytes_per_row,
        mib(r.build.work_bytes),
    );
    for search in &r.search {
        text += &format!(
            "\nnprobe {}: {} queries a second, {:.0} us of one core each",
            search.nprobe,
            thousands(search.queries_per_second as u64),
            search.core_us
        );
    }
    text
}
