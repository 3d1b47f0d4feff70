//! `ocelli tune`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_index::Snapshot;
use ocelli_indexer::lifecycle::recall::{Against, Tried, TuneOptions, TuneReport, tune};

use crate::commands::open_parts;
use crate::output::{OutputArgs, print, thousands};
use crate::progress::Bars;

const TUNE_EXAMPLE: &str = "\
Lists to scan for a recall of .9 of the ten nearest, by the vectors themselves:
  ocelli tune index/ photos.part --target recall@10=0.9
The same within 5 ms a query:
  ocelli tune index/ photos.part --target recall@10=0.9 --latency-ms 5";

/// A wish such as `recall@10=0.9`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    k: usize,
    recall: f64,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected recall@K=R such as recall@10=0.9, found {text:?}");
        let (name, recall) = text.split_once('=').ok_or_else(wrong)?;
        let (kind, k) = name.split_once('@').ok_or_else(wrong)?;
        let (k, recall) = (k.parse().map_err(|_| wrong())?, recall.parse().map_err(|_| wrong())?);
        // Both names are in use for the share of the k nearest that is among k hits.
        match kind == "recall" || kind == format!("recall{k}") {
            true => Ok(Self { k, recall }),
            false => Err(wrong()),
        }
    }
}

#[derive(Args)]
#[command(after_help = TUNE_EXAMPLE)]
pub struct TuneArgs {
    /// Index directory
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// Parts with the vectors of its rows
    #[arg(value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// The recall that is wanted: recall@10=0.9
    #[arg(long, value_name = "recall@K=R")]
    pub target: Target,
    /// The longest mean time of a query on one thread
    #[arg(long, value_name = "MS")]
    pub latency_ms: Option<f64>,
    /// Queries to choose by, and as many to try the choice on
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub sample: usize,
    /// Generation [default: the current one]
    #[arg(long, value_name = "N")]
    pub generation: Option<u64>,
    /// Seed of the sample
    #[arg(long, value_name = "N", default_value_t = 1234)]
    pub seed: u64,
    /// Threads, 0: one per core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Chooses a search.
pub fn run(args: TuneArgs) -> Result<()> {
    let options = TuneOptions {
        k: args.target.k,
        recall: args.target.recall,
        latency_ms: args.latency_ms,
        sample: args.sample,
        seed: args.seed,
        threads: args.threads,
    };
    let parts = open_parts(&args.parts)?;
    let snapshot = Snapshot::open(&args.index, args.generation)?;
    let bars = Bars::default();
    let report = tune(&snapshot, &parts, &options, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, text)?;
    if !report.is_met {
        bail!("no search of this index has what is wanted; {}", remedy(&report));
    }
    Ok(())
}

/// What to do if no search has what is wanted.
fn remedy(r: &TuneReport) -> String {
    if r.most < r.wanted {
        return format!(
            "the most that was found is {:.4}: codes lose the rest, so rebuild with more bytes \
             (--m) or finer codes (--fine-codes)",
            r.most
        );
    }
    if r.chosen.at.recall >= r.wanted && r.fresh.interval[1] < r.wanted {
        return format!(
            "the search that was chosen reaches {:.4} on other queries: give a larger --sample",
            r.fresh.recall
        );
    }
    "the recall takes more time than is allowed: allow more, or rebuild with more lists".to_owned()
}

fn flags(tried: &Tried) -> String {
    match tried.refine_candidates {
        0 => format!("--nprobe {}", tried.at.nprobe),
        n => format!("--nprobe {} --refine-candidates {n}", tried.at.nprobe),
    }
}

fn text(r: &TuneReport) -> String {
    let by = match r.against {
        Against::Vectors => "by the vectors of the parts",
        Against::Decoded => "by the vectors that the index decodes, so what codes lose is not seen",
    };
    format!(
        "generation {}: {}\n\
         recall@{} {:.4} on {} queries, {by}; {:.3} ms a query on one thread\n\
         on as many others: {:.4}, 95 % interval {:.4} to {:.4} ({:+.4})\n\
         at most: {:.4}; {} searches were tried in {:.1} s",
        r.generation,
        flags(&r.chosen),
        r.k,
        r.chosen.at.recall,
        thousands(r.queries as u64),
        r.chosen.at.query_ms,
        r.fresh.recall,
        r.fresh.interval[0],
        r.fresh.interval[1],
        r.prediction_error,
        r.most,
        r.tried.len(),
        r.seconds
    )
}
