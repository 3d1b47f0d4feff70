//! Rows of a shard as they are stored, for those that copy them.

use roaring::RoaringBitmap;

use super::Shard;
use crate::base::error::{Error, Result};
use crate::shard::NewRow;

impl Shard {
    /// Hands out the rows that are not in `left_out`, in the order of their ordinals, as they are
    /// stored: nothing is decoded. Four bytes a row are in memory meanwhile.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; those of `take`.
    pub fn each_row(
        &self,
        left_out: &RoaringBitmap,
        mut take: impl FnMut(&NewRow<'_>) -> Result<()>,
    ) -> Result<()> {
        let rows = self.meta.rows;
        let mut slots = vec![u32::MAX; rows as usize];
        for slot in 0..rows {
            slots[self.ordinal(slot)? as usize] = slot;
        }
        let mut code = vec![0; self.layout.m()];
        for (ordinal, &slot) in (0..rows).zip(&slots) {
            if left_out.contains(ordinal) {
                continue;
            }
            let list = self.list_of(ordinal)?;
            let entry = self.list(list)?;
            let place = slot.checked_sub(entry.first).filter(|&place| place < entry.len);
            let place = place.ok_or_else(|| {
                Error::corrupt(self.path(), format!("ordinal {ordinal} is not in its list {list}"))
            })?;
            let len = entry.len as usize;
            self.layout.get(self.list_codes(&entry)?, len, place as usize, &mut code);
            let fine = match &self.fine {
                Some(codes) => codes.get(&self.file, slot)?,
                None => &[],
            };
            let (key, record) = (self.key(ordinal)?, self.record_of_slot(slot)?);
            let id = self.id(ordinal)?;
            self.intact()?;
            take(&NewRow { id, key: &key, list, code: &code, fine, record: &record })?;
        }
        Ok(())
    }
}
