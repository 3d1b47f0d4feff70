//! Proves that everything in a shard is sound and agrees.
//!
//! Lists, ranks of ids, and keys are proven apart from each other, so that several threads can
//! share the work.

use std::ops::Range;

use ocelli_vector::adc;
use roaring::RoaringBitmap;

use super::{ListRows, Shard};
use crate::base::error::{Error, Result};
use crate::files::container::{MappedLimit, SectionKind};
use crate::model::Model;
use crate::shard::{IdEncoding, ListEntry, key_hash};

/// Hashes of keys that a thread may always hold, in bytes.
const THREAD_BYTES: usize = 2 << 20;

impl Shard {
    /// Proves every checksum, and that lists, ordinals, ids and keys agree with their maps.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first thing that is wrong.
    pub fn verify(&self) -> Result<()> {
        self.file.verify()?;
        self.verify_lists(0..self.meta.nlist)?;
        self.verify_ids(0..self.meta.rows)?;
        self.verify_keys()?;
        self.verify_attributes()
    }

    /// Checks that attributes can be read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first thing that is wrong.
    pub(crate) fn verify_attributes(&self) -> Result<()> {
        self.columns().map_or(Ok(()), |columns| columns.verify(&self.file))
    }

    /// The entries of some lists.
    fn entries(&self, lists: Range<u32>) -> Result<impl Iterator<Item = (u32, &ListEntry)>> {
        let table = self.table()?.get(lists.start as usize..lists.end as usize);
        let table = table.ok_or_else(|| {
            Error::not_found(format!("{}: no lists {lists:?}", self.path().display()))
        })?;
        Ok((lists.start..).zip(table))
    }

    /// Checks that each row of some lists is in the list that the list map names.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first row that is wrong.
    pub(crate) fn verify_lists(&self, lists: Range<u32>) -> Result<()> {
        for (list, entry) in self.entries(lists)? {
            let mut last = None;
            for i in 0..entry.len {
                let ordinal = self.ordinal(entry.first + i)?;
                if last.is_some_and(|l| l >= ordinal)
                    || self.list_of.get(&self.file, ordinal)? != u64::from(list)
                {
                    return Err(Error::corrupt(
                        self.path(),
                        format!(
                            "ordinal {ordinal} in list {list} disagrees with the list map or the \
                             order"
                        ),
                    ));
                }
                last = Some(ordinal);
            }
        }
        self.intact()
    }

    /// Checks that ids ascend over some ranks: over all of them, each id then leads back to its
    /// row, and no id is there twice.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first rank that is wrong.
    pub(crate) fn verify_ids(&self, ranks: Range<u32>) -> Result<()> {
        if let IdEncoding::Affine { .. } = self.meta.ids {
            // The largest is below 2^63, and the others follow.
            return self.id(self.meta.rows - 1).map(drop);
        }
        let mut last = match ranks.start.checked_sub(1) {
            Some(before) => Some(self.ranked(before)?.0),
            None => None,
        };
        for rank in ranks {
            let (id, ordinal) = self.ranked(rank)?;
            if last.is_some_and(|last| last >= id) {
                return Err(Error::corrupt(
                    self.path(),
                    format!("id of ordinal {ordinal} does not lead back to it"),
                ));
            }
            last = Some(id);
        }
        self.intact()
    }

    /// Checks that each key leads to its row and is there once. It holds four bytes a row
    /// meanwhile, or its thread's share of half as much as mapped pages may take: the key map is
    /// then read several times.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first row that is wrong.
    pub(crate) fn verify_keys(&self) -> Result<()> {
        let rows = self.meta.rows as usize;
        let chunk = MappedLimit::in_force()
            .map_or(rows, |bytes| rows_at_once(bytes, rayon::current_num_threads()));
        let mut named = 0;
        for start in (0..rows).step_by(chunk) {
            named += self.verify_keys_of(start..(start + chunk).min(rows))?;
        }
        self.check_keyed(named)?;
        self.intact()
    }

    /// Whether so many rows have a key.
    fn check_keyed(&self, named: u64) -> Result<()> {
        if self.keys.is_none() || named == u64::from(self.meta.keyed) {
            return Ok(());
        }
        Err(Error::corrupt(
            self.path(),
            format!("{named} rows have a key, its meta says {}", self.meta.keyed),
        ))
    }

