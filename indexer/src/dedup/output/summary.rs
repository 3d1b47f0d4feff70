//! The summary of a run.

use std::fs::File;
use std::path::Path;

use ocelli_index::Hash;
use ocelli_index::container::write_atomically;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::members::FileCounts;
use super::pairs::PairCounts;
use crate::dedup::clusters::{ClusterCounts, Linkage};
use crate::dedup::edge::Label;
use crate::dedup::keeper::{KnownCounts, Policy};
use crate::{Error, Result};

/// Version of the form of the files.
pub const SCHEMA_VERSION: u32 = 1;

/// Name of the summary.
pub const SUMMARY: &str = "summary.json";

/// All that is known of a run. The same rows, pairs and parameters give the same bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of Ocelli.
    pub ocelli: &'static str,
    /// The caller's parameters: what was joined and how, with hashes.
    pub join: Value,
    /// Least score of an edge that counts.
    pub threshold: f32,
    /// The way in which rows became clusters.
    pub linkage: Linkage,
    /// The weakest label of a row that may be removed.
    pub remove: Option<Label>,
    /// Rules of the keeper.
    pub keep: Policy,
    /// Pairs that are known to be no duplicates.
    pub known_pairs: KnownCounts,
    /// Counts of pairs.
    pub pairs: PairCounts,
    /// Counts of clusters.
    pub clusters: ClusterCounts,
    /// What becomes of the files of duplicates.
    pub files: FileCounts,
    /// The other files of the run, by name.
    pub outputs: Vec<OutputFile>,
}

/// A file of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Name in the folder of the run.
    pub name: String,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: Hash,
}

impl OutputFile {
    /// Hashes the file of a name in the folder of a run.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of(out: &Path, name: &str) -> Result<Self> {
        let path = out.join(name);
        let mut file = File::open(&path).map_err(Error::io("open", &path))?;
        let bytes = file.metadata().map_err(Error::io("look at", &path))?.len();
        let sha256 = Hash::of_reader(&mut file).map_err(Error::io("read", &path))?;
        Ok(Self { name: name.to_owned(), bytes, sha256 })
    }
}

/// Writes `summary.json`, the last file of a run.
///
/// # Errors
/// Those of writing.
pub fn write_summary(out: &Path, summary: &Summary) -> Result<()> {
    let path = out.join(SUMMARY);
    let mut text = serde_json::to_vec_pretty(summary)
        .map_err(|e| Error::File { path: path.clone(), what: format!("cannot write: {e}") })?;
    text.push(b'\n');
    write_atomically(&path, &text)?;
    Ok(())
}
