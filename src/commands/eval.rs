//! `ocelli eval`.

use anyhow::Result;
use ocelli_index::Snapshot;
use ocelli_indexer::Progress;
use ocelli_indexer::evaluate::{
    ExactRanking, GroundTruth, IndexRanking, Judging, MapReport, Ranking, Setup, Ties,
    leave_one_out, named_queries, write_query_list,
};

use super::open_parts;
use crate::cli::{MapArgs, Protocol, QueriesArgs, TieArg};
use crate::output::{cell, counted, print, thousands};
use crate::progress::Bars;

/// Names that the text lists before it counts the others; JSON has them all.
const NAMES_SHOWN: usize = 10;

/// `ocelli eval map`.
pub fn map(args: MapArgs) -> Result<()> {
    let truth = GroundTruth::open(&args.ground_truth)?;
    let exact = match args.descriptors.as_slice() {
        [] => None,
        paths => Some(ExactRanking::open(&open_parts(paths)?, args.dba)?),
    };
    let index = match &args.index {
        None => None,
        Some(dir) => Some(IndexRanking::new(Snapshot::open(dir, args.generation)?)?),
    };
    let source = exact.as_ref().map(|e| e as &dyn Ranking);
    let Some(database) = index.as_ref().map(|i| i as &dyn Ranking).or(source) else {
        anyhow::bail!("expected --descriptors or --index");
    };
    let ties = match args.ties {
        TieArg::Against => Ties::Against,
        TieArg::For => Ties::For,
        TieArg::Order => Ties::Order,
    };
    let judging = Judging { rerank: args.rerank.rerank()?, ties };
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

/// The first few names, and how many more there are.
fn some(names: &[String]) -> String {
    let shown =
        names.iter().take(NAMES_SHOWN).map(|name| cell(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {} more", thousands(more as u64)),
    }
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
            "not in the mean, as they have no positive photo, {} of the queries: {}\n",
            thousands(report.without_positives.len() as u64),
            some(&report.without_positives)
        );
    }
    if !report.labels_missing.is_empty() {
        text += &format!(
            "not in the database, and so not asked, labelled photos: {}: {}\n",
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
            Ties::Against => "positives stand last among them",
            Ties::For => "positives stand first among them",
            Ties::Order => "they stand as in the database",
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

/// `ocelli eval queries`.
pub fn queries(args: QueriesArgs) -> Result<()> {
    let truth = GroundTruth::open(&args.ground_truth)?;
    let list = write_query_list(&truth, &args.photos_root, &args.out)?;
    print(args.output.format, &list, |list| {
        format!("{}: {} queries", list.path.display(), list.queries)
    })
}
