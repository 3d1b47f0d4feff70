//! `ocelli recall`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_index::Part;
use ocelli_indexer::lifecycle::recall::{Against, RecallGate, RecallOptions, RecallReport, recall};

use crate::commands::{MemoryArgs, open_parts};
use crate::output::{OutputArgs, print, thousands};
use crate::progress::Bars;

const RECALL_EXAMPLE: &str = "\
What codes and lists lose, by the vectors themselves:
  ocelli recall index/ photos.part --nprobe 8,16,64
What lists lose, by the vectors that the index decodes:
  ocelli recall index/";

/// The gate of commands that make a generation.
#[derive(Args)]
pub struct GateArgs {
    /// Refuse the new generation if its recall@10 at --gate-nprobe is less: the index then stays as
    /// it was
    #[arg(long, value_name = "RECALL", value_parser = fraction)]
    pub min_recall: Option<f64>,
    /// Lists that are scanned to measure it
    #[arg(long, value_name = "N", default_value_t = 16, requires = "min_recall")]
    pub gate_nprobe: usize,
    /// Queries by which it is measured
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "min_recall")]
    pub gate_sample: usize,
}

impl GateArgs {
    /// The gate, by the vectors of `parts`, if one is asked for. It measures in
    /// `memory_budget_bytes`; 0: in as much as it needs.
    ///
    /// # Errors
    /// A budget that is too small; no parts, or parts of codes: by the vectors that a generation
    /// decodes it would be judged by itself.
    pub fn gate<'a>(
        &self,
        parts: &'a [Part],
        memory_budget_bytes: usize,
    ) -> Result<Option<RecallGate<'a>>> {
        let options = RecallOptions {
            nprobe: vec![self.gate_nprobe],
            sample: self.gate_sample,
            memory_budget_bytes,
            ..RecallOptions::default()
        };
        let Some(least) = self.min_recall else { return Ok(None) };
        if parts.is_empty() || parts.iter().any(|part| part.code_form().is_some()) {
            bail!(
                "--min-recall needs the vectors of all rows: expected parts of descriptors, found \
                 {}; `ocelli recall` measures an index by any parts",
                if parts.is_empty() { "none" } else { "codes" }
            );
        }
        Ok(Some(RecallGate::new(parts, options, least)?))
    }
}

/// A fraction on the command line.
fn fraction(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number from 0 to 1".to_owned())?;
    match (0.0..=1.0).contains(&number) {
        true => Ok(number),
        false => Err("expected a number from 0 to 1, such as 0.9".to_owned()),
    }
}

/// One line of what a gate measured.
pub fn gate_text(report: Option<&RecallReport>) -> String {
    let at = report.and_then(|report| Some((report, report.at.first()?)));
    at.map_or_else(String::new, |(report, at)| {
        format!(
            "\nrecall@{} {:.4} ({:.4} to {:.4}) at nprobe {}",
            report.k, at.recall, at.interval[0], at.interval[1], at.nprobe
        )
    })
}

#[derive(Args)]
#[command(after_help = RECALL_EXAMPLE)]
pub struct RecallArgs {
    /// Index directory
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// Parts with the vectors of its rows
    #[arg(value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// Queries: rows that are drawn with equal chances
    #[arg(long, value_name = "N", default_value_t = RecallOptions::default().sample)]
    pub sample: usize,
    /// Neighbours of each query
    #[arg(short, long, value_name = "K", default_value_t = RecallOptions::default().k)]
    pub k: usize,
    /// Lists that are scanned; several numbers: recall at each
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "16")]
    pub nprobe: Vec<usize>,
    /// Candidates that are scored again by finer codes [default: 150 where the index has them]
    #[arg(long, value_name = "N")]
    pub refine: Option<usize>,
    /// Fail if recall is less
    #[arg(long, value_name = "RECALL", value_parser = fraction)]
    pub min_recall: Option<f64>,
    /// Generation [default: the current one]
    #[arg(long, value_name = "N")]
    pub generation: Option<u64>,
    /// Seed of the sample
    #[arg(long, value_name = "N", default_value_t = RecallOptions::default().seed)]
    pub seed: u64,
    /// Threads, 0: one per core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Measures recall.
pub fn run(args: RecallArgs) -> Result<()> {
    let options = RecallOptions {
        k: args.k,
        sample: args.sample,
        nprobe: args.nprobe,
        refine_candidates: args.refine,
        seed: args.seed,
        threads: args.threads,
        memory_budget_bytes: args.memory.bytes(),
    };
    let parts = open_parts(&args.parts)?;
    let bars = Bars::default();
    let report = recall(&args.index, args.generation, &parts, &options, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, text)?;
    match args.min_recall {
        Some(least) => Ok(report.require(least)?),
        None => Ok(()),
    }
}

fn text(r: &RecallReport) -> String {
    let mut text = format!(
        "generation {}: {} queries against {} rows, in {:.1} s\n",
        r.generation,
        thousands(r.queries as u64),
        thousands(r.rows),
        r.seconds
    );
    text += match r.against {
        Against::Vectors => {
            "true neighbours by the vectors of the parts: what codes and lists lose is counted\n"
        }
        Against::Decoded => {
            "true neighbours by the vectors that the index decodes: only what lists lose is \
             counted; give the parts to count what codes lose\n"
        }
    };
    if r.refine_candidates > 0 {
        text += &format!("the best {} scored again by finer codes\n", r.refine_candidates);
    }
    for at in &r.at {
        text += &format!(
            "nprobe {:>6}: recall@{} {:.4}, 95 % interval {:.4} to {:.4}; {:.2} ms a query\n",
            at.nprobe, r.k, at.recall, at.interval[0], at.interval[1], at.query_ms
        );
    }
    text
}
