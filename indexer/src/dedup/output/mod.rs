//! The files of a run, all in one folder:
//!
//! | file | content |
//! |---|---|
//! | `pairs.parquet` | each pair of rows that the join reported ([`PairLine`]) |
//! | `clusters.parquet` | each row of a cluster ([`ClusterLine`]) |
//! | `cluster_stats.parquet` | each cluster ([`StatLine`]) |
//! | `remove_ids.txt` | ids of duplicates, for `ocelli delete INDEX --from remove_ids.txt --ids` |
//! | `remove_files.jsonl` | files of duplicates, for `ocelli dedup apply` ([`FileLine`]) |
//! | `report.html` | the page for people, if it was asked for |
//! | `sample.csv` | pairs to judge, if they were asked for |
//! | `summary.json` | all parameters, counts, and the hashes of the other files ([`Summary`]) |
//!
//! Tables are there as CSV and JSON lines as well if that was asked for. Each file gets its name
//! when it is whole, the summary last: the files of a folder with a summary are of one run. Nothing
//! is removed by writing a list. Memory is bounded by blocks of rows, and in a cluster by 64 bytes
//! and a path for each kept row whose file was looked at.

mod lines;
mod members;
mod pairs;
mod removal;
mod sink;
mod summary;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use lines::{ClusterLine, FileLine, PairLine, StatLine};
pub use members::{ClustersWritten, FileCounts, write_clusters};
pub use pairs::{PairCounts, write_pairs};
pub use summary::{OutputFile, SCHEMA_VERSION, SUMMARY, Summary, write_summary};

use crate::{Error, Result};

/// Names of the files.
pub mod names {
    /// Each pair of rows.
    pub const PAIRS: &str = "pairs";
    /// Each row of a cluster.
    pub const CLUSTERS: &str = "clusters";
    /// Each cluster.
    pub const STATS: &str = "cluster_stats";
    /// Ids of duplicates.
    pub const REMOVE_IDS: &str = "remove_ids.txt";
    /// Files of duplicates.
    pub const REMOVE_FILES: &str = "remove_files.jsonl";
    /// The page for people.
    pub const REPORT: &str = "report.html";
    /// Pairs to judge.
    pub const SAMPLE: &str = "sample.csv";
}

/// Forms of tables besides Parquet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TableForm {
    /// Comma-separated values with a heading.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl TableForm {
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Makes the folder of a run and takes away the summary of an earlier one, so that what is written
/// from now on is not taken for whole. All other files of an earlier run go as well.
///
/// # Errors
/// A folder that cannot be made or written to.
pub fn start(out: &Path, forms: &[TableForm]) -> Result<()> {
    fs::create_dir_all(out).map_err(Error::io("make the folder", out))?;
    tempfile::tempfile_in(out).map_err(Error::io("write a file in", out))?;
    let other = [TableForm::Csv, TableForm::Jsonl].into_iter().filter(|form| !forms.contains(form));
    let tables = [names::PAIRS, names::CLUSTERS, names::STATS];
    let others = other.flat_map(|form| tables.map(|name| format!("{name}.{}", form.ending())));
    let parquet = tables.map(|name| format!("{name}.parquet"));
    let lists = [names::REMOVE_IDS, names::REMOVE_FILES];
    let once = [SUMMARY, names::REPORT, names::SAMPLE].into_iter().chain(lists);
    let once = once.map(str::to_owned).chain(parquet);
    for name in once.chain(others) {
        let path = out.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove the earlier", &path)(e));
            }
            _ => {}
        }
    }
    Ok(())
}
