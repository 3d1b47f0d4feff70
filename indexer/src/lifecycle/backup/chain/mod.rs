//! The folder of a chain: its objects and its backups.

mod stored;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use ocelli_index::container::{AtomicFile, write_atomically};
use ocelli_index::{Error as IndexError, Hash, Hasher, LocalStorage, Storage};
use serde::{Deserialize, Serialize};

use self::stored::Stored;
use super::{Backup, BackupFile};
use crate::{Error, Result};

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;
/// Largest file of a backup that is believed, decompressed.
const MAX_BACKUP: u64 = 1 << 30;
/// Numbers that are tried for a new backup while others are added to the chain.
const ATTEMPTS: u64 = 100;

/// `backup.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    format: u32,
    index: Hash,
}

/// A chain of backups.
#[derive(Debug)]
pub(super) struct Chain {
    root: PathBuf,
}

/// Whether an object of this name is stored compressed.
fn is_compressed(name: &str) -> bool {
    name.ends_with(".json")
}

impl Chain {
    /// The chain in a folder, which is made if it is missing.
    ///
    /// # Errors
    /// A folder with other things in it; files that cannot be read or written.
    pub(super) fn create(root: &Path) -> Result<Self> {
        let chain = Self { root: root.to_owned() };
        if !chain.owner_path().exists() && root.is_dir() {
            let entries = fs::read_dir(root).map_err(Error::io("list", root))?;
            let ours = ["objects", "backups"];
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
        for folder in ["objects", "backups"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        Ok(chain)
    }

    /// The chain in a folder that has one.
    ///
    /// # Errors
    /// [`IndexError::NotFound`] if it has none.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let chain = Self { root: root.to_owned() };
        if chain.owner()?.is_none() {
            let what = format!("{}: no chain of backups here: no backup.json", root.display());
            return Err(IndexError::not_found(what).into());
        }
        Ok(chain)
    }

    fn owner_path(&self) -> PathBuf {
        self.root.join("backup.json")
    }

    /// The index that the chain is of; none in a chain that has just been made.
    pub(super) fn owner(&self) -> Result<Option<Hash>> {
        let path = self.owner_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let owner: Owner = serde_json::from_slice(&bytes)
            .map_err(|error| IndexError::corrupt(&path, error.to_string()))?;
        match owner.format {
            1 => Ok(Some(owner.index)),
            found => Err(IndexError::NewerVersion { path, found, supported: 1 }.into()),
        }
    }

    /// Makes the chain that of an index.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a chain of another index.
    pub(super) fn claim(&self, index: Hash) -> Result<()> {
        match self.owner()? {
            Some(owner) if owner == index => Ok(()),
            Some(owner) => Err(Error::Invalid(format!(
                "{}: backups of another index ({}), expected an empty folder or backups of this \
                 one ({}): give each index a folder of its own",
                self.root.display(),
                owner.short(),
                index.short()
            ))),
            None => {
                let json = serde_json::to_vec(&Owner { format: 1, index })
                    .map_err(|error| Error::Invalid(error.to_string()))?;
                Ok(write_atomically(&self.owner_path(), &json)?)
            }
        }
    }

    fn object(&self, file: &BackupFile) -> PathBuf {
        let ending = if is_compressed(&file.name) { ".gz" } else { "" };
        self.root.join("objects").join(format!("{}{ending}", file.sha256))
    }

    /// Whether the chain has the object of a file. One that is there is whole: its name came last.
    pub(super) fn has(&self, file: &BackupFile) -> bool {
        let found = fs::metadata(self.object(file));
        found.is_ok_and(|found| is_compressed(&file.name) || found.len() == file.bytes)
    }

    /// Copies a file into the chain and proves it meanwhile. Returns the bytes written.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] if the bytes are not those that the file's hash names; nothing is
    /// then there.
    pub(super) fn put(&self, file: &BackupFile, opened: &File, root: &Path) -> Result<u64> {
        let source = root.join(&file.name);
        let path = self.object(file);
        let mut out = AtomicFile::create(&path)?;
        let mut written = 0;
        let mut emit = |bytes: &[u8]| {
            written += bytes.len() as u64;
            out.append(bytes).map_err(Error::from)
        };
        let opened = io::BufReader::with_capacity(PIECE, opened);
        if is_compressed(&file.name) {
            let mut packed = GzEncoder::new(Vec::new(), Compression::best());
            prove(file, &source, opened, |bytes| {
                packed.write_all(bytes).map_err(Error::io("compress", &source))
            })?;
            emit(&packed.finish().map_err(Error::io("compress", &source))?)?;
        } else {
            prove(file, &source, opened, emit)?;
        }
        out.publish()?;
        Ok(written)
    }

    /// Hands out the bytes of a file's object, piece by piece, and proves them. They count when
    /// this returns.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] if the object is damaged; those of `take`.
    pub(super) fn copy(
        &self,
        file: &BackupFile,
        take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let path = self.object(file);
        let opened = File::open(&path).map_err(Error::io("open", &path))?;
        match is_compressed(&file.name) {
            true => prove(file, &path, GzDecoder::new(opened), take),
            false => prove(file, &path, opened, take),
        }
    }

    fn backup_path(&self, number: u64) -> PathBuf {
        self.root.join("backups").join(format!("{number}.json.gz"))
    }

    /// Numbers of the backups, ascending.
    fn numbers(&self) -> Result<Vec<u64>> {
        let names = LocalStorage::new(&self.root).list("backups")?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| name.strip_suffix(".json.gz")?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A backup by number.
    ///
    /// # Errors
    /// [`IndexError::NotFound`]; [`IndexError::Corrupt`].
    pub(super) fn read(&self, number: u64) -> Result<Backup> {
        let stored = self.read_stored(number)?;
        self.whole(stored)
    }

    /// The file of a backup.
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
        let corrupt = |what: String| Error::from(IndexError::corrupt(&path, what));
        GzDecoder::new(opened)
            .take(MAX_BACKUP)
            .read_to_end(&mut json)
            .map_err(|error| corrupt(error.to_string()))?;
        let stored: Stored =
            serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
        if stored.format > 1 {
            let found = stored.format;
            return Err(IndexError::NewerVersion { path, found, supported: 1 }.into());
        }
        match stored.number == number {
            true => Ok(stored),
            false => Err(corrupt(format!("backup {}, expected {number}", stored.number))),
        }
    }

    /// The newest backup that can be read.
    pub(super) fn last(&self) -> Result<Option<Backup>> {
        let mut numbers = self.numbers()?.into_iter().rev();
        Ok(numbers.find_map(|number| self.read(number).ok()))
    }

    /// All backups.
    ///
    /// # Errors
    /// A damaged one.
    pub(super) fn all(&self) -> Result<Vec<Backup>> {
        self.numbers()?.into_iter().map(|number| self.read(number)).collect()
    }

    /// The backups that can be read, and what is wrong with the others.
    pub(super) fn readable(&self) -> Result<(Vec<Backup>, Vec<String>)> {
        let (mut backups, mut faults) = (Vec::new(), Vec::new());
        for number in self.numbers()? {
            match self.read(number) {
                Ok(backup) => backups.push(backup),
                Err(error) => faults.push(format!("{error} (backup {number})")),
            }
        }
        Ok((backups, faults))
    }

    /// Adds a backup under the next number. Returns it and the bytes written.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn publish(&self, backup: Backup) -> Result<(u64, u64)> {
        let mut stored = self.stored(backup)?;
        let storage = LocalStorage::new(&self.root);
        let first = self.numbers()?.last().copied().unwrap_or(0) + 1;
        for number in first..first + ATTEMPTS {
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

/// Whether a name stays within the index directory: a folder and a file.
fn is_plain(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.contains(['/', '\\', '\0'])
    };
    name.split_once('/').is_some_and(|(folder, file)| plain(folder) && plain(file))
}

/// Reads a file to its end, hands its bytes out, and compares them with what is known of it.
fn prove(
    file: &BackupFile,
    path: &Path,
    mut from: impl Read,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut piece = vec![0; PIECE.min(file.bytes as usize + 1)];
    let (mut hasher, mut bytes) = (Hasher::new(), 0);
    loop {
        let read = match from.read(&mut piece) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What does not decompress.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::UnexpectedEof
                ) =>
            {
                return Err(IndexError::corrupt(path, error.to_string()).into());
            }
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        if read == 0 {
            break;
        }
        bytes += read as u64;
        if bytes > file.bytes {
            break;
        }
        hasher.update(&piece[..read]);
        take(&piece[..read])?;
    }
    let found = hasher.finish();
    if (bytes, found) == (file.bytes, file.sha256) {
        return Ok(());
    }
    let what =
        format!("{bytes} bytes of SHA-256 {found}, expected {} of {}", file.bytes, file.sha256);
    Err(IndexError::corrupt(path, what).into())
}
