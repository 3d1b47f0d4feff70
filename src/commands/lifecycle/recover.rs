//! `ocelli recover`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::lifecycle::{RecoverReport, recover};

use crate::output::{OutputArgs, counted, print};

const RECOVER_EXAMPLE: &str = "\
What could be made of an index with lost files that no backup has, then to do it:
  ocelli recover index/
  ocelli recover index/ --yes";

#[derive(Args)]
#[command(after_help = RECOVER_EXAMPLE)]
pub struct RecoverArgs {
    /// Index directory
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// Do it; else it is only said
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Mends the current generation of an index as far as its other files allow.
pub fn run(args: RecoverArgs) -> Result<()> {
    let report = recover(&args.index, args.yes)?;
    print(args.output.format, &report, text)
}

fn text(r: &RecoverReport) -> String {
    let mut text = format!("{}: ", r.index.display());
    text += &match (r.steps.is_empty(), r.generation) {
        (true, _) => "there is nothing to recover".to_owned(),
        (false, None) => "nothing was changed; with --yes:".to_owned(),
        (false, Some(number)) => format!("generation {number} is current"),
    };
    if r.rows_lost > 0 {
        text += &format!("\n{} lost", counted(r.rows_lost, "row"));
    }
    for (name, lines) in [("", &r.steps), ("loses ", &r.loses)] {
        for line in lines {
            text += &format!("\n{name}{line}");
        }
    }
    text
}
