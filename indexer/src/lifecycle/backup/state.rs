//! The files of an index directory at one moment, opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ocelli_index::{
    ERASED, Error as IndexError, FileTrouble, Generation, Hash, IndexDir, LocalStorage, Storage,
    object_names,
};

use super::BackupFile;
use super::chain::number_of;
use crate::{Error, Result};

/// Times that a directory is looked at again if it changes while it is looked at.
const ATTEMPTS: usize = 20;

/// A generation that is kept.
#[derive(Debug)]
struct Kept {
    parent: Option<u64>,
    next_id: u64,
    /// The line that CURRENT has where it is current.
    line: String,
    /// Names of its files.
    files: Vec<Arc<str>>,
}

/// A generation that is left out.
#[derive(Debug)]
struct Left {
    /// None where its file cannot be read.
    next_id: Option<u64>,
    why: String,
}

/// All files of an index directory. They are open: what is removed meanwhile can still be read.
#[derive(Debug)]
pub(super) struct State {
    /// The current generation.
    pub generation: u64,
    /// The line in CURRENT.
    pub current: String,
    /// The files, by name.
    pub files: Vec<(BackupFile, File)>,
    kept: BTreeMap<u64, Kept>,
    left: BTreeMap<u64, Left>,
}

impl State {
    /// Looks at an index directory.
    ///
    /// # Errors
    /// No index, no current generation; files of the current generation that are missing or
    /// damaged.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut attempt = 1;
        loop {
            // Nobody removes files while they are opened.
            let outcome = LocalStorage::new(root)
                .guard(false)
                .map_err(Error::from)
                .and_then(|_guard| Self::look(root));
            match outcome {
                // A file may be gone since another generation became current.
                Err(Error::Index(error))
                    if error.trouble() == Some(FileTrouble::Missing) && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    fn look(root: &Path) -> Result<Self> {
        let dir = IndexDir::open(root)?;
        let path = root.join("CURRENT");
        let current = dir.current()?.ok_or_else(|| {
            let what = format!("{}: the index has no generation yet", root.display());
            IndexError::not_found(what)
        })?;
        let line = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        if !line.starts_with(&format!("{} ", current.number)) {
            // Another one became current: the caller looks again.
            return Err(Error::io("read", &path)(std::io::ErrorKind::NotFound.into()));
        }
        let mut files = Opened::new();
        let (mut kept, mut left) = (BTreeMap::new(), BTreeMap::new());
        let erased = dir.erased_shards()?;
        for number in dir.generations()? {
            let mut next_id = None;
            let opened = dir.generation(number).map_err(Error::from).and_then(|generation| {
                next_id = Some(generation.next_id);
                // Rows that were erased do not get into new backups.
                match generation.shards.iter().find(|shard| erased.contains(&shard.name)) {
                    Some(shard) if number != current.number => {
                        let what = format!("shard {} holds rows that were erased", shard.name);
                        Ok(Err(what))
                    }
                    _ => open_generation(root, &dir, &generation, &mut files).map(Ok),
                }
            });
            match opened {
                Ok(Ok(generation)) => {
                    kept.insert(number, generation);
                }
                Ok(Err(why)) => {
                    left.insert(number, Left { next_id, why });
                }
                Err(Error::Index(error)) if number != current.number && is_gone(&error) => {
                    left.insert(number, Left { next_id, why: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        for name in LocalStorage::new(root).list(ERASED)? {
            let name = format!("{ERASED}/{name}");
            let opened = open(root, &name, None)?;
            files.insert(name.into(), opened);
        }
        let files = files.into_values().collect();
        let mut state = Self { generation: current.number, current: line, files, kept, left };
        state.settle(root)?;
        Ok(state)
    }

    /// Keeps the files that generations need, and refuses to leave out what nothing else says.
    fn settle(&mut self, root: &Path) -> Result<()> {
        let highest = self.kept.values().map(|kept| kept.next_id).max().unwrap_or(0);
        let is_needed = |left: &Left| left.next_id.is_none_or(|next_id| next_id > highest);
        let mut later = self.left.range(self.generation..);
        if let Some((number, Left { why, .. })) = later.find(|(_, left)| is_needed(left)) {
            return Err(Error::Invalid(format!(
                "{root}: generation {number} cannot be left out: it was made after the current \
                 one, {}, and only it says which ids were given then: {why}; `ocelli doctor \
                 {root}` says what mends it",
                self.generation,
                root = root.display()
            )));
        }
        let needed: BTreeSet<&str> =
            self.kept.values().flat_map(|kept| &kept.files).map(AsRef::as_ref).collect();
        let is_kept = |name: &str| {
            needed.contains(name)
                || name.split_once('/').is_some_and(|(folder, _)| folder == ERASED)
        };
        self.files.retain(|(file, _)| is_kept(&file.name));
        Ok(())
    }

    /// Leaves out the generations that need one of the files in `damaged`, which have the reasons.
    ///
    /// # Errors
    /// The reason, if the current generation needs one, or it is the record of an erasure.
    pub(super) fn leave_out(
        &mut self,
        root: &Path,
        damaged: &BTreeMap<String, String>,
    ) -> Result<()> {
        if let Some((_, why)) = damaged.iter().find(|(name, _)| name.starts_with(ERASED)) {
            return Err(Error::Invalid(why.clone()));
        }
        for (number, kept) in std::mem::take(&mut self.kept) {
            match kept.files.iter().find_map(|name| damaged.get(&**name)) {
                None => {
                    self.kept.insert(number, kept);
                }
                Some(why) if number == self.generation => {
                    let what = format!("generation {number}, which is current: {why}");
                    return Err(Error::Invalid(what));
                }
                Some(why) => {
                    let left = Left { next_id: Some(kept.next_id), why: why.clone() };
                    self.left.insert(number, left);
                }
            }
        }
        self.settle(root)
    }

    /// Generations that were left out, each with the reason.
    pub(super) fn left_out(&self) -> Vec<String> {
        self.left
            .iter()
            .map(|(number, left)| format!("generation {number}: {}", left.why))
            .collect()
    }

    /// Whether the current generation was made from the one that has this line in CURRENT, or is
    /// it. A generation may be there that another copy made: a restoration brought it.
    pub(super) fn came_by(&self, line: &str) -> bool {
        let is_it = |(_, kept): (&u64, &Kept)| kept.line == line;
        let mut next = Some(self.generation);
        while let Some(number) = next {
            let Some(kept) = self.kept.get(&number) else {
                // Nothing says from which of the earlier ones.
                return self.kept.range(..number).any(is_it);
            };
            if kept.line == line {
                return true;
            }
            next = kept.parent.filter(|parent| *parent < number);
        }
        false
    }

    /// Whether there is a generation of this number that has another line in CURRENT.
    pub(super) fn has_other(&self, number: u64, line: &str) -> bool {
        self.kept.get(&number).is_some_and(|kept| kept.line != line)
    }

    /// The files of generations.
    pub(super) fn generation_files(&self) -> impl Iterator<Item = &BackupFile> {
        let files = self.files.iter().map(|(file, _)| file);
        files.filter(|file| number_of(&file.name).is_some())
    }

    /// SHA-256 of the generations' files, by number.
    pub(super) fn generations(&self) -> BTreeMap<u64, Hash> {
        let files = self.generation_files();
        files.filter_map(|file| Some((number_of(&file.name)?, file.sha256))).collect()
    }
}

type Opened = BTreeMap<Arc<str>, (BackupFile, File)>;

/// Opens the files of a generation that are not open yet.
fn open_generation(
    root: &Path,
    dir: &IndexDir,
    generation: &Generation,
    known: &mut Opened,
) -> Result<Kept> {
    let (mut new, mut files) = (Opened::new(), Vec::new());
    let mut add = |name: String, expected: Option<Expected>| -> Result<()> {
        if let Some((name, _)) = known.get_key_value(name.as_str()) {
            files.push(name.clone());
            return Ok(());
        }
        let opened = open(root, &name, expected)?;
        let name: Arc<str> = name.into();
        files.push(name.clone());
        new.insert(name, opened);
        Ok(())
    };
    add(object_names::generation(generation.number), None)?;
    let sizes =
        generation.shards.iter().map(|shard| Some(shard.bytes)).chain(std::iter::repeat(None));
    for ((name, sha256), bytes) in generation.objects()?.into_iter().zip(sizes) {
        add(name, Some(Expected { sha256, bytes }))?;
    }
    for hash in dir.delete_hashes(generation.deletes) {
        let sha256 = hash?;
        add(object_names::deletes(&sha256), Some(Expected { sha256, bytes: None }))?;
    }
    // The model, and with it the fine codecs under it.
    let stem = generation.model.to_string();
    let names = LocalStorage::new(root).list("models")?;
    let models: BTreeSet<String> =
        names.into_iter().filter(|name| name.starts_with(&stem)).collect();
    if !models.contains(&format!("{stem}.model")) {
        let path = root.join("models").join(format!("{stem}.model"));
        return Err(Error::io("open", &path)(std::io::ErrorKind::NotFound.into()));
    }
    models.into_iter().try_for_each(|name| add(format!("models/{name}"), None))?;
    let line = generation.line()?;
    known.extend(new);
    Ok(Kept { parent: generation.parent, next_id: generation.next_id, line, files })
}

/// A file as a generation has it.
struct Expected {
    sha256: Hash,
    /// None for the small files, which are read.
    bytes: Option<u64>,
}

/// Opens a file. Where its hash and size are not known from elsewhere, the file is read.
fn open(root: &Path, name: &str, expected: Option<Expected>) -> Result<(BackupFile, File)> {
    let path = root.join(name);
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let bytes = file.metadata().map_err(Error::io("look at", &path))?.len();
    let wrong = |what: String| Err(IndexError::corrupt(&path, what).into());
    let sha256 = match expected {
        Some(Expected { sha256, bytes: Some(expected) }) => {
            if bytes != expected {
                return wrong(format!("{bytes} bytes, expected {expected}"));
            }
            sha256
        }
        Some(Expected { sha256, bytes: None }) => {
            let found = digest(&path)?;
            if found != sha256 {
                return wrong(format!("{bytes} bytes of SHA-256 {found}, expected {sha256}"));
            }
            sha256
        }
        None => {
            if name.starts_with("models/") {
                // Its name does not prove its bytes.
                ocelli_index::Model::open(&path)?.verify()?;
            }
            digest(&path)?
        }
    };
    Ok((BackupFile { name: name.to_owned(), bytes, sha256 }, file))
}

/// Whether an error says that a file of an index is missing, or is not the one that it was.
pub(super) fn is_gone(error: &IndexError) -> bool {
    matches!(error.trouble(), Some(FileTrouble::Missing | FileTrouble::Damaged))
        || matches!(
            error,
            IndexError::NotFound { .. }
                | IndexError::WrongKind { .. }
                | IndexError::ModelMismatch { .. }
                | IndexError::FineCodecMismatch { .. }
        )
}

/// SHA-256 of a file.
pub(super) fn digest(path: &Path) -> Result<Hash> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    Hash::of_reader(&mut file).map_err(Error::io("read", path))
}
