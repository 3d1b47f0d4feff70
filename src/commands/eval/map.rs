//! `ocelli eval map`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use ocelli_index::Snapshot;
use ocelli_indexer::Progress;
use ocelli_indexer::evaluate::{
    ExactRanking, GroundTruth, IndexRanking, IndexSearch, Judging, MapReport, Ranking, Setup, Ties,
    leave_one_out, named_queries,
};

use super::text::some;
use crate::commands::open_parts;
use crate::output::{OutputArgs, cell, counted, print, thousands};
use crate::progress::Bars;
use crate::query::RerankArgs;

const MAP_EXAMPLE: &str = "\
The descriptors themselves, then an index of them:
  ocelli eval queries --ground-truth groundtruth.json --photos-root photos/ --out queries.jsonl
  ocelli encode --list queries.jsonl --weights W --whitening paris.whitening --out queries.part
  ocelli eval map --ground-truth groundtruth.json --descriptors paris.part --queries queries.part
  ocelli eval map --ground-truth groundtruth.json --index index/ --queries queries.part
  ocelli eval map --ground-truth groundtruth.json --index index/ --queries queries.part --expand aqe
Revisited Oxford and Paris:
  ocelli eval map --ground-truth gnd_rparis6k.json --protocol medium --index index/ \\
    --queries queries.part
Without queries: each labelled photo is a query for the others of its label:
  ocelli eval map --ground-truth groundtruth.json --descriptors paris.part \\
    --protocol leave-one-out";

/// Choice of queries, and judgement of their results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Named queries; junk is ignored and the query's photo stays in the database.
    #[default]
    Official,
    /// Queries of Revisited Oxford or Paris: easy is positive; hard, junk and the queries' photos
    /// are ignored.
    Easy,
    /// The same: easy and hard are positive; junk and the queries' photos are ignored.
    Medium,
    /// The same: hard is positive; easy, junk and the queries' photos are ignored.
    Hard,
    /// Each labelled photo is a query. The other photos of its label are positive, and the photo
    /// itself is left out.
    LeaveOneOut,
}

#[derive(Args)]
#[command(after_help = MAP_EXAMPLE)]
pub struct MapArgs {
    /// JSON file (names, or revisitop's imlist, qimlist and gnd), or directory of Oxford text files
    #[arg(long, value_name = "PATH")]
    pub ground_truth: PathBuf,
    /// Parts of descriptors: the database; or with --index, the queries of leave-one-out
    #[arg(long, value_name = "PART", num_args = 1.., required_unless_present = "index")]
    pub descriptors: Vec<PathBuf>,
    /// Index directory: the database
    #[arg(long, value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// Generation of the index [default: the current one]
    #[arg(long, value_name = "N", requires = "index")]
    pub generation: Option<u64>,
    /// Parts of the queries' descriptors, by query name
    #[arg(
        long,
        value_name = "PART",
        num_args = 1..,
        required_if_eq_any([
            ("protocol", "official"),
            ("protocol", "easy"),
            ("protocol", "medium"),
            ("protocol", "hard"),
        ])
    )]
    pub queries: Vec<PathBuf>,
    /// Choice of queries, and judgement of their results
    #[arg(long, value_enum, default_value_t)]
    pub protocol: Protocol,
    /// Rank of a positive among images of equal score
    #[arg(long, value_enum, default_value_t)]
    pub ties: Ties,
    /// Replace each of the --descriptors by a weighted mean of itself and its K nearest first, as
    /// `ocelli build --dba K` does; queries stay as they are
    #[arg(
        long,
        value_name = "K",
        default_value_t = 0,
        hide_default_value = true,
        requires = "descriptors",
        conflicts_with = "index"
    )]
    pub dba: usize,
    #[command(flatten)]
    pub rerank: RerankArgs,
    /// Print every query's average precision too (always in JSON)
    #[arg(long)]
    pub per_query: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `ocelli eval map`.
pub fn map(args: MapArgs) -> Result<()> {
    let truth = GroundTruth::open(&args.ground_truth)?;
    let exact = match args.descriptors.as_slice() {
        [] => None,
        paths => Some(ExactRanking::open(&open_parts(paths)?, args.dba)?),
    };
    let index = match &args.index {
        None => None,
        Some(dir) => {
            Some(IndexRanking::new(Snapshot::open(dir, args.generation)?, IndexSearch::default())?)
        }
    };
    let source = exact.as_ref().map(|e| e as &dyn Ranking);
    let Some(database) = index.as_ref().map(|i| i as &dyn Ranking).or(source) else {
        anyhow::bail!("expected --descriptors or --index");
    };
    let judging = Judging { rerank: args.rerank.rerank()?, ties: args.ties };
    let bars = Bars::default();
    bars.report(Progress { stage: "rank", done: 0, total: 0 });
    let named = |setup| {
        named_queries(database, &truth, setup, &open_parts(&args.queries)?, &judging)
            .map_err(anyhow::Error::from)
    };
    let report = match args.protocol {
        Protocol::Official => named(Setup::Official)?,
        Protocol::Easy => named(Setup::Easy)?,
        Protocol::Medium => named(Setup::Medium)?,
        Protocol::Hard => named(Setup::Hard)?,
        Protocol::LeaveOneOut => leave_one_out(database, &truth, source, &judging)?,
    };
    drop(bars);
    print(args.output.format, &report, |report| text(report, args.per_query))
}

fn text(report: &MapReport, per_query: bool) -> String {
    let mut text = format!(
        "mAP {:.4} ({}, {} queries, {} images), {:.3} ms a ranking\n",
        report.map,
        report.protocol,
        report.queries.len(),
        thousands(report.images as u64),
        report.rank_ms
    );
    if !report.without_positives.is_empty() {
        text += &format!(
            "left out of the mean, {} of the queries, which have no positive photo: {}\n",
            thousands(report.without_positives.len() as u64),
            some(&report.without_positives)
        );
    }
    if !report.labels_missing.is_empty() {
        text += &format!(
            "labelled photos that are not in the database, and so are no queries, {}: {}\n",
            thousands(report.labels_missing.len() as u64),
            some(&report.labels_missing)
        );
    }
    if report.positives_missing > 0 {
        text += &format!(
            "positives that are not in the database and count as not found: {}\n",
            thousands(report.positives_missing as u64)
        );
    }
    if report.tied_queries > 0 {
        let counted = match report.ties {
            Ties::Against => "positives count as last among them",
            Ties::For => "positives count as first among them",
            Ties::Order => "the order of the database decides",
        };
        text += &format!(
            "positives have the score of other images in {} of the queries: {counted} (--ties)\n",
            thousands(report.tied_queries as u64)
        );
    }
    if per_query {
        for query in &report.queries {
            text += &format!(
                "{:.4}  {} ({})\n",
                query.average_precision,
                cell(&query.name),
                counted(query.positives as u64, "positive")
            );
        }
    }
    text
}
