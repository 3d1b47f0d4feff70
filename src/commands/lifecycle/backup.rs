//! `ocelli backup`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use ocelli_indexer::lifecycle::backup::{
    BackupOptions, BackupReport, CheckReport, ListedBackup, backup_with, check, list_backups,
};
use ocelli_indexer::memory::{keep_to, thread_bytes};
use serde::Serialize;

use crate::commands::MemoryArgs;
use crate::output::{OutputArgs, counted, print, thousands};
use crate::progress::Bars;
use ocelli_indexer::lifecycle::change::now_ms;

const BACKUP_EXAMPLE: &str = "\
The first backup of a chain has everything, the others what is new:
  ocelli backup index/ /mnt/backups/photos
  ocelli backup list /mnt/backups/photos
  ocelli restore /mnt/backups/photos index/";

#[derive(Args)]
#[command(
    after_help = BACKUP_EXAMPLE,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct BackupArgs {
    #[command(subcommand)]
    pub command: Option<ChainCommand>,
    /// Index directory
    #[arg(value_name = "INDEX", required = true)]
    pub index: Option<PathBuf>,
    /// Folder of the backups of this index, made if it is missing
    #[arg(value_name = "TARGET", required = true)]
    pub target: Option<PathBuf>,
    /// Look at the sizes of the files that TARGET has, without proving their bytes
    #[arg(long)]
    pub quick: bool,
    /// Threads, 0: one per core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Subcommand)]
pub enum ChainCommand {
    /// List the backups in a folder, and which of them are whole
    List {
        /// Folder of backups
        #[arg(value_name = "TARGET")]
        target: PathBuf,
    },
    /// Prove every file that the backups in a folder need
    Check {
        /// Folder of backups
        #[arg(value_name = "TARGET")]
        target: PathBuf,
    },
}

#[derive(Serialize)]
struct Listed {
    target: PathBuf,
    backups: Vec<ListedBackup>,
}

/// Makes a backup, or looks at those that there are.
pub fn run(args: BackupArgs) -> Result<()> {
    let bars = Bars::default();
    let format = args.output.format;
    match args.command {
        Some(ChainCommand::List { target }) => {
            let backups = list_backups(&target)?;
            return print(format, &Listed { target, backups }, list_text);
        }
        Some(ChainCommand::Check { target }) => {
            let report = check(&target, args.threads, &|p| bars.report(p))?;
            drop(bars);
            print(format, &report, check_text)?;
            if !report.faults.is_empty() {
                bail!("{} found", counted(report.faults.len() as u64, "fault"));
            }
            return Ok(());
        }
        None => {}
    }
    let (Some(index), Some(target)) = (&args.index, &args.target) else {
        bail!("expected INDEX and TARGET");
    };
    let holds = "the threads and what they copy";
    let _limit = keep_to(args.memory.bytes(), thread_bytes(args.threads), holds)?;
    let options = BackupOptions { time_ms: now_ms(), threads: args.threads, quick: args.quick };
    let report = backup_with(index, target, &options, &|p| bars.report(p))?;
    drop(bars);
    print(format, &report, text)
}

fn text(r: &BackupReport) -> String {
    let mut text = format!(
        "{}: {} {} of generation {}: {}, {} bytes\n\
         new: {}, {} bytes; written {} bytes, in {:.1} s\n",
        r.target.display(),
        if r.new { "backup" } else { "nothing is new since backup" },
        r.backup,
        r.generation,
        counted(r.files as u64, "file"),
        thousands(r.bytes),
        counted(r.new_files as u64, "file"),
        thousands(r.new_bytes),
        thousands(r.written_bytes),
        r.seconds
    );
    for healed in &r.healed {
        text += &format!("written again: {healed}\n");
    }
    for unreadable in &r.unreadable {
        text += &format!("an earlier backup cannot be read: {unreadable}\n");
    }
    for left_out in &r.left_out {
        text += &format!("left out: {left_out}\n");
    }
    text
}

fn list_text(listed: &Listed) -> String {
    let mut text = format!(
        "{}: {}\n",
        listed.target.display(),
        counted(listed.backups.len() as u64, "backup")
    );
    for line in &listed.backups {
        text += &match line.generation {
            Some(generation) => format!(
                "backup {}: generation {generation}, {}, {} bytes\n",
                line.backup,
                counted(line.files as u64, "file"),
                thousands(line.bytes)
            ),
            None => format!("backup {}: cannot be read\n", line.backup),
        };
        for fault in &line.faults {
            text += &format!("backup {}: not whole: {fault}\n", line.backup);
        }
    }
    text
}

fn check_text(r: &CheckReport) -> String {
    let mut text = format!(
        "{}: {}, {}, {} bytes\n",
        r.target.display(),
        counted(r.backups as u64, "backup"),
        counted(r.objects as u64, "object"),
        thousands(r.bytes)
    );
    for fault in &r.faults {
        text += &format!("{fault}\n");
    }
    if r.faults.is_empty() {
        text += "every byte is right\n";
    } else if r.whole.is_empty() {
        text += "no backup is whole\n";
    } else {
        let whole: Vec<String> = r.whole.iter().map(u64::to_string).collect();
        text += &format!("whole: backup {}\n", whole.join(", "));
    }
    text
}
