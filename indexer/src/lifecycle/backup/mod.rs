//! Backups: a chain of them in one folder, each a list of files, the files themselves once.
//!
//! ```text
//! backup.json              which index the chain is of
//! backups/<n>.json.gz      a backup: generations by number, models by SHA-256; written last
//! generations/<n>-<branch>-<sha256>.json.gz   a generation's file
//! objects/<sha256>         another file, named by its content; never changed
//! objects/<sha256>.gz      the same for JSON, compressed
//! ```
//!
//! An object is written once, however many backups name it: a backup costs what changed. Each
//! backup names all of its files, so that none needs another one. Objects are written under
//! temporary names, proven, and made durable before the backup that names them is there: a backup
//! that was killed leaves the chain as it was, and the next one goes on with the objects that it
//! finds.
//!
//! An object that is damaged or lost is written again by the next backup of an index that still has
//! the file.
//!
//! The index is known by a hash that its first backup derives from the oldest generation's file,
//! and keeps in the index directory, in `backups.json`, beside the folders of its chains and the
//! backups that it made. Where that is lost, a generation that both have proves that a chain is of
//! the index. A copy of an index is told apart by its history: a directory goes on with a chain
//! only if it made the newest backup, or its current generation was made from that backup's, or it
//! came from the chain by a restoration since.

mod chain;
mod check;
mod known;
mod restore;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ocelli_index::{Hash, IndexDir};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::chain::{Chain, Object, Reader, is_damage, number_of};
use self::known::Seen;
use self::state::{State, is_gone};
use crate::threads::pool;
use crate::{Error, Progress, ProgressFn, Result};

pub use self::check::{CheckReport, ListedBackup, check, list_backups, readable_backups};
pub use self::known::{Holding, holding, known_chains};
pub use self::restore::{RestoreOptions, RestoreReport, restore};

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// Version of the format: 2; 1 in earlier chains.
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
    /// Faults of the chain: earlier generations that are left out here, since a file of theirs is
    /// lost or damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

impl Backup {
    /// SHA-256 of the generations' files, by number.
    fn generations(&self) -> BTreeMap<u64, Hash> {
        let files = self.files.iter();
        files.filter_map(|file| Some((number_of(&file.name)?, file.sha256))).collect()
    }

    /// Whether a directory that is restored from either is the same, byte for byte.
    fn is_same(&self, other: &Self) -> bool {
        let faults = self.faults.is_empty() && other.faults.is_empty();
        faults && self.files == other.files && self.current == other.current
    }
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
    /// Files that the chain did not have, or not whole.
    pub new_files: usize,
    /// Bytes of these files.
    pub new_bytes: u64,
    /// Bytes written to the chain, everything counted.
    pub written_bytes: u64,
    /// Objects that earlier backups need and that were damaged or lost: they were written again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub healed: Vec<String>,
    /// Lists of earlier backups that cannot be read, and why. Those that are damaged are lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
    /// Generations that were left out, each with the reason: files of theirs are damaged or gone,
    /// or hold rows that were erased.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Wall time.
    pub seconds: f64,
}

/// Options of [`backup_with`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// The time that the backup bears, in milliseconds since 1970.
    pub time_ms: u64,
    /// Threads; 0: one per core.
    pub threads: usize,
    /// Objects that the chain has are looked at by their size only, and not proven.
    pub quick: bool,
}

/// [`backup_with`] that proves the chain's objects.
///
/// # Errors
/// As [`backup_with`].
pub fn backup(
    root: &Path,
    target: &Path,
    time_ms: u64,
    threads: usize,
    progress: ProgressFn<'_>,
) -> Result<BackupReport> {
    backup_with(root, target, &BackupOptions { time_ms, threads, quick: false }, progress)
}

