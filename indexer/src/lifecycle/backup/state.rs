//! The files of an index directory at one moment, opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ocelli_index::{
    ERASED, Error as IndexError, Generation, Hash, Hasher, IndexDir, LocalStorage, Storage,
    object_names,
};
use serde::Deserialize;

use super::BackupFile;
use super::chain::number_of;
use crate::{Error, Result};

/// Times that a directory is looked at again if it changes while it is looked at.
const ATTEMPTS: usize = 20;

/// All files of an index directory. They are open: what is removed meanwhile can still be read.
#[derive(Debug)]
pub(super) struct State {
    /// The current generation.
    pub generation: u64,
    /// The line in CURRENT.
    pub current: String,
    /// The line that CURRENT has where a generation is current, for each of them.
    pub lines: BTreeSet<String>,
    /// The files, by name.
    pub files: Vec<(BackupFile, File)>,
    /// Generations that cannot be used any more, and why.
    pub left_out: Vec<String>,
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
                    if error.trouble() == Some(ocelli_index::FileTrouble::Missing)
                        && attempt < ATTEMPTS =>
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
        let mut files = BTreeMap::new();
        let (mut lines, mut left_out) = (BTreeSet::new(), Vec::new());
        let erased = erased_shards(&dir)?;
        for number in dir.generations()? {
            let opened = dir.generation(number).map_err(Error::from).and_then(|generation| {
                // Rows that were erased do not get into new backups.
                match generation.shards.iter().find(|shard| erased.contains(&shard.name)) {
                    Some(shard) if number != current.number => Err(Error::Invalid(format!(
                        "shard {} holds rows that were erased",
                        shard.name
                    ))),
                    _ => open_generation(root, &dir, &generation, &files),
                }
            });
            match opened {
                Ok(new) => {
                    files.extend(new);
                    lines.insert(line_of(root, number)?);
                }
                Err(error) if number == current.number => return Err(error),
                Err(error) => left_out.push(format!("generation {number}: {error}")),
            }
        }
        for name in LocalStorage::new(root).list(ERASED)? {
            let name = format!("{ERASED}/{name}");
            let opened = open(root, &name, None)?;
            files.insert(name, opened);
        }
        Ok(Self {
            generation: current.number,
            current: line,
            lines,
            files: files.into_values().collect(),
            left_out,
        })
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

/// The line that CURRENT has where this generation is current.
fn line_of(root: &Path, number: u64) -> Result<String> {
    #[derive(Deserialize)]
    struct Sealed {
        checksum: Hash,
    }
    let path = root.join(object_names::generation(number));
    let json = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let Sealed { checksum } = serde_json::from_slice(&json)
        .map_err(|error| IndexError::corrupt(&path, error.to_string()))?;
    Ok(format!("{number} {checksum}"))
}

/// Names of the shards that hold rows which were erased.
pub(super) fn erased_shards(dir: &IndexDir) -> Result<BTreeSet<String>> {
    Ok(dir.erasures()?.into_iter().flat_map(|erasure| erasure.shards).collect())
}

type Opened = BTreeMap<String, (BackupFile, File)>;

/// Opens the files of a generation that are not open yet.
fn open_generation(
    root: &Path,
    dir: &IndexDir,
    generation: &Generation,
    known: &Opened,
) -> Result<Opened> {
    let mut new = BTreeMap::new();
    let mut add = |name: String, sha256: Option<Hash>| -> Result<()> {
        if !known.contains_key(&name) {
            let opened = open(root, &name, sha256)?;
            new.insert(name, opened);
        }
        Ok(())
    };
    add(object_names::generation(generation.number), None)?;
    for (name, sha256) in generation.objects()? {
        add(name, Some(sha256))?;
    }
    for hash in dir.delete_hashes(generation.deletes) {
        let hash = hash?;
        add(object_names::deletes(&hash), Some(hash))?;
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
    Ok(new)
}

/// Opens a file. Where its hash is not known from elsewhere, the file is read.
fn open(root: &Path, name: &str, sha256: Option<Hash>) -> Result<(BackupFile, File)> {
    let path = root.join(name);
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let bytes = file.metadata().map_err(Error::io("look at", &path))?.len();
    let sha256 = match sha256 {
        Some(known) => known,
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

/// SHA-256 of a file.
pub(super) fn digest(path: &Path) -> Result<Hash> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (mut hasher, mut piece) = (Hasher::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut piece).map_err(Error::io("read", path))?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&piece[..read]);
    }
}
