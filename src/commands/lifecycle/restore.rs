//! `ocelli restore`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::lifecycle::backup::{RestoreOptions, restore};

use crate::output::{OutputArgs, counted, print, thousands};
use crate::progress::Bars;

const RESTORE_EXAMPLE: &str = "\
Onto a new disk:
  ocelli restore /mnt/backups/photos index/
A damaged index, of which only what differs is replaced:
  ocelli restore /mnt/backups/photos index/ --force --keep-current";

#[derive(Args)]
#[command(after_help = RESTORE_EXAMPLE)]
pub struct RestoreArgs {
    /// Folder of backups
    #[arg(value_name = "TARGET")]
    pub target: PathBuf,
    /// Index directory: empty or missing, or with --force the one that was backed up
    #[arg(value_name = "DIR")]
    pub index: PathBuf,
    /// Number of the backup [default: the newest]
    #[arg(long, value_name = "N")]
    pub backup: Option<u64>,
    /// Replace files that differ from the backup
    #[arg(long)]
    pub force: bool,
    /// Leave the current generation current, if its file can be read: only files that were lost
    /// come back
    #[arg(long, requires = "force")]
    pub keep_current: bool,
    /// Leave out earlier generations of which TARGET has lost a file, instead of failing
    #[arg(long)]
    pub leave_out_damaged: bool,
    /// Threads, 0: one per core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Restores an index from a backup.
pub fn run(args: RestoreArgs) -> Result<()> {
    let options = RestoreOptions {
        backup: args.backup,
        force: args.force,
        keep_current: args.keep_current,
        leave_out_damaged: args.leave_out_damaged,
        threads: args.threads,
    };
    let bars = Bars::default();
    let report = restore(&args.target, &args.index, &options, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, |r| {
        let mut text = format!(
            "{}: backup {}; generation {} is current; {} written ({} bytes) of {}, in {:.1} s",
            r.index.display(),
            r.backup,
            r.generation,
            counted(r.written_files as u64, "file"),
            thousands(r.written_bytes),
            r.files,
            r.seconds
        );
        for left_out in &r.left_out {
            text += &format!("\nleft out: {left_out}");
        }
        text
    })
}
