//! `ocelli backup`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use ocelli_indexer::lifecycle::backup::{
    Backup, BackupReport, CheckReport, backup, backups, check,
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
    /// List the backups in a folder
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

/// A line of the list.
#[derive(Serialize)]
struct Line {
    backup: u64,
    generation: u64,
    files: usize,
    bytes: u64,
    time_ms: u64,
}

impl Line {
    fn of(backup: &Backup) -> Self {
        Self {
            backup: backup.number,
            generation: backup.generation,
            files: backup.files.len(),
            bytes: backup.files.iter().map(|file| file.bytes).sum(),
            time_ms: backup.time_ms,
        }
    }
}

#[derive(Serialize)]
struct Listed {
    target: PathBuf,
    backups: Vec<Line>,
}

/// Makes a backup, or looks at those that there are.
pub fn run(args: BackupArgs) -> Result<()> {
    let bars = Bars::default();
    let format = args.output.format;
    match args.command {
        Some(ChainCommand::List { target }) => {
            let found = backups(&target)?.iter().map(Line::of).collect();
            return print(format, &Listed { target, backups: found }, list_text);
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
    let report = backup(index, target, now_ms(), args.threads, &|p| bars.report(p))?;
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
        text += &format!(
            "backup {}: generation {}, {}, {} bytes\n",
            line.backup,
            line.generation,
            counted(line.files as u64, "file"),
            thousands(line.bytes)
        );
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
    }
    text
}
