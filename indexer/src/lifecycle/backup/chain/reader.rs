//! Backups as they are read: all their files, by the list and by what the generations name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use ocelli_index::{Error as IndexError, Generation, Hash, Hasher, file_before, object_names};

use super::super::{Backup, BackupFile};
use super::Chain;
use super::generations::{Choice, FOLDER, number_of};
use super::object::PIECE;
use super::owner::is_damage;
use super::stored::Stored;
use crate::{Error, Result};

/// Most bytes of a file, and of all files of a backup, that are believed.
const MOST_BYTES: u64 = 1 << 62;

/// A generation.
struct Parts {
    model: Hash,
    checksum: Hash,
    /// The file of the generation, shards, tombstones.
    files: Vec<BackupFile>,
    /// The newest file of its delete log.
    deletes: Option<Hash>,
}

/// Reads backups of a chain, and each object for them once. All of it is proven, but for shards and
/// models, whose bytes are not read.
pub(in crate::lifecycle::backup) struct Reader<'a> {
    chain: &'a Chain,
    generations: BTreeMap<Hash, Arc<Parts>>,
    /// Sizes of tombstones and files of delete logs that are proven.
    sizes: BTreeMap<Hash, u64>,
    /// For a file of a delete log, the one before.
    before: BTreeMap<Hash, Option<Hash>>,
}

/// Whether a name stays within the index directory: a folder and a file.
fn is_plain(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.contains(['/', '\\', '\0'])
    };
    name.split_once('/').is_some_and(|(folder, file)| plain(folder) && plain(file))
}

