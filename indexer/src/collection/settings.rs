//! What a collection is made of, and how.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ocelli_index::container::write_atomically;
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::maker::Maker;
use crate::{Error, Result};

/// Version of `collection.json`.
const FORMAT: u32 = 1;

/// Settings of a collection, which stay the same from run to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Version of this file's format: 1.
    pub format: u32,
    /// Name of the pack.
    pub pack: String,
    /// Hash of the pack.
    pub pack_hash: String,
    /// Bytes of a code.
    pub code_bytes: usize,
    /// Files of the index.
    pub shards: usize,
    /// Where the photos are, in the order in which they were named.
    pub sources: Vec<Source>,
}

/// A folder, a list or a photo of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Canonical path.
    pub path: PathBuf,
    /// How its photos are found.
    pub kind: SourceKind,
    /// Beginning of the keys of its photos: empty, or the folder's name.
    pub prefix: String,
}

/// The kind of a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Every photo below a directory.
    Folder,
    /// A list of photos, as for `ocelli encode --list`.
    List,
    /// One photo.
    Photo,
}

impl Settings {
    /// Settings of a new collection without photos.
    pub(super) fn new(maker: &Maker<'_>) -> Self {
        Settings {
            format: FORMAT,
            pack: maker.name().to_owned(),
            pack_hash: maker.hash(),
            code_bytes: maker.code_bytes,
            shards: 1,
            sources: Vec::new(),
        }
    }

    /// Settings of the collection at `dir`; None if there is none yet.
    ///
    /// # Errors
    /// A file that cannot be read, or is of a later format.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        Self::read_from(&Folder::at(dir)?)
    }

    pub(super) fn read_from(folder: &Folder) -> Result<Option<Self>> {
        let path = folder.settings();
        let bytes = match fs::read(&path) {
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            bytes => bytes.map_err(Error::io("read", &path))?,
        };
        let settings: Settings = serde_json::from_slice(&bytes).map_err(|e| Error::File {
            path: path.clone(),
            what: format!("expected the settings of a collection: {e}"),
        })?;
        match settings.format {
            FORMAT => Ok(Some(settings)),
            found => Err(Error::File {
                path,
                what: format!("format {found}; this program reads format {FORMAT}"),
            }),
        }
    }

    pub(super) fn write(&self, folder: &Folder) -> Result<()> {
        let path = folder.settings();
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::Invalid(format!("{}: {e}", path.display())))?;
        text.push(b'\n');
        Ok(write_atomically(&path, &text)?)
    }

    /// The pack of the collection at `dir`.
    ///
    /// # Errors
    /// A path that cannot be made absolute.
    pub fn pack_file(dir: &Path) -> Result<PathBuf> {
        Ok(Folder::at(dir)?.pack())
    }

    /// Flags of `ocelli-encoder` for the collection at `dir`.
    ///
    /// # Errors
    /// A path that cannot be made absolute.
    pub fn encoder_flags(&self, dir: &Path) -> Result<Vec<OsString>> {
        let pack = Self::pack_file(dir)?;
        let code_bytes = self.code_bytes.to_string();
        Ok(vec!["--pack".into(), pack.into(), "--code-bytes".into(), code_bytes.into()])
    }

    /// Refuses another network or other codes than those of the collection.
    pub(super) fn require(&self, folder: &Folder, maker: &Maker<'_>) -> Result<()> {
        let remedy = "leave the flag out to go on with it, or give another --out for a new one";
        if self.pack_hash != maker.hash() {
            return Err(Error::Invalid(format!(
                "{}: made with the pack {} ({}), found {} ({}); {remedy}",
                folder.root.display(),
                self.pack,
                short(&self.pack_hash),
                maker.name(),
                short(&maker.hash())
            )));
        }
        if self.code_bytes != maker.code_bytes {
            return Err(Error::Invalid(format!(
                "{}: made with codes of {} bytes, found {}; {remedy}",
                folder.root.display(),
                self.code_bytes,
                maker.code_bytes
            )));
        }
        Ok(())
    }
}

/// The beginning of a hash, for people.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
