//! Rows of a shard as they are stored, for those that copy them.
//!
//! Codes lie list by list, and rows are wanted by ordinal. So the rows of a range of ordinals are
//! gathered in one pass over the lists, in each of which ordinals ascend, and then handed out. The
//! range is as long as the memory for it.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::Shard;
use crate::base::error::{Error, Result};
use crate::files::container::MappedLimit;
use crate::shard::NewRow;

/// Least and most memory for the rows that are gathered at once, where mapped pages have no limit:
/// then an eighth of the shard. What lies near each other in memory is read faster, and each range
/// costs a pass over all lists. Where their bytes begin is known in four bytes.
const GATHERED_BYTES: (usize, usize) = (16 << 20, 1 << 30);
/// Bytes of a row that are gathered besides its code, its finer code and its record.
const ROW_BYTES: usize = 16;
/// A slot that was not found yet.
const NO_SLOT: u32 = u32::MAX;

/// Rows of a range of ordinals, in the order in which they were found.
struct Gathered {
    /// Whether records are gathered too; else they are empty.
    with_records: bool,
    /// Bytes of a finer code.
    fine_bytes: usize,
    /// Slot of each row of the range.
    slots: Vec<u32>,
    /// Where the bytes of each row begin.
    starts: Vec<u32>,
    /// Of each row its code, its finer code, the length of its record in four bytes, its record.
    bytes: Vec<u8>,
}

/// Bytes of a record's length.
const LENGTH_BYTES: usize = 4;

