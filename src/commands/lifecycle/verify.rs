//! `ocelli verify`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::lifecycle::verify::{VerifyReport, Which, require_sound, verify};
use ocelli_indexer::memory::{keep_to, thread_bytes};

use crate::commands::MemoryArgs;
use crate::output::{OutputArgs, counted, print, thousands};
use crate::progress::Bars;

const VERIFY_EXAMPLE: &str = "\
Every byte of the current generation, and that its files agree:
  ocelli verify index/
Every generation that is still on disk:
  ocelli verify index/ --all";

#[derive(Args)]
#[command(after_help = VERIFY_EXAMPLE)]
pub struct VerifyArgs {
    /// Index directory
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// Generation [default: the current one]
    #[arg(long, value_name = "N", conflicts_with = "all")]
    pub generation: Option<u64>,
    /// All generations; files that they share are read once
    #[arg(long)]
    pub all: bool,
    /// Threads, 0: one per core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Proves an index. Faults are printed, and the command then fails.
pub fn run(args: VerifyArgs) -> Result<()> {
    let which = match args.generation {
        Some(number) => Which::Number(number),
        None if args.all => Which::All,
        None => Which::Current,
    };
    let holds = "the threads and what they compare";
    let _limit = keep_to(args.memory.bytes(), thread_bytes(args.threads), holds)?;
    let bars = Bars::default();
    let report = verify(&args.index, which, args.threads, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, text)?;
    Ok(require_sound(&report)?)
}

fn text(r: &VerifyReport) -> String {
    let numbers: Vec<String> = r.generations.iter().map(u64::to_string).collect();
    let mut text = format!(
        "{}: generation {}: {} of {}, {} bytes in {:.1} s, {:.0} MB/s\n",
        r.index.display(),
        numbers.join(", "),
        counted(r.shards as u64, "shard"),
        counted(r.rows, "row"),
        thousands(r.bytes),
        r.seconds,
        r.mb_per_s
    );
    for fault in &r.faults {
        text += &format!("generation {}: {}\n", fault.generation, fault.what);
    }
    if r.is_sound() {
        text += "every checksum is right, and everything agrees\n";
    }
    text
}
