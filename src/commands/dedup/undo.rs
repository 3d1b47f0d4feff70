//! `ocelli dedup undo`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::dedup::quarantine::{UndoReport, undo};

use crate::output::{OutputArgs, counted, print, thousands};

#[derive(Args)]
pub struct DedupUndoArgs {
    /// Quarantine of `ocelli dedup apply`
    #[arg(value_name = "DIR")]
    pub quarantine: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Puts the files of a quarantine back.
pub fn run(args: DedupUndoArgs) -> Result<()> {
    print(args.output.format, &undo(&args.quarantine)?, text)
}

fn text(r: &UndoReport) -> String {
    let mut text = format!(
        "{}: {} of {} put back, {} bytes",
        r.quarantine.display(),
        r.restored.files,
        counted(r.entries, "file"),
        thousands(r.restored.bytes),
    );
    for (count, what) in [
        (r.already, "in their places already"),
        (r.occupied, "left in the quarantine, since another file has the place"),
        (r.failed, "left in the quarantine, since the system refused or they have changed"),
        (r.lost, "in neither place"),
    ] {
        if count > 0 {
            text += &format!("\n{} {what}", counted(count, "file"));
        }
    }
    super::problems(&mut text, &r.problems);
    text
}