    /// [`Self::verify_keys`] of a range of ordinals. Returns the number of rows with a key.
    fn verify_keys_of(&self, ordinals: Range<usize>) -> Result<u64> {
        let (Some(keys), Some(_)) = (&self.keys, &self.key_map) else { return Ok(0) };
        let mut hashes = vec![0u32; ordinals.len()];
        let mut waiting = RoaringBitmap::new();
        keys.each_in(&self.file, ordinals.clone(), |ordinal, key| {
            if !key.is_empty() {
                hashes[ordinal - ordinals.start] = key_hash(key);
                waiting.insert(ordinal as u32);
            }
            Ok(())
        })?;
        let named = waiting.len();
        if ordinals.len() == self.meta.rows as usize {
            self.check_keyed(named)?;
        }
        let wrong = |ordinal: u32| {
            Err(Error::corrupt(
                self.path(),
                format!("key of ordinal {ordinal} does not lead back to it"),
            ))
        };
        let mut last = 0;
        // Rows whose keys have the same hash.
        let mut alike: Vec<u32> = Vec::new();
        for place in 0..self.meta.keyed {
            let (hash, ordinal) = self.key_at(place)?;
            if hash < last {
                return wrong(ordinal);
            }
            if hash != last {
                alike.clear();
                last = hash;
            }
            if ordinals.contains(&(ordinal as usize)) {
                if hashes[ordinal as usize - ordinals.start] != hash || !waiting.remove(ordinal) {
                    return wrong(ordinal);
                }
                for &other in &alike {
                    if keys.is(&self.file, other as usize, &self.key(ordinal)?)? {
                        return wrong(ordinal);
                    }
                }
            }
            alike.push(ordinal);
        }
        // A row that still waits makes the sum of all named ones too large.
        Ok(named)
    }

    /// Number of rows with a key.
    pub(crate) fn keyed(&self) -> u32 {
        self.key_map.as_ref().map_or(0, |map| map.len)
    }

    /// The hash of the key that is at a place of the key map, and its ordinal. Hashes ascend.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also past the end.
    pub(crate) fn key_at(&self, place: u32) -> Result<(u32, u32)> {
        let map = self.key_map.as_ref();
        let map = map.ok_or_else(|| {
            let what = format!("section \"{}\" is missing", SectionKind::KeyMap.name());
            Error::corrupt(self.path(), what)
        })?;
        let bytes = self.file.read(&map.section, 4 * u64::from(place), 4)?;
        let hash = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Ok((hash, self.checked(map.get(&self.file, place)?)?))
    }

    /// Checks that codewords of some lists are those of `model`, under which the shard was opened,
    /// and that no scalar is above the term that it bounds.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first row that is wrong.
    pub(crate) fn verify_codes(&self, model: &Model, lists: Range<u32>) -> Result<()> {
        let p = model.parts();
        let (mut code, mut residual) = (vec![0; p.m], vec![0f32; p.d]);
        for list in lists {
            let ListRows { entry, codes, scalars } = self.list_rows(list)?;
            for i in 0..entry.len as usize {
                self.layout.get(codes, entry.len as usize, i, &mut code);
                let corrupt = |what: String| {
                    Err(Error::corrupt(self.path(), format!("list {list}, row {i}: {what}")))
                };
                if let Some(c) = code.iter().find(|&&c| usize::from(c) >= p.ksub) {
                    return corrupt(format!("codeword {c} of {}", p.ksub));
                }
                let Some(&scalar) = scalars.and_then(|s| s.get(i)) else { continue };
                adc::decode(&p.codebooks, p.ksub, &code, &mut residual);
                let term = adc::l2_term(model.centroid(list), &residual);
                let bound = entry.scalar_min + entry.scalar_step * f32::from(scalar);
                // A term that is no number has no bound.
                if bound > term {
                    return corrupt(format!("its scalar says at least {bound}, its code {term}"));
                }
            }
        }
        self.intact()
    }
}

/// Rows whose hashes one of `threads` holds at once. All together take half as much as mapped pages
/// may, `mapped_bytes`, or [`THREAD_BYTES`] each.
fn rows_at_once(mapped_bytes: usize, threads: usize) -> usize {
    (mapped_bytes / 2 / threads.max(1)).max(THREAD_BYTES) / size_of::<u32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_together_keep_to_half_of_the_limit() {
        for threads in [1, 2, 7, 64] {
            for mapped_bytes in [4 << 20, 100 << 20, 256 << 20] {
                let bytes = threads * 4 * rows_at_once(mapped_bytes, threads);
                let most = (mapped_bytes / 2).max(threads * THREAD_BYTES);
                assert!(bytes <= most, "{bytes} bytes of {threads} threads");
                assert!(bytes + 4 * threads + threads >= most, "{bytes} bytes");
            }
        }
    }
}