/// Numbers for people.
fn list(numbers: &[u64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    numbers.join(", ")
}

/// Says what is lost with a generation.
fn lost(number: u64, current: u64, why: &str) -> String {
    let more = match number > current {
        true => "; it was made after the current one: ids that it gave are given again",
        false => "",
    };
    format!("generation {number}: {why}{more}")
}

impl<'a> Reader<'a> {
    pub(in crate::lifecycle::backup) fn new(chain: &'a Chain) -> Self {
        let (generations, sizes) = (BTreeMap::new(), BTreeMap::new());
        Self { chain, generations, sizes, before: BTreeMap::new() }
    }

    /// A backup by number. Earlier generations of which a file is lost or damaged are left out, and
    /// named in its faults.
    ///
    /// # Errors
    /// [`IndexError::NotFound`]; [`IndexError::Corrupt`] and [`IndexError::Io`] for a list that
    /// cannot be read, and where the generation that was current cannot.
    pub(in crate::lifecycle::backup) fn read(&mut self, number: u64) -> Result<Backup> {
        let stored = self.chain.read_stored(number)?;
        self.whole(&stored)
    }

    /// A backup by its list.
    pub(super) fn whole(&mut self, stored: &Stored) -> Result<Backup> {
        let path = self.chain.backup_path(stored.number);
        let corrupt = |what: String| Error::from(IndexError::corrupt(&path, what));
        let (generations, mut faults) = self.generations_of(stored)?;
        let is_current = |number: &u64| *number == stored.generation;
        if !generations.keys().any(is_current) {
            let what = format!("no generation {}, which is current in it", stored.generation);
            return Err(corrupt(what));
        }
        let others = stored.listed.iter().filter(|file| number_of(&file.name).is_none());
        let mut files: BTreeMap<String, BackupFile> =
            others.map(|file| (file.name.clone(), file.clone())).collect();
        for (number, sha256) in generations {
            match self.needed(number, sha256, &files) {
                Ok(more) => files.extend(more.into_iter().map(|file| (file.name.clone(), file))),
                Err(error) if is_current(&number) || !is_damage(&error) => return Err(error),
                Err(error) => {
                    faults.push(lost(number, stored.generation, &error.to_string()));
                }
            }
        }
        if stored.format == 1 && faults.is_empty() {
            let listed: BTreeSet<&str> = stored.listed.iter().map(|f| f.name.as_str()).collect();
            let named = files.values_mut().filter(|file| !listed.contains(file.name.as_str()));
            let named: Vec<&mut BackupFile> = named.collect();
            if named.len() != stored.sizes.len() {
                let (sizes, named) = (stored.sizes.len(), named.len());
                let what = format!("sizes of {sizes} files, its generations name {named}");
                return Err(corrupt(what));
            }
            named.into_iter().zip(&stored.sizes).for_each(|(file, bytes)| file.bytes = *bytes);
        }
        let add = |sum: u64, file: &BackupFile| sum.checked_add(file.bytes);
        let total = files.values().try_fold(0, add).filter(|total| *total <= MOST_BYTES);
        match files.keys().find(|name| !is_plain(name)) {
            Some(name) => Err(corrupt(format!("{name:?} is no file of an index"))),
            None if total.is_none() => {
                Err(corrupt(format!("files of more than {MOST_BYTES} bytes together")))
            }
            None => Ok(Backup {
                format: stored.format,
                index: stored.index,
                number: stored.number,
                generation: stored.generation,
                current: stored.current.clone(),
                files: files.into_values().collect(),
                time_ms: stored.time_ms,
                faults,
            }),
        }
    }

    /// The generations of a backup, and what is wrong. Where they are not proven, only the current
    /// one is there: the line of CURRENT proves it.
    fn generations_of(&mut self, stored: &Stored) -> Result<(BTreeMap<u64, Hash>, Vec<String>)> {
        let Some(listed) = &stored.generations else {
            // Format 1 lists their files.
            let listed = stored.listed.iter();
            let listed = listed.filter_map(|file| Some((number_of(&file.name)?, file.sha256)));
            return Ok((listed.collect(), Vec::new()));
        };
        let mut choice = self.chain.generations.read().choose(listed);
        if !matches!(choice, Choice::Proven(_)) {
            // A backup may have been added meanwhile.
            self.chain.look_again()?;
            choice = self.chain.generations.read().choose(listed);
        }
        let why = match choice {
            Choice::Proven(found) => return Ok((found, Vec::new())),
            Choice::Lost(lost) => format!("lost files of generations: {}", list(&lost)),
            Choice::Others => {
                "files of generations are lost, others of equal numbers are there".to_owned()
            }
        };
        let current = self.current_of(stored).ok_or_else(|| {
            let path = self.chain.backup_path(stored.number);
            let current = stored.generation;
            let what = format!("{why}; that of generation {current}, which is current, is too");
            IndexError::corrupt(&path, what)
        })?;
        let folder = self.chain.root.join(FOLDER);
        let only = if listed.numbers().count() > 1 {
            format!("; only generation {}, which is current, is proven", stored.generation)
        } else {
            String::new()
        };
        let fault = format!("{}: {why}{only}", folder.display());
        Ok((BTreeMap::from([(stored.generation, current)]), vec![fault]))
    }

    /// The file of the generation that the line of CURRENT names.
    fn current_of(&mut self, stored: &Stored) -> Option<Hash> {
        let number = stored.generation;
        let there = self.chain.generations.read().of(number).to_vec();
        there.into_iter().map(|(_, hash)| hash).find(|hash| {
            let checksum = self.parts(number, *hash).map(|parts| parts.checksum);
            checksum.is_ok_and(|sum| stored.current.trim_end() == format!("{number} {sum}"))
        })
    }

    /// A generation.
    fn parts(&mut self, number: u64, sha256: Hash) -> Result<Arc<Parts>> {
        if let Some(parts) = self.generations.get(&sha256) {
            return Ok(parts.clone());
        }
        let name = object_names::generation(number);
        let mut own = BackupFile { name, bytes: 0, sha256 };
        let mut json = Vec::new();
        self.chain.copy(&own, |bytes| {
            json.extend_from_slice(bytes);
            Ok(())
        })?;
        own.bytes = json.len() as u64;
        let path = self.chain.object(&own);
        let (generation, checksum) = Generation::from_file(&path, number, &json)?;
        if let Some(shard) = generation.shards.iter().find(|shard| shard.bytes > MOST_BYTES) {
            let what = format!("shard {}: {} bytes", shard.name, shard.bytes);
            return Err(IndexError::corrupt(&path, what).into());
        }
        let mut files = vec![own];
        files.extend(generation.shards.into_iter().map(|shard| BackupFile {
            name: format!("shards/{}", shard.name),
            bytes: shard.bytes,
            sha256: shard.checksum,
        }));
        for sha256 in generation.tombstones.into_values() {
            let name = object_names::tombstones(&sha256);
            files.push(BackupFile { name, bytes: self.size(sha256)?, sha256 });
        }
        let (model, deletes) = (generation.model, generation.deletes);
        let parts = Arc::new(Parts { model, checksum, files, deletes });
        self.generations.insert(sha256, parts.clone());
        Ok(parts)
    }

    /// The files that a generation needs and that are not `known`, but for its model.
    fn needed(
        &mut self,
        number: u64,
        sha256: Hash,
        known: &BTreeMap<String, BackupFile>,
    ) -> Result<Vec<BackupFile>> {
        let parts = self.parts(number, sha256)?;
        let is_new = |file: &&BackupFile| !known.contains_key(&file.name);
        let mut files: Vec<BackupFile> = parts.files.iter().filter(is_new).cloned().collect();
        let mut next = parts.deletes;
        while let Some(sha256) = next {
            let name = object_names::deletes(&sha256);
            if known.contains_key(&name) {
                break;
            }
            files.push(BackupFile { name, bytes: self.size(sha256)?, sha256 });
            next = self.before(sha256)?;
        }
        Ok(files)
    }

    fn path_of(&self, sha256: Hash) -> PathBuf {
        self.chain.root.join("objects").join(sha256.to_string())
    }

    /// The size of tombstones or a file of a delete log, which is proven.
    fn size(&mut self, sha256: Hash) -> Result<u64> {
        if let Some(bytes) = self.sizes.get(&sha256) {
            return Ok(*bytes);
        }
        let path = self.path_of(sha256);
        let opened = File::open(&path).map_err(Error::io("open", &path))?;
        let mut file = BufReader::with_capacity(PIECE, opened);
        let (mut hasher, mut bytes) = (Hasher::new(), 0);
        loop {
            let piece = file.fill_buf().map_err(Error::io("read", &path))?;
            let read = piece.len();
            if read == 0 {
                break;
            }
            hasher.update(piece);
            bytes += read as u64;
            file.consume(read);
        }
        let found = hasher.finish();
        if found != sha256 {
            let what = format!("{bytes} bytes of SHA-256 {found}, expected {sha256}");
            return Err(IndexError::corrupt(&path, what).into());
        }
        self.sizes.insert(sha256, bytes);
        Ok(bytes)
    }

    /// The file before one of a delete log.
    fn before(&mut self, sha256: Hash) -> Result<Option<Hash>> {
        if let Some(before) = self.before.get(&sha256) {
            return Ok(*before);
        }
        // The file may be large, and only its first line is wanted.
        let path = self.path_of(sha256);
        let mut file = BufReader::new(File::open(&path).map_err(Error::io("open", &path))?);
        let mut head = Vec::new();
        file.read_until(b'\n', &mut head).map_err(Error::io("read", &path))?;
        let before = file_before(&path, &head)?;
        self.before.insert(sha256, before);
        Ok(before)
    }

    /// A backup without the generations that need one of the files in `damaged`, and what is left
    /// out.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the current generation needs one, or it is the record of an erasure.
    pub(in crate::lifecycle::backup) fn without(
        &mut self,
        backup: &Backup,
        damaged: &BTreeMap<String, String>,
    ) -> Result<(Backup, Vec<String>)> {
        if let Some((_, what)) = damaged.iter().find(|(name, _)| name.starts_with("erased/")) {
            return Err(Error::Invalid(what.clone()));
        }
        let (mut kept, mut left_out) = (backup.clone(), Vec::new());
        kept.files.retain(|file| !damaged.contains_key(&file.name));
        for file in &backup.files {
            let Some(number) = number_of(&file.name) else { continue };
            let model = format!("models/{}", self.parts(number, file.sha256)?.model);
            let needed = self.needed(number, file.sha256, &BTreeMap::new())?;
            let of_model = damaged.iter().find(|(name, _)| name.starts_with(&model));
            let of_files = needed.iter().find_map(|file| damaged.get(&file.name));
            let Some(what) = of_files.or(of_model.map(|(_, what)| what)) else { continue };
            if number == backup.generation {
                return Err(Error::Invalid(what.clone()));
            }
            kept.files.retain(|kept| kept.name != file.name);
            left_out.push(lost(number, backup.generation, what));
        }
        Ok((kept, left_out))
    }
}
