//! The way back from a backup.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ocelli_index::container::{AtomicFile, write_atomically};
use ocelli_index::{IndexDir, LocalStorage, Storage};
use rayon::prelude::*;
use serde::Serialize;

use super::chain::Chain;
use super::{Backup, BackupFile, known, state};
use crate::threads::pool;
use crate::{Error, Progress, ProgressFn, Result};

/// The backup that is restored, and the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Number of the backup; none: the newest.
    pub backup: Option<u64>,
    /// The directory may have files: those that differ are replaced.
    pub force: bool,
    /// CURRENT stays if the generation that it names can be read: files that were lost come back,
    /// and what was committed since the backup stays.
    pub keep_current: bool,
    /// Threads; 0: one per core.
    pub threads: usize,
}

/// Report of a restoration.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreReport {
    /// The index directory.
    pub index: PathBuf,
    /// Number of the backup.
    pub backup: u64,
    /// The generation that is current.
    pub generation: u64,
    /// Files of the backup.
    pub files: usize,
    /// Files that were written; the others were there already, byte for byte.
    pub written_files: usize,
    /// Bytes of the files that were written.
    pub written_bytes: u64,
    /// Wall time.
    pub seconds: f64,
}

/// Makes the index directory `root` what it was when a backup in `target` was made: each of its
/// files, byte for byte, and last CURRENT. Files that are right already are left as they are, so
/// that a damaged directory costs what is damaged, and a restoration that was killed goes on. Files
/// that the backup does not know stay.
///
/// # Errors
/// No such backup; a directory that has files, without `force`; one of another index; a backup of
/// rows that were erased since; an object of the chain that is damaged or missing, and CURRENT is
/// then as it was.
pub fn restore(
    target: &Path,
    root: &Path,
    options: &RestoreOptions,
    progress: ProgressFn<'_>,
) -> Result<RestoreReport> {
    let start = Instant::now();
    let chain = Chain::open(target)?;
    let backup = match options.backup {
        Some(number) => chain.read(number)?,
        None => chain.last()?.ok_or_else(|| {
            let what = format!("{}: the chain has no backup", target.display());
            Error::from(ocelli_index::Error::not_found(what))
        })?,
    };
    if let (Ok(target), Ok(root)) = (target.canonicalize(), root.canonicalize())
        && (root.starts_with(&target) || target.starts_with(&root))
    {
        return Err(Error::Invalid(format!(
            "{}: expected a directory apart from the backups in {}",
            root.display(),
            target.display()
        )));
    }
    check_place(root, &backup, options.force)?;
    refuse_erased(root, &backup)?;
    let storage = LocalStorage::new(root);
    storage.prepare()?;
    let folders = backup.files.iter().filter_map(|file| file.name.split_once('/'));
    for (folder, _) in folders {
        let path = root.join(folder);
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
    }
    // Nobody removes what is written here before CURRENT names it.
    let _guard = storage.guard(false)?;
    let total = backup.files.iter().map(|file| file.bytes).sum();
    let done = AtomicU64::new(0);
    let bring = |file: &&BackupFile| {
        let written = bring(&chain, root, file)?;
        let done = done.fetch_add(file.bytes, Ordering::Relaxed) + file.bytes;
        progress(Progress { stage: "restore", done, total });
        Ok(written)
    };
    // What generations name comes before them.
    let (generations, others): (Vec<&BackupFile>, Vec<&BackupFile>) =
        backup.files.iter().partition(|file| file.name.starts_with("generations/"));
    let mut written = Vec::new();
    for files in [others, generations] {
        let outcome: Vec<Result<u64>> =
            pool(options.threads)?.install(|| files.par_iter().map(bring).collect());
        written.extend(outcome.into_iter().collect::<Result<Vec<u64>>>()?);
    }
    let path = root.join("CURRENT");
    let current = match options.keep_current {
        true => IndexDir::open(root)?.current().ok().flatten().map(|current| current.number),
        false => None,
    };
    if current.is_none() && fs::read(&path).ok().as_deref() != Some(backup.current.as_bytes()) {
        write_atomically(&path, backup.current.as_bytes())?;
    }
    known::remember(root, backup.index, target)?;
    Ok(RestoreReport {
        index: root.to_owned(),
        backup: backup.number,
        generation: current.unwrap_or(backup.generation),
        files: backup.files.len(),
        written_files: written.iter().filter(|&&bytes| bytes > 0).count(),
        written_bytes: written.iter().sum(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Refuses a place where something is lost.
fn check_place(root: &Path, backup: &Backup, force: bool) -> Result<()> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries.flatten(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("list", root)(error)),
    };
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let Some(name) = names.find(|name| !name.starts_with('.')) else { return Ok(()) };
    if !force {
        return Err(Error::Invalid(format!(
            "{}: expected an empty or missing directory, found {name}: give another one, or \
             --force to replace what differs from the backup",
            root.display()
        )));
    }
    // A file that is damaged says nothing.
    match known::named(root) {
        Some(index) if index != backup.index => Err(Error::Invalid(format!(
            "{}: another index ({}) than the backup is of ({}): expected the same one, or an \
             empty directory",
            root.display(),
            index.short(),
            backup.index.short()
        ))),
        _ => Ok(()),
    }
}

/// Refuses a backup that holds rows which the directory says were erased.
fn refuse_erased(root: &Path, backup: &Backup) -> Result<()> {
    let erased =
        IndexDir::open(root).map_err(Error::from).and_then(|dir| state::erased_shards(&dir));
    // A directory that is not there, or is damaged, says nothing.
    let erased = erased.unwrap_or_default();
    let holds = |file: &&BackupFile| {
        file.name.strip_prefix("shards/").is_some_and(|name| erased.contains(name))
    };
    match backup.files.iter().find(holds) {
        None => Ok(()),
        Some(file) => Err(Error::Invalid(format!(
            "backup {} holds rows that were erased since, in {}: expected a later backup, or an \
             empty directory, and then to erase them again",
            backup.number, file.name
        ))),
    }
}

/// Makes a file what it was. Returns the bytes written; 0 if it was right.
fn bring(chain: &Chain, root: &Path, file: &BackupFile) -> Result<u64> {
    let path = root.join(&file.name);
    let same_size = fs::metadata(&path).is_ok_and(|found| found.len() == file.bytes);
    if same_size && state::digest(&path).is_ok_and(|found| found == file.sha256) {
        return Ok(0);
    }
    let mut out = AtomicFile::create(&path)?;
    chain.copy(file, |bytes| Ok(out.append(bytes)?))?;
    out.publish()?;
    Ok(file.bytes)
}
