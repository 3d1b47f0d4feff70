//! CURRENT written anew, where it is lost.

use super::manifest::{Generation, checksum_of};
use super::{CURRENT, IndexDir};
use crate::base::error::{Error, Result};

impl IndexDir {
    /// Makes a generation current in an index whose CURRENT is lost, or names none that can be
    /// read.
    ///
    /// # Errors
    /// [`Error::Conflict`] if a generation is current; [`Error::Invalid`] for one with rows that
    /// were erased; those of [`Self::generation`].
    pub fn recover_current(&self, number: u64) -> Result<Generation> {
        let _guard = self.storage.guard(false)?;
        let lost = self.storage.read(CURRENT)?;
        if let Ok(Some(current)) = self.current() {
            return Err(Error::Conflict {
                what: format!(
                    "{}: generation {} is current: expected an index whose CURRENT is lost",
                    self.root().display(),
                    current.number
                ),
            });
        }
        let generation = self.generation(number)?;
        self.refuse_erased(&generation)?;
        let line = format!("{number} {}\n", checksum_of(&generation)?);
        self.storage.swap(CURRENT, lost.as_deref(), line.as_bytes())?;
        Ok(generation)
    }
}