impl Shard {
    /// Hands out the rows that are not in `left_out`, in the order of their ordinals, as they are
    /// stored: nothing is decoded. An eighth of them are in memory meanwhile, or as much as mapped
    /// pages may take ([`MappedLimit`]).
    ///
    /// # Errors
    /// [`Error::Corrupt`]; those of `take`.
    pub fn each_row(
        &self,
        left_out: &RoaringBitmap,
        mut take: impl FnMut(&NewRow<'_>) -> Result<()>,
    ) -> Result<()> {
        self.each_range(left_out, true, |range, gathered| {
            self.hand_out(range, left_out, gathered, &mut take)
        })
    }

    /// Hands out the ordinal, list, code and finer code of each row, in the order of ordinals, as
    /// [`Self::each_row`] does.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; those of `take`.
    pub fn each_code(
        &self,
        mut take: impl FnMut(u32, u32, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.each_range(&RoaringBitmap::new(), false, |range, gathered| {
            range.clone().try_for_each(|ordinal| {
                let place = (ordinal - range.start) as usize;
                let list = self.checked_list(ordinal, gathered.slots[place])?;
                let (code, fine, _) = gathered.row(place, self.layout.m());
                take(ordinal, list, code, fine)
            })
        })
    }

    /// Gathers the rows that are not in `left_out` range by range, and hands out each range.
    fn each_range(
        &self,
        left_out: &RoaringBitmap,
        with_records: bool,
        mut take: impl FnMut(Range<u32>, &Gathered) -> Result<()>,
    ) -> Result<()> {
        let (least, most) = GATHERED_BYTES;
        let share = (self.file.bytes() / 8) as usize;
        let most = MappedLimit::in_force().unwrap_or(share.max(least)).min(most);
        let mut cursors = vec![0u32; self.meta.nlist as usize];
        let mut gathered = Gathered::new(with_records, most);
        let (mut start, mut rows) = (0, (most / (ROW_BYTES + self.layout.m())).max(1));
        while start < self.meta.rows {
            let end = start.saturating_add(rows.min(u32::MAX as usize) as u32).min(self.meta.rows);
            let before = cursors.clone();
            if !self.gather(start..end, left_out, &mut cursors, most, &mut gathered)? {
                // Records are longer than they were.
                cursors = before;
                rows = (end - start) as usize / 2;
                continue;
            }
            take(start..end, &gathered)?;
            // As many of the same size as take three quarters of the memory.
            let row_bytes = gathered.bytes() / (end - start) as usize + 1;
            rows = (most / 4 * 3 / row_bytes).clamp(1, 2 * (end - start) as usize);
            start = end;
        }
        Ok(())
    }

    /// Gathers the rows of a range of ordinals. `cursors` has the first row of each list that is
    /// not before the range, and then the first that is behind it. False if several rows take more
    /// than `most` bytes together.
    fn gather(
        &self,
        range: Range<u32>,
        left_out: &RoaringBitmap,
        cursors: &mut [u32],
        most: usize,
        gathered: &mut Gathered,
    ) -> Result<bool> {
        gathered.begin(range.len());
        let mut code = vec![0; self.layout.m()];
        for (list, cursor) in (0u32..).zip(cursors) {
            let entry = self.list(list)?;
            if *cursor >= entry.len {
                continue;
            }
            let codes = self.list_codes(&entry)?;
            while *cursor < entry.len {
                let slot = entry.first + *cursor;
                let ordinal = self.ordinal(slot)?;
                if ordinal >= range.end {
                    break;
                }
                let place = ordinal.checked_sub(range.start).map(|place| place as usize);
                let place = place.filter(|&place| gathered.slots[place] == NO_SLOT);
                let place = place.ok_or_else(|| self.not_in_its_list(ordinal, list))?;
                gathered.slots[place] = slot;
                *cursor += 1;
                if left_out.contains(ordinal) {
                    continue;
                }
                self.layout.get(codes, entry.len as usize, (*cursor - 1) as usize, &mut code);
                let fine = self.fine_of_slot(slot)?;
                let record = match gathered.with_records {
                    true => self.record_of_slot(slot)?,
                    false => Vec::new(),
                };
                gathered.push(place, &code, fine, &record);
                if gathered.bytes() > most && range.len() > 1 {
                    return Ok(false);
                }
            }
        }
        self.intact()?;
        Ok(true)
    }

    /// Hands out the rows of a range that were gathered.
    fn hand_out(
        &self,
        range: Range<u32>,
        left_out: &RoaringBitmap,
        gathered: &Gathered,
        take: &mut impl FnMut(&NewRow<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut hand = |ordinal: u32, key: &str| {
            if left_out.contains(ordinal) {
                return Ok(());
            }
            let place = (ordinal - range.start) as usize;
            let list = self.checked_list(ordinal, gathered.slots[place])?;
            let (code, fine, record) = gathered.row(place, self.layout.m());
            let id = self.id(ordinal)?;
            self.intact()?;
            take(&NewRow { id, key, list, code, fine, record })
        };
        match &self.keys {
            Some(keys) => {
                let rows = range.start as usize..range.end as usize;
                keys.each_in(&self.file, rows, |ordinal, key| hand(ordinal as u32, key))
            }
            None => range.clone().try_for_each(|ordinal| hand(ordinal, "")),
        }
    }

    /// The list of an ordinal that was found in a slot.
    fn checked_list(&self, ordinal: u32, slot: u32) -> Result<u32> {
        let list = self.list_of(ordinal)?;
        let entry = self.list(list)?;
        match slot >= entry.first && slot - entry.first < entry.len {
            true => Ok(list),
            false => Err(self.not_in_its_list(ordinal, list)),
        }
    }

    #[cold]
    fn not_in_its_list(&self, ordinal: u32, list: u32) -> Error {
        Error::corrupt(self.path(), format!("ordinal {ordinal} is not in its list {list}"))
    }
}

impl Gathered {
    /// Room for so many bytes of rows.
    fn new(with_records: bool, bytes: usize) -> Self {
        let (slots, starts, bytes) = (Vec::new(), Vec::new(), Vec::with_capacity(bytes));
        Self { with_records, fine_bytes: 0, slots, starts, bytes }
    }

    /// The code of `m` bytes, the finer code and the record of a row.
    fn row(&self, place: usize, m: usize) -> (&[u8], &[u8], &[u8]) {
        let (code, rest) = self.bytes[self.starts[place] as usize..].split_at(m);
        let (fine, rest) = rest.split_at(self.fine_bytes);
        let (len, rest) = rest.split_at(LENGTH_BYTES);
        let len = len.iter().rev().fold(0usize, |n, &byte| n << 8 | usize::from(byte));
        (code, fine, &rest[..len])
    }

    /// Nothing, of a range of so many rows.
    fn begin(&mut self, rows: usize) {
        self.slots.clear();
        self.slots.resize(rows, NO_SLOT);
        self.starts.clear();
        self.starts.resize(rows, 0);
        self.bytes.clear();
    }

    fn push(&mut self, place: usize, code: &[u8], fine: &[u8], record: &[u8]) {
        self.starts[place] = self.bytes.len() as u32;
        // The same for all rows of a shard.
        self.fine_bytes = fine.len();
        self.bytes.extend_from_slice(code);
        self.bytes.extend_from_slice(fine);
        self.bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(record);
    }

    /// Bytes that the rows take.
    fn bytes(&self) -> usize {
        self.bytes.len() + 8 * self.slots.len()
    }
}
