//! `ocelli dedup`.

mod apply;
pub mod args;
mod calibrate;
mod join;
mod undo;

use anyhow::Result;
use clap::{Args, Subcommand};

use ocelli_indexer::dedup::quarantine::Problems;

use self::join::RunArgs;
use crate::output::cell;

pub use self::join::text;

const DEDUP_EXAMPLE: &str = "\
A folder of photos becomes a page of its duplicates, and a list of what may be removed:
  ocelli dedup photos/ --out duplicates/
  xdg-open duplicates/report.html
Nothing is removed by that. Then the photos that the list names are moved away, and put back:
  ocelli dedup apply duplicates/remove_files.jsonl --quarantine away/ --yes
  ocelli dedup undo away/
All pairs of an index whose score is at least 0.9, by the vectors that it was built of:
  ocelli dedup index/ --threshold 0.9 --vectors photos.part --out duplicates/
Which rows of a new batch does the collection have already:
  ocelli dedup batch/ --against collection/ --out duplicates/
Which rows that came after generation 7 were there before:
  ocelli dedup index/ --since 7 --out duplicates/
By many processes: see ocelli plan dedup.";

/// Flags of `dedup`.
#[derive(Args)]
#[command(after_help = DEDUP_EXAMPLE, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true)]
pub struct DedupCommand {
    #[command(subcommand)]
    pub command: Option<DedupSubcommand>,
    #[command(flatten)]
    pub run: RunArgs,
}

/// What is done with what was found.
#[derive(Subcommand)]
pub enum DedupSubcommand {
    /// Move the files of a removal list into a quarantine, each read again before
    Apply(apply::DedupApplyArgs),
    /// Say how precise each threshold is, by pairs that were judged
    Calibrate(calibrate::CalibrateArgs),
    /// Put back all files of a quarantine
    Undo(undo::DedupUndoArgs),
}

/// Finds duplicates, or does something with what was found.
pub fn run(args: DedupCommand) -> Result<()> {
    match args.command {
        None => join::run(args.run),
        Some(DedupSubcommand::Apply(args)) => apply::run(args),
        Some(DedupSubcommand::Calibrate(args)) => calibrate::run(args),
        Some(DedupSubcommand::Undo(args)) => undo::run(args),
    }
}

/// Files that the text names.
const FIRST: usize = 10;

/// Adds a line for each of the first files that were left alone.
fn problems(text: &mut String, problems: &Problems) {
    for problem in problems.all().iter().take(FIRST) {
        let path = problem.path.to_string_lossy();
        *text += &format!("\n  {}: {}", cell(&path), cell(&problem.why));
    }
    if problems.all().len() > FIRST {
        *text += "\n  and more, which `--format json` names";
    }
}
