//! From an ordinal to its id and key, and back to it.

use super::Shard;
use super::packed_section::partition_point;
use crate::base::error::{Error, Result};
use crate::files::container::SectionKind;
use crate::shard::{IdEncoding, key_hash};

impl Shard {
    /// Id of an ordinal.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    #[inline]
    pub fn id(&self, ordinal: u32) -> Result<u64> {
        if ordinal >= self.meta.rows {
            return Err(Error::not_found(format!(
                "{}: no ordinal {ordinal}",
                self.path().display()
            )));
        }
        let (base, number) = match (self.meta.ids, &self.packed_ids) {
            (IdEncoding::Affine { base }, _) => (base, u64::from(ordinal)),
            (IdEncoding::Packed { base, .. }, Some(packed)) => {
                let number = packed.get(&self.file, ordinal)?;
                self.intact()?;
                (base, number)
            }
            _ => {
                let bytes = self.file.read(
                    self.file.require(SectionKind::Ids)?,
                    8 * u64::from(ordinal),
                    8,
                )?;
                let mut word = [0u8; 8];
                word.copy_from_slice(bytes);
                self.intact()?;
                (0, u64::from_le_bytes(word))
            }
        };
        base.checked_add(number).filter(|id| id >> 63 == 0).ok_or_else(|| {
            Error::corrupt(self.path(), format!("id of ordinal {ordinal} is over 2^63"))
        })
    }

    /// Key of an ordinal, empty if it has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn key(&self, ordinal: u32) -> Result<String> {
        match &self.keys {
            Some(keys) => keys.get(&self.file, ordinal as usize),
            None if ordinal < self.meta.rows => Ok(String::new()),
            None => {
                Err(Error::not_found(format!("{}: no ordinal {ordinal}", self.path().display())))
            }
        }
    }

    /// Ordinal of an id.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn find_id(&self, id: u64) -> Result<Option<u32>> {
        let Some(map) = &self.id_map else {
            let ordinal = match self.meta.ids {
                IdEncoding::Affine { base } => id.checked_sub(base),
                _ => None,
            };
            return Ok(ordinal.filter(|&o| o < u64::from(self.meta.rows)).map(|o| o as u32));
        };
        let at = |i: u32| self.checked(map.get(&self.file, i)?);
        let i = partition_point(self.meta.rows, |i| Ok(self.id(at(i)?)? < id))?;
        let ordinal = if i < self.meta.rows { Some(at(i)?) } else { None };
        let found = match ordinal {
            Some(ordinal) => self.id(ordinal)? == id,
            None => false,
        };
        self.intact()?;
        Ok(ordinal.filter(|_| found))
    }

    /// The largest id.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] in a shard without rows.
    pub fn last_id(&self) -> Result<u64> {
        let last = self.rows().checked_sub(1);
        let last = last.ok_or_else(|| {
            Error::not_found(format!("{}: the shard has no rows", self.path().display()))
        })?;
        let (id, _) = self.ranked(last)?;
        self.intact()?;
        Ok(id)
    }

    /// The id that is number `rank` in ascending order, and its ordinal.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub(crate) fn ranked(&self, rank: u32) -> Result<(u64, u32)> {
        let ordinal = match &self.id_map {
            Some(map) => self.checked(map.get(&self.file, rank)?)?,
            None => rank,
        };
        Ok((self.id(ordinal)?, ordinal))
    }

    /// Ordinal of a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn find_key(&self, key: &str) -> Result<Option<u32>> {
        let (Some(map), Some(keys), false) = (&self.key_map, &self.keys, key.is_empty()) else {
            return Ok(None);
        };
        let hash = key_hash(key);
        let hash_at = |i: u32| -> Result<u32> {
            let bytes = self.file.read(&map.section, 4 * u64::from(i), 4)?;
            Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let mut i = partition_point(map.len, |i| Ok(hash_at(i)? < hash))?;
        while i < map.len && hash_at(i)? == hash {
            let ordinal = self.checked(map.get(&self.file, i)?)?;
            if keys.is(&self.file, ordinal as usize, key)? {
                self.intact()?;
                return Ok(Some(ordinal));
            }
            i += 1;
        }
        self.intact()?;
        Ok(None)
    }
}
