//! Files that nobody needs any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelli_index::{ERASED, FOLDERS, GarbageObject, IndexDir, Keep, TaskRecord, container};
use serde::Serialize;

use crate::{Error, Result};

/// Options of [`gc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// The newest generations that stay besides the current one.
    pub keep_generations: usize,
    /// The age in seconds below which a file stays that no generation names.
    pub min_age_s: u64,
    /// Files are removed; else they are only named.
    pub remove: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { keep_generations: 2, min_age_s: 24 * 3600, remove: false }
    }
}

/// A file that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GcFile {
    /// Name in the index directory.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// The result of [`gc`].
#[derive(Clone, Debug, Serialize)]
pub struct GcReport {
    /// The index directory.
    pub index: PathBuf,
    /// Whether the files were removed.
    pub removed: bool,
    /// Generations that stay.
    pub kept: Vec<u64>,
    /// Generations that go.
    pub dropped: Vec<u64>,
    /// Files that go.
    pub files: Vec<GcFile>,
    /// Bytes of these files.
    pub bytes: u64,
    /// Files that no generation names and that are too young to go.
    pub young: Vec<GcFile>,
}

/// Finds the files of the index at `dir` that nobody needs, and removes them if
/// [`GcOptions::remove`]. The current generation stays, some before it, what they name, and what
/// builds under way need.
///
/// # Errors
/// An index without a current generation, or with a generation or a record of a task that cannot be
/// read: nothing is removed then.
pub fn gc(dir: &Path, options: &GcOptions) -> Result<GcReport> {
    let index = IndexDir::open(dir)?;
    let (plans, shards) = plans_under_way(dir)?;
    let keep = Keep {
        generations: options.keep_generations,
        shards,
        models: plans,
        min_age: Duration::from_secs(options.min_age_s),
    };
    let garbage = index.collect_garbage(&keep, options.remove)?;
    if options.remove {
        // What killed writers left has no name to be judged by.
        for folder in FOLDERS.into_iter().chain([ERASED]) {
            container::sweep(&dir.join(folder));
        }
        container::sweep(dir);
    }
    let files = |of: Vec<GarbageObject>| -> Vec<GcFile> {
        of.into_iter().map(|GarbageObject { name, bytes }| GcFile { name, bytes }).collect()
    };
    let (gone, young) = (files(garbage.objects), files(garbage.young));
    Ok(GcReport {
        index: dir.to_owned(),
        removed: options.remove,
        kept: garbage.kept,
        dropped: garbage.dropped,
        bytes: gone.iter().map(|file| file.bytes).sum(),
        files: gone,
        young,
    })
}

/// Whether there are plans that are not committed yet, and the shards that their tasks have made.
fn plans_under_way(dir: &Path) -> Result<(bool, BTreeSet<String>)> {
    let mut shards = BTreeSet::new();
    let plans = entries(&dir.join("work"))?;
    for plan in &plans {
        for path in entries(plan)? {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let bytes = match fs::read(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                read => read.map_err(Error::io("read", &path))?,
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match TaskRecord::read(&path, &bytes) {
                Ok(record) => shards.extend(record.shard.map(|shard| shard.name)),
                // Other files of plans name no shards.
                Err(_) if !name.starts_with("task-") => {}
                Err(error) => {
                    return Err(Error::Invalid(format!(
                        "{error}; nothing was removed: commit the plan, or remove its folder if \
                         nobody works on it"
                    )));
                }
            }
        }
    }
    Ok((!plans.is_empty(), shards))
}

/// What is in a folder; nothing if there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = match fs::read_dir(folder) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        found => found.map_err(Error::io("list", folder))?,
    };
    found.map(|entry| Ok(entry.map_err(Error::io("list", folder))?.path())).collect()
}
