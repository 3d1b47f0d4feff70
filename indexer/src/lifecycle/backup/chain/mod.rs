//! The folder of a chain: its objects and its backups.

mod generations;
mod object;
mod owner;
mod reader;
mod stored;

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use ocelli_index::{Error as IndexError, Hash, LocalStorage, Storage};
use parking_lot::RwLock;

use self::generations::{Generations, Listed};
use self::stored::{FORMAT, Stored};
use super::{Backup, BackupFile};
use crate::{Error, Result};

pub(super) use self::generations::number_of;
pub(super) use self::object::Object;
pub(super) use self::owner::{is_damage, is_loss};
pub(super) use self::reader::Reader;

/// Largest list, or file of a generation, that is believed, decompressed.
const MAX_LIST: u64 = 1 << 30;
/// Numbers that are tried for a new backup while others are added to the chain.
const ATTEMPTS: u64 = 100;

/// The newest backup of a chain.
#[derive(Debug)]
pub(super) struct Newest {
    pub number: u64,
    /// The line in CURRENT, or why the list cannot be read.
    pub current: std::result::Result<String, String>,
    /// Whether a version of Ocelli made it that wrote down no history.
    pub is_old: bool,
}

/// A chain of backups.
#[derive(Debug)]
pub(super) struct Chain {
    root: PathBuf,
    /// The files of generations, as they were seen.
    generations: RwLock<Generations>,
}

impl Chain {
    /// The chain in a folder, which is made if it is missing.
    ///
    /// # Errors
    /// A folder with other things in it; files that cannot be read or written.
    pub(super) fn create(root: &Path) -> Result<Self> {
        let ours = ["objects", generations::FOLDER, "backups"];
        if !root.join("backup.json").exists() && root.is_dir() {
            let entries = fs::read_dir(root).map_err(Error::io("list", root))?;
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.starts_with('.') && !ours.contains(&name.as_str()) {
                    return Err(Error::Invalid(format!(
                        "{}: expected an empty folder or a chain of backups, found {name}",
                        root.display()
                    )));
                }
            }
        }
        for folder in ours {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        let synced = File::open(root).and_then(|root| root.sync_all());
        synced.map_err(Error::io("write", root))?;
        Self::at(root)
    }

