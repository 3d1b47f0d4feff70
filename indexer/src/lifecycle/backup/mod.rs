//! Backups: a chain of them in one folder, each a list of files, the files themselves once.
//!
//! ```text
//! backup.json              which index the chain is of
//! backups/<n>.json.gz      a backup: its generations and models by size and SHA-256; written last
//! objects/<sha256>         a file, named by its content; never changed
//! objects/<sha256>.gz      the same for JSON, compressed
//! ```
//!
//! An object is written once, however many backups name it: a backup costs what changed. Each
//! backup names all of its files, so that none needs another one. Objects are written under
//! temporary names, proven, and made durable before the backup that names them is there: a backup
//! that was killed leaves the chain as it was, and the next one goes on with the objects that it
//! finds.
//!
//! The index is known by a hash that its first backup derives from the oldest generation's file,
//! and keeps in the index directory, in `backups.json`, beside the folders of its chains.

mod chain;
mod known;
mod restore;
mod state;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ocelli_index::Hash;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::chain::Chain;
use self::state::State;
use crate::threads::pool;
use crate::{Error, Progress, ProgressFn, Result};

pub use self::known::{Holding, holding, known_chains};
pub use self::restore::{RestoreOptions, RestoreReport, restore};

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFile {
    /// Name in the index directory.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: Hash,
}

/// A backup: the state of an index directory at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Version of the format: 1.
    pub format: u32,
    /// The index.
    pub index: Hash,
    /// Number in the chain, 1 or more.
    pub number: u64,
    /// The generation that was current.
    pub generation: u64,
    /// The line in CURRENT.
    pub current: String,
    /// All files of the index but CURRENT, by name.
    pub files: Vec<BackupFile>,
    /// Milliseconds since 1970-01-01 UTC by the clock of the machine; 0: not known.
    pub time_ms: u64,
}

/// Report of a backup.
#[derive(Clone, Debug, Serialize)]
pub struct BackupReport {
    /// The index directory.
    pub index: PathBuf,
    /// The folder of the chain.
    pub target: PathBuf,
    /// Number of the backup.
    pub backup: u64,
    /// The generation that is current in it.
    pub generation: u64,
    /// False if the index was as the last backup has it: then there is no new one.
    pub new: bool,
    /// Files of the index.
    pub files: usize,
    /// Bytes of these files.
    pub bytes: u64,
    /// Files that the chain did not have.
    pub new_files: usize,
    /// Bytes of these files.
    pub new_bytes: u64,
    /// Bytes written to the chain, everything counted.
    pub written_bytes: u64,
    /// Generations that were left out, each with the reason: files of theirs are damaged or gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Wall time.
    pub seconds: f64,
}