/// Adds a backup of the index at `root` to the chain in `target`, which is made if it is missing.
/// The index may be changed and searched meanwhile: the backup is of the moment at which it began.
/// Another backup to the same chain is waited for. Objects of the chain that are damaged or lost
/// are written again.
///
/// # Errors
/// A chain of another index, or of another copy of this one; a damaged file of the current
/// generation, and then the chain is as it was; files that cannot be read or written.
pub fn backup_with(
    root: &Path,
    target: &Path,
    options: &BackupOptions,
    progress: ProgressFn<'_>,
) -> Result<BackupReport> {
    let start = Instant::now();
    refuse_nested(root, target)?;
    IndexDir::open(root)?;
    let chain = Chain::create(target)?;
    let _alone = chain.alone()?;
    let mut state = State::read(root)?;
    let index = known::claim(root, &state, &chain)?;
    known::refuse_other_history(root, &state, &chain, target)?;
    chain.place(&state.generations())?;
    let (copied, damaged) = copy_missing(root, &state, &chain, options, progress)?;
    let written_bytes = copied.values().flatten().map(|copied| copied.written).sum();
    state.leave_out(root, &damaged)?;
    let files: Vec<BackupFile> = state.files.iter().map(|(file, _)| file.clone()).collect();
    let copied: Vec<Option<&Copied>> =
        files.iter().map(|file| copied.get(&file.name).and_then(Option::as_ref)).collect();
    let last = newest(&chain)?;
    let is_new = |copied: &&&Copied| !matches!(copied.why, Why::Named);
    let new_bytes = |(file, copied): (&BackupFile, &Option<&Copied>)| {
        copied.as_ref().filter(is_new).map(|_| file.bytes)
    };
    let mut report = BackupReport {
        index: root.to_owned(),
        target: target.to_owned(),
        backup: 0,
        generation: state.generation,
        new: true,
        files: files.len(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        new_files: copied.iter().flatten().filter(is_new).count(),
        new_bytes: files.iter().zip(&copied).filter_map(new_bytes).sum(),
        written_bytes,
        healed: healed(&files, &copied, last.as_ref()),
        unreadable: chain.unreadable()?,
        left_out: state.left_out(),
        seconds: 0.0,
    };
    let new = Backup {
        format: 2,
        index,
        number: 0,
        generation: state.generation,
        current: state.current,
        files,
        time_ms: options.time_ms,
        faults: Vec::new(),
    };
    let current = Some(new.current.trim_end().to_owned());
    let seen = |backup, begun| Seen { backup, current: current.clone(), begun };
    match last.filter(|last| last.is_same(&new)) {
        Some(same) => (report.backup, report.new) = (same.number, false),
        None => {
            let number = chain.next_number(known::last_number(root, target)?)?;
            // If this is killed once the list is there, the backup is still known as one's own.
            known::remember(root, index, target, Some(seen(number, true)))?;
            let published = chain.publish(&new, number);
            let (number, bytes) = published.map_err(|error| without_quick(error, options))?;
            report.written_bytes += bytes;
            report.backup = number;
        }
    }
    known::remember(root, index, target, Some(seen(report.backup, false)))?;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// Says what helps where a quick backup finds damage while it writes its list.
fn without_quick(error: Error, options: &BackupOptions) -> Error {
    if !options.quick || !is_damage(&error) {
        return error;
    }
    Error::Invalid(format!(
        "{error}; run it without --quick: then files of the chain that are damaged are written \
         again"
    ))
}

/// The newest backup of a chain; none if it cannot be read.
fn newest(chain: &Chain) -> Result<Option<Backup>> {
    let Some(number) = chain.numbers()?.pop() else { return Ok(None) };
    match Reader::new(chain).read(number) {
        Err(error) if is_damage(&error) => Ok(None),
        done => done.map(Some),
    }
}

/// The reason for which a file was written into a chain.
enum Why {
    /// There was none.
    Missing,
    /// There was a damaged one.
    Damaged(String),
    /// There was one under another name.
    Named,
}

/// A file that was copied into a chain.
struct Copied {
    written: u64,
    why: Why,
}

/// What became of the files of an index, by name: the copy, none where the chain has the file; and
/// what is wrong with those that cannot be copied since they are damaged in the index.
type Outcome = (BTreeMap<String, Option<Copied>>, BTreeMap<String, String>);

/// Copies the files that a chain lacks, or has damaged.
fn copy_missing(
    root: &Path,
    state: &State,
    chain: &Chain,
    options: &BackupOptions,
    progress: ProgressFn<'_>,
) -> Result<Outcome> {
    let total = state.files.iter().map(|(file, _)| file.bytes).sum();
    let done = AtomicU64::new(0);
    let copy = |(file, opened): &(BackupFile, File)| {
        let why = match chain.look(file, !options.quick)? {
            Object::Whole if chain.settle(file)? => None,
            Object::Whole => Some(Why::Named),
            Object::Missing => Some(Why::Missing),
            Object::Damaged(what) => Some(Why::Damaged(what)),
        };
        let put = |why| Ok::<_, Error>(Copied { written: chain.put(file, opened, root)?, why });
        let copied = why.map(put).transpose()?;
        let done = done.fetch_add(file.bytes, Ordering::Relaxed) + file.bytes;
        progress(Progress { stage: "backup", done, total });
        Ok(copied)
    };
    let copied: Vec<Result<Option<Copied>>> =
        pool(options.threads)?.install(|| state.files.par_iter().map(copy).collect());
    let (mut there, mut damaged) = (BTreeMap::new(), BTreeMap::new());
    for ((file, _), outcome) in state.files.iter().zip(copied) {
        match outcome {
            Ok(copied) => {
                there.insert(file.name.clone(), copied);
            }
            Err(Error::Index(error))
                if is_gone(&error) && error.path() == Some(root.join(&file.name).as_path()) =>
            {
                damaged.insert(file.name.clone(), error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok((there, damaged))
}

/// Objects that were damaged, or lost though the backup before needs them.
fn healed(files: &[BackupFile], copied: &[Option<&Copied>], last: Option<&Backup>) -> Vec<String> {
    let needed = |file: &BackupFile| last.is_some_and(|last| last.files.contains(file));
    let line = |(file, copied): (&BackupFile, &Option<&Copied>)| match &(*copied)?.why {
        Why::Damaged(what) => Some(format!("{}: was damaged: {what}", file.name)),
        Why::Missing => needed(file).then(|| format!("{}: was lost", file.name)),
        Why::Named => None,
    };
    files.iter().zip(copied).filter_map(line).collect()
}

/// A path without links, as far as there is something.
fn resolved(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(Error::io("look at", path))?;
    for known in path.ancestors() {
        if let (Ok(resolved), Ok(rest)) = (known.canonicalize(), path.strip_prefix(known)) {
            return Ok(resolved.join(rest));
        }
    }
    Ok(path)
}

/// A chain within its index would be backed up itself, and lost with it.
fn refuse_nested(root: &Path, target: &Path) -> Result<()> {
    let (inside, outside) = (resolved(target)?, resolved(root)?);
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
