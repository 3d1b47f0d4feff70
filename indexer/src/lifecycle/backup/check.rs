//! Which backups of a chain are whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ocelli_index::Hash;
use rayon::prelude::*;
use serde::Serialize;

use super::chain::{Chain, Object, Reader};
use super::{Backup, BackupFile};
use crate::threads::pool;
use crate::{Error, Progress, ProgressFn, Result};

/// A backup of a chain, as a list has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedBackup {
    /// Number in the chain.
    pub backup: u64,
    /// Whether all that it needs is there, at its size. [`check`] proves the bytes too.
    pub whole: bool,
    /// The generation that is current in it; none if it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Files that are known of it.
    pub files: usize,
    /// Bytes of these files.
    pub bytes: u64,
    /// Milliseconds since 1970-01-01 UTC by the clock of the machine; 0: not known.
    pub time_ms: u64,
    /// Faults: lists, generations and files that are lost or damaged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// Report of a check of a chain.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// The folder of the chain.
    pub target: PathBuf,
    /// Backups that can be read.
    pub backups: usize,
    /// Numbers of the backups that are whole, proven byte for byte.
    pub whole: Vec<u64>,
    /// Objects that they name.
    pub objects: usize,
    /// Bytes of these, not compressed.
    pub bytes: u64,
    /// All that is wrong, each with the backups that it is wrong for.
    pub faults: Vec<String>,
}

/// Looks at the objects of backups, at each once, and not at their bytes.
struct Looks<'a> {
    chain: &'a Chain,
    /// The fault of an object, if it has one.
    seen: BTreeMap<Hash, Option<String>>,
}

impl Looks<'_> {
    /// All that is wrong with a backup.
    fn faults(&mut self, backup: &Backup) -> Vec<String> {
        let mut faults = backup.faults.clone();
        for file in &backup.files {
            let look = || match self.chain.look(file, false) {
                Ok(Object::Whole) => None,
                Ok(Object::Missing) => Some(format!("{}: lost", file.name)),
                Ok(Object::Damaged(what)) => Some(format!("{}: {what}", file.name)),
                Err(error) => Some(error.to_string()),
            };
            let found = self.seen.get(&file.sha256).cloned();
            let found = found.unwrap_or_else(look);
            faults.extend(found.clone());
            self.seen.insert(file.sha256, found);
        }
        faults
    }
}

/// Lists the backups of a chain, the first made first, those that cannot be read too. Sizes are
/// looked at, and not bytes.
///
/// # Errors
/// No chain.
pub fn list_backups(target: &Path) -> Result<Vec<ListedBackup>> {
    let chain = Chain::open(target)?;
    let numbers = chain.numbers()?;
    let mut reader = Reader::new(&chain);
    let mut looks = Looks { chain: &chain, seen: BTreeMap::new() };
    let line = |number: u64| match reader.read(number) {
        Ok(backup) => {
            let faults = looks.faults(&backup);
            ListedBackup {
                backup: number,
                whole: faults.is_empty(),
                generation: Some(backup.generation),
                files: backup.files.len(),
                bytes: backup.files.iter().map(|file| file.bytes).sum(),
                time_ms: backup.time_ms,
                faults,
            }
        }
        Err(error) => ListedBackup {
            backup: number,
            whole: false,
            generation: None,
            files: 0,
            bytes: 0,
            time_ms: 0,
            faults: vec![error.to_string()],
        },
    };
    Ok(numbers.into_iter().map(line).collect())
}

/// The backups of a chain of which nothing is missing, the first made first; none where there is no
/// chain. Sizes are looked at, and not bytes.
pub fn readable_backups(target: &Path) -> Vec<Backup> {
    let Ok(chain) = Chain::open(target) else { return Vec::new() };
    let numbers = chain.numbers().unwrap_or_default();
    let mut reader = Reader::new(&chain);
    let mut looks = Looks { chain: &chain, seen: BTreeMap::new() };
    let read = |number| reader.read(number).ok();
    let found = numbers.into_iter().filter_map(read);
    found.filter(|backup| looks.faults(backup).is_empty()).collect()
}

/// Proves all objects that the backups of a chain name.
///
/// # Errors
/// No chain.
pub fn check(target: &Path, threads: usize, progress: ProgressFn<'_>) -> Result<CheckReport> {
    let chain = Chain::open(target)?;
    let (backups, mut faults) = chain.readable()?;
    let mut objects: Vec<(&BackupFile, Vec<u64>)> = Vec::new();
    let mut places = BTreeMap::new();
    for backup in &backups {
        for file in &backup.files {
            let place = *places.entry(file.sha256).or_insert_with(|| {
                objects.push((file, Vec::new()));
                objects.len() - 1
            });
            objects[place].1.push(backup.number);
        }
    }
    let total = objects.iter().map(|(file, _)| file.bytes).fold(0, u64::saturating_add);
    let done = AtomicU64::new(0);
    let prove = |(file, numbers): &(&BackupFile, Vec<u64>)| {
        let outcome = chain.copy(file, |_| Ok(()));
        let done = done.fetch_add(file.bytes, Ordering::Relaxed).saturating_add(file.bytes);
        progress(Progress { stage: "check", done, total });
        let text: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let line = |error: Error| format!("{error} (backup {})", text.join(", "));
        outcome.err().map(|error| (line(error), numbers.clone()))
    };
    let wrong: Vec<(String, Vec<u64>)> =
        pool(threads)?.install(|| objects.par_iter().filter_map(prove).collect());
    let hurt: BTreeSet<u64> = wrong.iter().flat_map(|(_, numbers)| numbers).copied().collect();
    faults.extend(wrong.into_iter().map(|(line, _)| line));
    let is_whole = |backup: &&Backup| backup.faults.is_empty() && !hurt.contains(&backup.number);
    Ok(CheckReport {
        target: target.to_owned(),
        backups: backups.len(),
        whole: backups.iter().filter(is_whole).map(|backup| backup.number).collect(),
        objects: objects.len(),
        bytes: total,
        faults,
    })
}

/// The newest backup but for one that is whole, proven byte for byte.
///
/// # Errors
/// No threads; a folder that cannot be read.
pub(super) fn newest_whole(
    chain: &Chain,
    but: u64,
    threads: usize,
    progress: ProgressFn<'_>,
) -> Result<Option<u64>> {
    let mut reader = Reader::new(chain);
    let mut proven: BTreeMap<Hash, bool> = BTreeMap::new();
    let pool = pool(threads)?;
    for number in chain.numbers()?.into_iter().rev().filter(|number| *number != but) {
        let Ok(backup) = reader.read(number) else { continue };
        if !backup.faults.is_empty() {
            continue;
        }
        let new = backup.files.iter().filter(|file| !proven.contains_key(&file.sha256));
        let new: Vec<&BackupFile> = new.collect();
        let total = new.iter().map(|file| file.bytes).sum();
        let done = AtomicU64::new(0);
        let prove = |file: &&BackupFile| {
            let is_whole = chain.copy(file, |_| Ok(())).is_ok();
            let done = done.fetch_add(file.bytes, Ordering::Relaxed).saturating_add(file.bytes);
            progress(Progress { stage: "prove another backup", done, total });
            (file.sha256, is_whole)
        };
        let found: Vec<(Hash, bool)> = pool.install(|| new.par_iter().map(prove).collect());
        proven.extend(found);
        if backup.files.iter().all(|file| proven.get(&file.sha256) == Some(&true)) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}
