//! `ocelli delete`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use ocelli_index::{NameListBuilder, NameRef};
use ocelli_indexer::lifecycle::{DeleteReport, check_erasure, delete_listed};
use ocelli_indexer::memory::keep_to;

use crate::commands::MemoryArgs;
use crate::output::{OutputArgs, cell, counted, print};
use crate::progress::Bars;

const DELETE_EXAMPLE: &str = "\
Searchers that serve the index do not find the rows any more within a second:
  ocelli delete index/ --key Paris/tower.jpg --id 17
  ocelli delete index/ --from keys.txt
Also from the files, so that nothing holds them; gc removes the old files:
  ocelli delete index/ --key Paris/tower.jpg --erase
  ocelli gc index/ --yes";

#[derive(Args)]
#[command(after_help = DELETE_EXAMPLE)]
pub struct DeleteArgs {
    /// Index directory
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// Id of a row
    #[arg(long, value_name = "ID")]
    pub id: Vec<u64>,
    /// Key of a row
    #[arg(long, value_name = "KEY")]
    pub key: Vec<String>,
    /// File of keys, one a line; with --ids, of ids. `-`: standard input
    #[arg(long, value_name = "FILE")]
    pub from: Vec<PathBuf>,
    /// The files named by --from hold ids
    #[arg(long, requires = "from")]
    pub ids: bool,
    /// Write the files that hold the rows again without them, and record which others hold them
    #[arg(long)]
    pub erase: bool,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Names are collected in so many parts of a budget.
const NAMES_SHARE: usize = 16;
/// Least memory in which names are collected, in bytes.
pub const LEAST_NAMES_BYTES: usize = 4 << 20;

/// Deletes rows of an index.
pub fn run(args: DeleteArgs) -> Result<()> {
    if args.id.is_empty() && args.key.is_empty() && args.from.is_empty() {
        bail!("expected rows to delete: --id, --key or --from; found none");
    }
    if args.key.iter().any(String::is_empty) {
        bail!("an empty key is no key: expected --key with a name; rows without one have ids");
    }
    let budget = args.memory.bytes();
    let share = (budget / NAMES_SHARE).max(LEAST_NAMES_BYTES);
    if args.erase {
        check_erasure(&args.index, (budget, 0))?;
    }
    let _limit = keep_to(budget, LEAST_NAMES_BYTES, "names of rows")?;
    let mut names = match budget {
        0 => NameListBuilder::new(),
        _ => NameListBuilder::bounded(share, &args.index.join("shards")),
    };
    args.id.iter().try_for_each(|&id| names.push(NameRef::Id(id)))?;
    args.key.iter().try_for_each(|key| names.push(NameRef::Key(key)))?;
    for path in &args.from {
        read(path, args.ids, &mut names)?;
    }
    let bars = Bars::default();
    let names = names.finish()?;
    let report = delete_listed(&args.index, &names, args.erase, budget, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, text)
}

/// Reads names, one a line.
fn read(path: &Path, ids: bool, names: &mut NameListBuilder) -> Result<()> {
    let failed = || format!("cannot read {}", path.display());
    let input: Box<dyn BufRead> = match path == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(std::fs::File::open(path).with_context(failed)?)),
    };
    for (number, line) in (1..).zip(input.lines()) {
        let line = line.with_context(failed)?;
        let name = line.trim_end_matches('\r');
        if name.is_empty() {
            continue;
        }
        if ids {
            let id = name.trim().parse().with_context(|| {
                format!("{}, line {number}: expected an id, found {name:?}", path.display())
            })?;
            names.push(NameRef::Id(id))?;
        } else {
            names.push(NameRef::Key(name))?;
        }
    }
    Ok(())
}

fn text(r: &DeleteReport) -> String {
    let mut text = format!(
        "{}: {} deleted, generation {}",
        r.index.display(),
        counted(r.deleted, "row"),
        r.generation
    );
    if r.missing > 0 {
        let first: Vec<_> = r.missing_first.iter().map(|name| cell(name)).collect();
        text += &format!(
            "\n{} that no row has, the first: {}",
            counted(r.missing, "name"),
            first.join(", ")
        );
    }
    let Some(erased) = &r.erased else { return text };
    text += &format!("\n{} written again", counted(erased.rewritten as u64, "shard"));
    if !erased.generations.is_empty() {
        let numbers: Vec<String> = erased.generations.iter().map(u64::to_string).collect();
        text += &format!(
            "\ngenerations {} still hold the rows; `ocelli gc {} --yes` removes them",
            numbers.join(", "),
            r.index.display()
        );
    }
    for holding in &erased.backups {
        let numbers: Vec<String> = holding.backups.iter().map(u64::to_string).collect();
        if !numbers.is_empty() {
            text += &format!(
                "\nbackups {} in {} still hold the rows",
                numbers.join(", "),
                holding.chain.display()
            );
        }
        if let Some(why) = &holding.unread {
            text += &format!(
                "\nbackups in {} may hold the rows: {}",
                holding.chain.display(),
                cell(why)
            );
        }
    }
    text
}
