//! Which index a chain is of: `backup.json`.

use std::fs;
use std::io;
use std::path::PathBuf;

use ocelli_index::container::write_atomically;
use ocelli_index::{
    Error as IndexError, FileTrouble, Hash, LocalStorage, Storage, parse_versioned,
};
use serde::{Deserialize, Serialize};

use super::Chain;
use crate::{Error, Result};

#[derive(Serialize, Deserialize)]
struct Owner {
    format: u32,
    index: Hash,
}

impl Chain {
    pub(super) fn owner_path(&self) -> PathBuf {
        self.root.join("backup.json")
    }

    /// The index that `backup.json` says; none if it is lost or damaged.
    fn written_owner(&self) -> Result<Option<Hash>> {
        let path = self.owner_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if is_disk_error(&error) => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        match parse_versioned::<Owner>(&path, &bytes, 1) {
            Ok(owner) => Ok(Some(owner.index)),
            Err(IndexError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The index that the chain is of: the one that the newest of its lists says which can be read,
    /// else `backup.json`; none in a chain that has just been made, or has lost both.
    pub(in crate::lifecycle::backup) fn owner(&self) -> Result<Option<Hash>> {
        let written = self.written_owner()?;
        let mut numbers = self.numbers()?.into_iter().rev();
        Ok(numbers
            .find_map(|number| self.read_stored(number).ok())
            .map_or(written, |list| Some(list.index)))
    }

    /// Whether nothing is in the chain that could be of an index.
    fn is_empty(&self) -> Result<bool> {
        let objects = LocalStorage::new(&self.root).list("objects")?;
        let no_generations = self.generations.read().is_empty();
        Ok(no_generations && objects.is_empty() && self.numbers()?.is_empty())
    }

    /// Makes the chain that of an index, and writes `backup.json` where it is lost or damaged.
    /// `shares` says whether the chain has a generation of the index.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a chain of another index, or of one that nothing tells.
    pub(in crate::lifecycle::backup) fn claim(&self, index: Hash, shares: bool) -> Result<()> {
        let other = |whose: String| {
            Err(Error::Invalid(format!(
                "{}: backups of {whose}, expected an empty folder or backups of this index ({}): \
                 give each index a folder of its own",
                self.root.display(),
                index.short()
            )))
        };
        match self.owner()? {
            Some(owner) if owner == index => {}
            _ if self.is_empty()? => {}
            Some(owner) => return other(format!("another index ({})", owner.short())),
            None if shares => {}
            None => {
                let lost = "another index, or of one that is not known: backup.json is lost or \
                            damaged, no list can be read, and no generation of this index is there";
                return other(lost.to_owned());
            }
        }
        if self.written_owner()? == Some(index) {
            return Ok(());
        }
        let json = serde_json::to_vec(&Owner { format: 1, index })
            .map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(write_atomically(&self.owner_path(), &json)?)
    }
}

/// Whether the disk or the file system cannot give back what was written, by what the system says:
/// EIO, EBADMSG and EUCLEAN. Elsewhere than on Linux the last two are other errors.
fn is_disk_error(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(5) || (cfg!(target_os = "linux") && matches!(code, Some(74 | 117)))
}

/// Whether an error says that a file of a chain is lost or damaged: it is not there, its bytes are
/// others, or the disk does not give them.
pub(in crate::lifecycle::backup) fn is_damage(error: &Error) -> bool {
    let of_disk =
        |error: &IndexError| matches!(error, IndexError::Io { cause, .. } if is_disk_error(cause));
    is_loss(error) || matches!(error, Error::Index(error) if of_disk(error))
}

/// Whether an error says that a file is lost or damaged, and not that it may not or cannot be read.
pub(in crate::lifecycle::backup) fn is_loss(error: &Error) -> bool {
    let Error::Index(error) = error else { return false };
    matches!(error.trouble(), Some(FileTrouble::Missing | FileTrouble::Damaged))
}
