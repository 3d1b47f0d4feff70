//! `ocelli dedup apply`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::dedup::quarantine::{Action, ApplyOptions, ApplyReport, apply};

use crate::output::{OutputArgs, counted, print, thousands};

const APPLY_EXAMPLE: &str = "\
What would be moved; nothing is touched:
  ocelli dedup apply removals.jsonl --root photos/ --quarantine aside/
Moved, and put back:
  ocelli dedup apply removals.jsonl --root photos/ --quarantine aside/ --yes
  ocelli dedup undo aside/
What is in the quarantine is gone for good when you remove its folder.";

#[derive(Args)]
#[command(after_help = APPLY_EXAMPLE)]
pub struct DedupApplyArgs {
    /// Removal list: JSON lines with path, sha256, bytes, kept and kept_sha256
    #[arg(value_name = "LIST")]
    pub list: PathBuf,
    /// Folder for the files that are taken, with the journal to undo it: new, empty, or that of an
    /// earlier run
    #[arg(long, value_name = "DIR")]
    pub quarantine: PathBuf,
    /// Folder at which relative paths of the list start; files outside of it are not touched.
    /// `ocelli dedup` writes absolute paths
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// What happens to a file
    #[arg(long, value_enum, default_value_t)]
    pub action: Action,
    /// Touch the files; without it all of them are only looked at
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Takes the files of a removal list.
pub fn run(args: DedupApplyArgs) -> Result<()> {
    let options = ApplyOptions {
        root: args.root,
        quarantine: args.quarantine,
        action: args.action,
        touch: args.yes,
    };
    print(args.output.format, &apply(&args.list, &options)?, text)
}

fn text(r: &ApplyReport) -> String {
    let verb = if r.applied { "taken" } else { "to be taken (--yes)" };
    let mut text = format!(
        "{}: {} of {} {verb}, {} bytes; {} bytes are free once the quarantine is removed",
        r.quarantine.display(),
        r.taken.files,
        counted(r.listed.files, "file"),
        thousands(r.taken.bytes),
        thousands(r.freed_bytes),
    );
    for (count, what) in [
        (r.already, "taken before"),
        (r.linked, "names of the kept file already"),
        (r.missing, "not there"),
        (r.changed, "changed since the list was made"),
        (r.kept_missing, "left, since the kept file is not there or has changed"),
        (r.different, "left, since the content is not that of the kept file"),
        (r.kept_itself, "left, since they are the kept file itself"),
        (r.not_regular, "symlinks, folders or devices"),
        (r.outside, "outside of the root, or in the quarantine"),
        (r.failed, "refused by the system"),
    ] {
        if count > 0 {
            text += &format!("\n{} {what}", counted(count, "file"));
        }
    }
    super::problems(&mut text, &r.problems);
    text
}
