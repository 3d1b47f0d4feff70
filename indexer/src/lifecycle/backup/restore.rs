//! The way back from a backup.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ocelli_index::container::{AtomicFile, write_atomically};
use ocelli_index::{Error as IndexError, IndexDir, LocalStorage, Storage};
use rayon::prelude::*;
use serde::Serialize;

use super::chain::{Chain, Newest, Reader, is_damage, number_of};
use super::known::Seen;
use super::{Backup, BackupFile, check, known, state};
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
    /// Generations that need a file which the chain has lost are left out, but for the current one.
    /// Without it, such a backup is refused.
    pub leave_out_damaged: bool,
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
    /// Generations that were left out, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
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
/// rows that were erased since; an object of the chain that is damaged or missing: the error names
/// the newest backup that is whole, and CURRENT is then as it was.
pub fn restore(
    target: &Path,
    root: &Path,
    options: &RestoreOptions,
    progress: ProgressFn<'_>,
) -> Result<RestoreReport> {
    let start = Instant::now();
    let chain = Chain::open(target)?;
    refuse_nested(target, root)?;
    // What another copy adds meanwhile is of another history.
    let newest = chain.newest()?;
    let again = Again { chain: &chain, options, force: options.force, progress };
    let mut backup = select(&again)?;
    check_place(root, &chain, &backup, options.force)?;
    refuse_erased(root, &backup)?;
    if options.keep_current && kept(root)?.is_some() {
        refuse_other_line(root, &backup)?;
    }
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
    let way = Way { chain: &chain, root, total, done: AtomicU64::new(0), options, progress };
    let again = Again { force: true, ..again };
    // What generations name comes before them.
    let (mut written, damaged) = way.bring(&backup, |name| number_of(name).is_none())?;
    let mut left_out = backup.faults.clone();
    if !damaged.is_empty() {
        let left = Reader::new(&chain).without(&backup, &damaged);
        let what = damaged.values().cloned().collect::<Vec<String>>().join("; ");
        (backup, left_out) = match left {
            Ok((kept, left)) if options.leave_out_damaged => (kept, [left_out, left].concat()),
            left => return Err(again.refused(&backup, &what, left.is_ok())),
        };
    }
    let (more, damaged) = way.bring(&backup, |name| number_of(name).is_some())?;
    written.extend(more);
    if let Some(what) = damaged.values().next() {
        return Err(again.refused(&backup, what, false));
    }
    let current = finish(newest, target, root, &backup, options)?;
    Ok(RestoreReport {
        index: root.to_owned(),
        backup: backup.number,
        generation: current,
        files: backup.files.len(),
        written_files: written.iter().filter(|&&bytes| bytes > 0).count(),
        written_bytes: written.iter().sum(),
        left_out,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// What is said where a backup cannot be restored.
#[derive(Clone, Copy)]
struct Again<'a> {
    chain: &'a Chain,
    options: &'a RestoreOptions,
    /// Whether the directory has files, or may have.
    force: bool,
    progress: ProgressFn<'a>,
}

impl Again<'_> {
    /// Says why a backup cannot be restored, and which one can, with the options that this takes.
    fn no_way(&self, number: u64, why: &str) -> String {
        let Self { chain, options, progress, .. } = self;
        let flags = [(self.force, " --force"), (options.keep_current, " --keep-current")];
        let flags: String = flags.iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
        let way = match check::newest_whole(chain, number, options.threads, progress) {
            Ok(Some(whole)) => {
                format!("the newest backup that is whole is {whole}: --backup {whole}{flags}")
            }
            Ok(None) => "no other backup of the chain is whole".to_owned(),
            Err(error) => format!("the other backups cannot be read: {error}"),
        };
        let root = chain.root().display();
        format!("{root}: backup {number} cannot be restored as it was: {why}; {way}")
    }

    /// The error for a backup of which something is lost. `without` says that the current
    /// generation needs none of it.
    fn refused(&self, backup: &Backup, why: &str, without: bool) -> Error {
        let mut text = self.no_way(backup.number, why);
        if without {
            text += &format!(
                "; generation {}, which is current in it, needs nothing of that: \
                 --leave-out-damaged{} leaves out the generations that do",
                backup.generation,
                if self.force { " --force" } else { "" }
            );
        }
        Error::Invalid(text)
    }
}

/// The backup that is restored.
fn select(again: &Again<'_>) -> Result<Backup> {
    let Again { chain, options, .. } = again;
    let number = match options.backup {
        Some(number) => number,
        None => chain.numbers()?.pop().ok_or_else(|| {
            let what = format!("{}: the chain has no backup", chain.root().display());
            Error::from(IndexError::not_found(what))
        })?,
    };
    match Reader::new(chain).read(number) {
        Ok(backup) if !backup.faults.is_empty() && !options.leave_out_damaged => {
            Err(again.refused(&backup, &backup.faults.join("; "), true))
        }
        Err(error) if is_damage(&error) => {
            Err(Error::Invalid(again.no_way(number, &error.to_string())))
        }
        done => done,
    }
}

/// The way of files from a chain into a directory.
struct Way<'a> {
    chain: &'a Chain,
    root: &'a Path,
    total: u64,
    done: AtomicU64,
    options: &'a RestoreOptions,
    progress: ProgressFn<'a>,
}

