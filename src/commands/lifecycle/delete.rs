//! `ocelli delete`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use ocelli_indexer::lifecycle::change::Names;
use ocelli_indexer::lifecycle::{DeleteReport, delete};

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
    pub output: OutputArgs,
}

/// Deletes rows of an index.
pub fn run(args: DeleteArgs) -> Result<()> {
    let mut names = Names { ids: args.id, keys: args.key };
    for path in &args.from {
        read(path, args.ids, &mut names)?;
    }
    if names.count() == 0 && args.from.is_empty() {
        bail!("expected rows to delete: --id, --key or --from; found none");
    }
    if names.keys.iter().any(String::is_empty) {
        bail!("an empty key is no key: expected --key with a name; rows without one have ids");
    }
    let bars = Bars::default();
    let report = delete(&args.index, names, args.erase, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, text)
}

/// Reads names, one a line.
fn read(path: &Path, ids: bool, names: &mut Names) -> Result<()> {
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
            names.ids.push(id);
        } else {
            names.keys.push(name.to_owned());
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
