//! `ocelli eval`.

use anyhow::Result;
use ocelli_index::Snapshot;
use ocelli_indexer::Progress;
use ocelli_indexer::evaluate::{
    ExactRanking, GroundTruth, IndexRanking, MapReport, Ranking, leave_one_out, official,
    write_query_list,
};

use super::open_parts;
use crate::cli::{MapArgs, Protocol, QueriesArgs};
use crate::output::{cell, print, thousands};
use crate::progress::Bars;

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
    let rerank = args.rerank.rerank()?;
    let bars = Bars::default();
    bars.report(Progress { stage: "rank", done: 0, total: 0 });
    let report = match args.protocol {
        Protocol::Official => official(database, &truth, &open_parts(&args.queries)?, &rerank)?,
        Protocol::LeaveOneOut => leave_one_out(database, &truth, source, &rerank)?,
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
    if report.positives_missing > 0 {
        text += &format!(
            "{} positives are not in the database and count as not found\n",
            thousands(report.positives_missing as u64)
        );
    }
    if per_query {
        for query in &report.queries {
            text += &format!(
                "{:.4}  {} ({} positives)\n",
                query.average_precision,
                cell(&query.name),
                query.positives
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