impl Way<'_> {
    /// Brings the files of a backup whose names are wanted. Returns the bytes written for each, and
    /// the files whose objects are lost or damaged, with what is wrong.
    fn bring(
        &self,
        backup: &Backup,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(Vec<u64>, BTreeMap<String, String>)> {
        let files: Vec<&BackupFile> =
            backup.files.iter().filter(|file| wanted(&file.name)).collect();
        let bring = |file: &&BackupFile| {
            let written = bring(self.chain, self.root, file);
            let done = self.done.fetch_add(file.bytes, Ordering::Relaxed) + file.bytes;
            (self.progress)(Progress { stage: "restore", done, total: self.total });
            written
        };
        let outcome: Vec<Result<u64>> =
            pool(self.options.threads)?.install(|| files.par_iter().map(bring).collect());
        let (mut written, mut damaged) = (Vec::new(), BTreeMap::new());
        for (file, outcome) in files.into_iter().zip(outcome) {
            match outcome {
                Ok(bytes) => written.push(bytes),
                Err(error) if self.chain.has_lost(&error) => {
                    damaged.insert(file.name.clone(), format!("{}: {error}", file.name));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((written, damaged))
    }
}

/// The number of the generation that is current in a directory; none where it is lost or damaged.
///
/// # Errors
/// Files that may not or cannot be read, or that a later version of Ocelli wrote.
fn kept(root: &Path) -> Result<Option<u64>> {
    match IndexDir::open(root).and_then(|dir| dir.current()) {
        Ok(current) => Ok(current.map(|current| current.number)),
        Err(error) if state::is_gone(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the generation of a backup current, or keeps the one that is, and writes down where the
/// directory came from. Returns the generation that is current.
fn finish(
    newest: Option<Newest>,
    target: &Path,
    root: &Path,
    backup: &Backup,
    options: &RestoreOptions,
) -> Result<u64> {
    let path = root.join("CURRENT");
    let current = if options.keep_current { kept(root)? } else { None };
    if current.is_none() && fs::read(&path).ok().as_deref() != Some(backup.current.as_bytes()) {
        write_atomically(&path, backup.current.as_bytes())?;
    }
    // A directory that keeps its own generation comes from where it came from.
    let newest = newest.filter(|_| current.is_none());
    known::remember(root, backup.index, target, newest.map(Seen::of))?;
    Ok(current.unwrap_or(backup.generation))
}

/// Refuses a directory within the chain, and a chain within the directory.
fn refuse_nested(target: &Path, root: &Path) -> Result<()> {
    if let (Ok(target), Ok(root)) = (target.canonicalize(), root.canonicalize())
        && (root.starts_with(&target) || target.starts_with(&root))
    {
        return Err(Error::Invalid(format!(
            "{}: expected a directory apart from the backups in {}",
            root.display(),
            target.display()
        )));
    }
    Ok(())
}

/// Refuses to bring files of a backup into a directory whose generation stays current, where one of
/// its generations is another one than the backup has under its number.
fn refuse_other_line(root: &Path, backup: &Backup) -> Result<()> {
    let dir = IndexDir::open(root)?;
    for file in &backup.files {
        let Some(number) = number_of(&file.name) else { continue };
        match dir.generation(number) {
            Err(error) if state::is_gone(&error) => continue,
            Err(IndexError::NewerVersion { .. }) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        if state::digest(&root.join(&file.name))? != file.sha256 {
            return Err(Error::Invalid(format!(
                "{}: generation {number} is another one than backup {} has: this is another copy \
                 of the index, and its generation cannot stay current: restore without \
                 --keep-current, or into an empty directory",
                root.display(),
                backup.number
            )));
        }
    }
    Ok(())
}

/// Refuses a place where something is lost.
fn check_place(root: &Path, chain: &Chain, backup: &Backup, force: bool) -> Result<()> {
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
    known::refuse_other_index(root, chain, backup)
}

/// Refuses a backup that holds rows which the directory says were erased.
fn refuse_erased(root: &Path, backup: &Backup) -> Result<()> {
    // A directory that is not there says nothing.
    let Ok(dir) = IndexDir::open(root) else { return Ok(()) };
    let erased = dir.erased_shards().map_err(|error| {
        Error::Invalid(format!(
            "{error}; it says which rows were erased, and backup {} may hold them: expected a \
             record that can be read, or an empty directory to restore into, and then to erase \
             the rows again",
            backup.number
        ))
    })?;
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