    /// The chain in a folder that has one.
    ///
    /// # Errors
    /// [`IndexError::NotFound`] if it has none.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let chain = Self::at(root)?;
        if !chain.owner_path().exists() && chain.numbers()?.is_empty() {
            let what = format!("{}: no chain of backups here: no backup.json", root.display());
            return Err(IndexError::not_found(what).into());
        }
        chain.owner()?;
        Ok(chain)
    }

    fn at(root: &Path) -> Result<Self> {
        let generations = RwLock::new(Generations::list(root)?);
        Ok(Self { root: root.to_owned(), generations })
    }

    /// The folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Looks again for the files of generations.
    fn look_again(&self) -> Result<()> {
        *self.generations.write() = Generations::list(&self.root)?;
        Ok(())
    }

    /// Waits until no other process of this machine backs up to the chain, and keeps it so for as
    /// long as the result lives.
    pub(super) fn alone(&self) -> Result<Box<dyn Any + Send>> {
        let guard = LocalStorage::new(&self.root).guard(true)?;
        self.look_again()?;
        Ok(guard)
    }

    /// Finds a place for each generation of an index, by number.
    ///
    /// # Errors
    /// A list that is there and may not or cannot be read: the places that it gives are not free.
    pub(super) fn place(&self, own: &BTreeMap<u64, Hash>) -> Result<()> {
        let mut lists: Vec<Listed> = Vec::new();
        for number in self.numbers()? {
            match self.read_stored(number) {
                Ok(list) => lists.extend(list.generations),
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.generations.write().place(own, &lists);
        Ok(())
    }

    /// The newest backup.
    ///
    /// # Errors
    /// A list that may not or cannot be read, or that a later version of Ocelli wrote.
    pub(super) fn newest(&self) -> Result<Option<Newest>> {
        let Some(number) = self.numbers()?.pop() else { return Ok(None) };
        Ok(Some(match self.read_stored(number) {
            Ok(list) => {
                let is_old = list.format == 1;
                Newest { number, current: Ok(list.current), is_old }
            }
            Err(error) if is_damage(&error) => {
                Newest { number, current: Err(error.to_string()), is_old: false }
            }
            Err(error) => return Err(error),
        }))
    }

    /// Lists of backups that cannot be read, and why.
    pub(super) fn unreadable(&self) -> Result<Vec<String>> {
        let read = |number| self.read_stored(number).err().map(|error| error.to_string());
        Ok(self.numbers()?.into_iter().filter_map(read).collect())
    }

    fn backup_path(&self, number: u64) -> PathBuf {
        self.root.join("backups").join(format!("{number}.json.gz"))
    }

    /// Numbers of the backups, ascending.
    pub(super) fn numbers(&self) -> Result<Vec<u64>> {
        let names = LocalStorage::new(&self.root).list("backups")?;
        let parse = |name: &String| {
            let number: u64 = name.strip_suffix(".json.gz")?.parse().ok()?;
            // Others of this kind are not ours.
            (*name == format!("{number}.json.gz")).then_some(number)
        };
        let mut numbers: Vec<u64> = names.iter().filter_map(parse).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The list of a backup.
    fn read_stored(&self, number: u64) -> Result<Stored> {
        let path = self.backup_path(number);
        let opened = match File::open(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let numbers: Vec<String> = self.numbers()?.iter().map(u64::to_string).collect();
                let what = format!(
                    "{}: no backup {number}; there are {}",
                    self.root.display(),
                    if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
                );
                return Err(IndexError::not_found(what).into());
            }
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let mut json = Vec::new();
        GzDecoder::new(opened).take(MAX_LIST).read_to_end(&mut json).map_err(|error| {
            // What the system says has a number; the rest does not decompress.
            match error.raw_os_error() {
                Some(_) => Error::io("read", &path)(error),
                None => IndexError::corrupt(&path, error.to_string()).into(),
            }
        })?;
        Stored::parse(&path, number, &json)
    }

    /// All backups.
    ///
    /// # Errors
    /// A damaged one.
    pub(super) fn all(&self) -> Result<Vec<Backup>> {
        let numbers = self.numbers()?;
        let mut reader = Reader::new(self);
        numbers.into_iter().map(|number| reader.read(number)).collect()
    }

    /// The backups that can be read, and what is wrong with these and with the others.
    pub(super) fn readable(&self) -> Result<(Vec<Backup>, Vec<String>)> {
        let (mut backups, mut faults) = (Vec::new(), Vec::new());
        let numbers = self.numbers()?;
        let mut reader = Reader::new(self);
        for number in numbers {
            match reader.read(number) {
                Ok(backup) => {
                    let line = |fault: &String| format!("{fault} (backup {number})");
                    faults.extend(backup.faults.iter().map(line));
                    backups.push(backup);
                }
                Err(error) => faults.push(format!("{error} (backup {number})")),
            }
        }
        Ok((backups, faults))
    }

    /// The list of a backup whose objects are all there.
    fn stored(&self, backup: &Backup) -> Result<Stored> {
        let generations: BTreeMap<u64, Hash> = backup.generations();
        let follows = |file: &&BackupFile| {
            let folders = ["shards/", "tombstones/", "deletes/", "generations/"];
            folders.iter().any(|folder| file.name.starts_with(folder))
        };
        let listed = backup.files.iter().filter(|file| !follows(file));
        let mut stored = Stored {
            format: FORMAT,
            index: backup.index,
            number: backup.number,
            generation: backup.generation,
            current: backup.current.clone(),
            generations: Some(Listed::of(&generations, &self.generations.read())),
            listed: listed.cloned().collect(),
            sizes: Vec::new(),
            time_ms: backup.time_ms,
        };
        let again = Reader::new(self).whole(&stored)?;
        if let Some(fault) = again.faults.first() {
            return Err(IndexError::corrupt(&self.root, fault.clone()).into());
        }
        // Nothing is left to what other versions of Ocelli make of a generation.
        let again: BTreeMap<&str, &BackupFile> =
            again.files.iter().map(|file| (file.name.as_str(), file)).collect();
        let not_again = |file: &&BackupFile| {
            number_of(&file.name).is_none() && again.get(file.name.as_str()) != Some(file)
        };
        stored.listed.extend(backup.files.iter().filter(not_again).cloned());
        stored.listed.sort_unstable();
        Ok(stored)
    }

    /// The number of the next backup: after those that are there, and after `known`, since the list
    /// of one that was made may be lost.
    ///
    /// # Errors
    /// There is no higher number.
    pub(super) fn next_number(&self, known: u64) -> Result<u64> {
        let last = self.numbers()?.last().copied().unwrap_or(0).max(known);
        last.checked_add(1).ok_or_else(|| {
            let path = self.backup_path(last);
            let what = "no number is higher: move this file out of the folder";
            Error::Invalid(format!("{}: {what}", path.display()))
        })
    }

    /// Adds a backup under a number, or if another one has it meanwhile, under the next. Returns
    /// the number and the bytes written.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn publish(&self, backup: &Backup, number: u64) -> Result<(u64, u64)> {
        let mut stored = self.stored(backup)?;
        let storage = LocalStorage::new(&self.root);
        for number in (0..ATTEMPTS).map_while(|next| number.checked_add(next)) {
            stored.number = number;
            let json =
                serde_json::to_vec(&stored).map_err(|error| Error::Invalid(error.to_string()))?;
            let path = self.backup_path(number);
            let mut packed = GzEncoder::new(Vec::new(), Compression::best());
            packed.write_all(&json).map_err(Error::io("compress", &path))?;
            let bytes = packed.finish().map_err(Error::io("compress", &path))?;
            match storage.create(&format!("backups/{number}.json.gz"), &bytes) {
                // Another one was added meanwhile.
                Err(IndexError::Conflict { .. }) => {}
                done => return Ok(done.map(|()| (number, bytes.len() as u64))?),
            }
        }
        Err(Error::Invalid(format!(
            "{}: too many backups are added at once: run it again",
            self.root.display()
        )))
    }
}
