//! `ocelli dedup calibrate`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::dedup::calibrate::{Calibration, LabelCounts, calibrate, read_labels};
use ocelli_indexer::dedup::threshold::DEFAULT_PRECISION;
use serde::Serialize;

use crate::output::{OutputArgs, counted, print};

const CALIBRATE_EXAMPLE: &str = "\
Pairs are drawn from each band of scores, and judged in the report, which saves a file of labels:
  ocelli dedup photos/ --threshold 0.4 --remove none --sample 40 --out look/
  ocelli dedup calibrate labels.csv --format json > calibration.json
  ocelli dedup photos/ --calibration calibration.json --precision 0.99 --out duplicates/";

/// Flags of `dedup calibrate`.
#[derive(Args)]
#[command(after_help = CALIBRATE_EXAMPLE)]
pub struct CalibrateArgs {
    /// File of judged pairs, as the report saves it: CSV with key_a, key_b (or id_a, id_b), score
    /// and verdict (right or wrong)
    #[arg(value_name = "LABELS")]
    pub labels: PathBuf,
    /// The precision that is wanted, above 0 and at most 1
    #[arg(long, value_name = "P", default_value_t = DEFAULT_PRECISION)]
    pub precision: f64,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What a calibration has found.
#[derive(Serialize)]
struct Report {
    labels: PathBuf,
    #[serde(flatten)]
    counts: LabelCounts,
    #[serde(flatten)]
    calibration: Calibration,
}

/// Precision and recall by threshold.
pub fn run(args: CalibrateArgs) -> Result<()> {
    let judged = read_labels(&args.labels)?;
    let calibration = calibrate(&judged.pairs, args.precision)?;
    let report = Report { labels: args.labels, counts: judged.counts, calibration };
    print(args.output.format, &report, text)
}

/// Points that the text shows.
const SHOWN: usize = 12;

fn text(r: &Report) -> String {
    let c = &r.calibration;
    let threshold = |found: Option<f32>| found.map_or("none".to_owned(), |t| format!("{t:.4}"));
    let mut lines = vec![
        format!("{}: {} judged, {} right", r.labels.display(), counted(c.judged, "pair"), c.right),
        format!(
            "threshold for a precision of {}: {}; where its whole interval is above: {}",
            c.wanted_precision,
            threshold(c.threshold),
            threshold(c.sure_threshold)
        ),
        "threshold  precision (95 %)     recall (95 %)".to_owned(),
    ];
    let step = c.points.len().div_ceil(SHOWN).max(1);
    for point in c.points.iter().step_by(step) {
        let share = |share: f64, [low, high]: [f64; 2]| format!("{share:.3} ({low:.3}-{high:.3})");
        lines.push(format!(
            "{:>9.4}  {}  {}",
            point.threshold,
            share(point.precision, point.precision_interval),
            share(point.recall, point.recall_interval)
        ));
    }
    lines.join("\n")
}