/// Adds a backup of the index at `root` to the chain in `target`, which is made if it is missing.
/// The index may be changed and searched meanwhile: the backup is of the moment at which it began.
/// `time_ms` is the time that it bears.
///
/// # Errors
/// A chain of another index; a damaged file of the current generation, and then the chain is as it
/// was; files that cannot be read or written.
pub fn backup(
    root: &Path,
    target: &Path,
    time_ms: u64,
    threads: usize,
    progress: ProgressFn<'_>,
) -> Result<BackupReport> {
    let start = Instant::now();
    refuse_nested(root, target)?;
    let state = State::read(root)?;
    let chain = Chain::create(target)?;
    let index = known::identity(root, &state, &chain)?;
    chain.claim(index)?;
    let last = chain.last()?;
    let missing: Vec<&(BackupFile, File)> =
        state.files.iter().filter(|(file, _)| !chain.has(file)).collect();
    let total = missing.iter().map(|(file, _)| file.bytes).sum();
    let done = AtomicU64::new(0);
    let copy = |(file, opened): &&(BackupFile, File)| {
        let written = chain.put(file, opened, root)?;
        let done = done.fetch_add(file.bytes, Ordering::Relaxed) + file.bytes;
        progress(Progress { stage: "backup", done, total });
        Ok(written)
    };
    let copied: Vec<Result<u64>> =
        pool(threads)?.install(|| missing.par_iter().map(copy).collect());
    let mut written_bytes = copied.into_iter().sum::<Result<u64>>()?;
    let files: Vec<BackupFile> = state.files.iter().map(|(file, _)| file.clone()).collect();
    let mut report = BackupReport {
        index: root.to_owned(),
        target: target.to_owned(),
        backup: 0,
        generation: state.generation,
        new: true,
        files: files.len(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        new_files: missing.len(),
        new_bytes: total,
        written_bytes: 0,
        left_out: state.left_out,
        seconds: 0.0,
    };
    match last.filter(|last| last.files == files && last.current == state.current) {
        Some(same) => (report.backup, report.new) = (same.number, false),
        None => {
            let backup = Backup {
                format: 1,
                index,
                number: 0,
                generation: state.generation,
                current: state.current,
                files,
                time_ms,
            };
            let (number, bytes) = chain.publish(backup)?;
            written_bytes += bytes;
            report.backup = number;
        }
    }
    known::remember(root, index, target)?;
    report.written_bytes = written_bytes;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// A chain within its index would be backed up itself, and lost with it.
fn refuse_nested(root: &Path, target: &Path) -> Result<()> {
    let whole = |path: &Path| std::path::absolute(path).map_err(Error::io("look at", path));
    let (inside, outside) = (whole(target)?, whole(root)?);
    match inside.starts_with(&outside) {
        true => Err(Error::Invalid(format!(
            "{}: the folder of backups is within the index {}: expected one elsewhere, best on \
             another disk",
            target.display(),
            root.display()
        ))),
        false => Ok(()),
    }
}

/// The backups of a chain, the first made first.
///
/// # Errors
/// No chain; a damaged file.
pub fn backups(target: &Path) -> Result<Vec<Backup>> {
    Chain::open(target)?.all()
}

/// The backups of a chain that can be read, the first made first; none where there is no chain.
pub fn readable_backups(target: &Path) -> Vec<Backup> {
    let found = Chain::open(target).and_then(|chain| chain.readable());
    found.map_or_else(|_| Vec::new(), |(backups, _)| backups)
}

/// Report of a check of a chain.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// The folder of the chain.
    pub target: PathBuf,
    /// Backups in it.
    pub backups: usize,
    /// Objects that they name.
    pub objects: usize,
    /// Bytes of these, not compressed.
    pub bytes: u64,
    /// All that is wrong, each with the backups that it is wrong for.
    pub faults: Vec<String>,
}

/// Proves all objects that the backups of a chain name.
///
/// # Errors
/// No chain.
pub fn check(target: &Path, threads: usize, progress: ProgressFn<'_>) -> Result<CheckReport> {
    let chain = Chain::open(target)?;
    let (backups, mut faults) = chain.readable()?;
    let mut objects: Vec<(&BackupFile, Vec<u64>)> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for backup in &backups {
        for file in &backup.files {
            let place = *places.entry(file.sha256).or_insert_with(|| {
                objects.push((file, Vec::new()));
                objects.len() - 1
            });
            objects[place].1.push(backup.number);
        }
    }
    let total = objects.iter().map(|(file, _)| file.bytes).sum();
    let done = AtomicU64::new(0);
    let prove = |(file, numbers): &(&BackupFile, Vec<u64>)| {
        let outcome = chain.copy(file, |_| Ok(()));
        let done = done.fetch_add(file.bytes, Ordering::Relaxed) + file.bytes;
        progress(Progress { stage: "check", done, total });
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        outcome.err().map(|error| format!("{error} (backup {})", numbers.join(", ")))
    };
    let wrong: Vec<String> =
        pool(threads)?.install(|| objects.par_iter().filter_map(prove).collect());
    faults.extend(wrong);
    Ok(CheckReport {
        target: target.to_owned(),
        backups: backups.len(),
        objects: objects.len(),
        bytes: total,
        faults,
    })
}
