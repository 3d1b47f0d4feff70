//! Rows in memory, and the columns that a run has of them.

use std::mem::size_of;

use super::blobs::Blobs;
use crate::base::error::Result;
use crate::files::container::SectionKind;
use crate::shard::key_hash64;

/// Bytes that sorting takes a row at most: a number and an ordinal, which the compiler pads.
const SORT_BYTES: usize = 16;
/// Bytes of a number and an ordinal in a file.
pub(super) const ENTRY_BYTES: usize = 12;
/// Bytes handed over at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Rows in the order of their ordinals.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub ids: Vec<u64>,
    pub lists: Vec<u32>,
    /// (rows, m).
    pub codes: Vec<u8>,
    /// Finer codes, (rows, bytes of one), or nothing.
    pub fine: Vec<u8>,
    pub keys: Blobs,
    /// Attribute records; those past its end are empty.
    pub records: Blobs,
}

/// The rows of a chunk by list.
#[derive(Debug)]
pub(super) struct Sorted {
    /// Rows of each list.
    pub counts: Vec<u32>,
    /// Rows sorted by list, then by number.
    pub order: Vec<u32>,
}

impl Chunk {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Gives the last row its attribute record, unless that is empty. Whether it has one now.
    pub fn set_record(&mut self, record: &[u8]) -> bool {
        let Some(last) = self.rows().checked_sub(1).filter(|_| !record.is_empty()) else {
            return false;
        };
        if self.records.len() > last {
            // A row has one record.
            return false;
        }
        while self.records.len() < last {
            self.records.push(&[]);
        }
        self.records.push(record);
        true
    }

    /// Bytes of memory that the rows take, sorting included.
    pub fn bytes(&self) -> usize {
        let blobs = |b: &Blobs| b.bytes().len() + 8 * b.starts().len();
        self.rows() * (size_of::<u64>() + size_of::<u32>() + SORT_BYTES)
            + self.codes.len()
            + self.fine.len()
            + blobs(&self.keys)
            + blobs(&self.records)
    }

    /// Removes all rows; their memory is kept.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.lists.clear();
        self.codes.clear();
        self.fine.clear();
        self.keys.clear();
        self.records.clear();
    }

    /// Whether ids ascend strictly with ordinals.
    pub fn ids_ascend(&self) -> bool {
        self.ids.is_sorted_by(|a, b| a < b)
    }

    /// Sorts the rows by list with one pass to count and one to place: rows of a list stay in their
    /// order.
    pub fn sort(&self, nlist: usize) -> Sorted {
        let mut counts = vec![0u32; nlist];
        self.lists.iter().for_each(|&list| counts[list as usize] += 1);
        let mut next: Vec<u32> = counts
            .iter()
            .scan(0, |at, &count| {
                let first = *at;
                *at += count;
                Some(first)
            })
            .collect();
        let mut order = vec![0u32; self.rows()];
        for (row, &list) in (0u32..).zip(&self.lists) {
            let slot = &mut next[list as usize];
            order[*slot as usize] = row;
            *slot += 1;
        }
        Sorted { counts, order }
    }

    /// A column that is in memory as a run has it.
    pub fn stored(&self, kind: SectionKind) -> Option<&[u8]> {
        match kind {
            SectionKind::Ids => Some(bytemuck::cast_slice(&self.ids)),
            SectionKind::Lists => Some(bytemuck::cast_slice(&self.lists)),
            SectionKind::Keys => Some(self.keys.bytes()),
            SectionKind::RowStarts => Some(bytemuck::cast_slice(self.keys.starts())),
            _ => None,
        }
    }

    /// Hands the bytes of a column to `put`, piece by piece.
    pub fn column(
        &self,
        kind: SectionKind,
        sorted: &Sorted,
        put: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if let Some(stored) = self.stored(kind) {
            return put(stored);
        }
        let mut out = Pieces { bytes: Vec::new(), put };
        let order = sorted.order.iter().map(|&row| row as usize);
        let width = |all: &[u8]| all.len().checked_div(self.rows()).unwrap_or(0);
        match kind {
            SectionKind::ListTable => out.push(bytemuck::cast_slice(&sorted.counts))?,
            SectionKind::Ordinals => out.push(bytemuck::cast_slice(&sorted.order))?,
            SectionKind::Codes | SectionKind::FineCodes => {
                let all = if kind == SectionKind::Codes { &self.codes } else { &self.fine };
                let width = width(all);
                order.clone().try_for_each(|row| out.push(&all[row * width..][..width]))?;
            }
            SectionKind::Attributes => {
                for row in order {
                    let record = self.records.get(row);
                    out.push(&(record.len() as u32).to_le_bytes())?;
                    out.push(record)?;
                }
            }
            SectionKind::IdMap => {
                let mut by_id: Vec<(u64, u32)> = self.ids.iter().copied().zip(0..).collect();
                by_id.sort_unstable();
                out.entries(&by_id)?;
            }
            SectionKind::KeyMap => {
                let keys = (0..self.rows()).map(|row| self.keys.get(row));
                let mut by_hash: Vec<(u64, u32)> = keys
                    .zip(0..)
                    .filter(|(key, _)| !key.is_empty())
                    .map(|(key, row)| (key_hash64(key), row))
                    .collect();
                by_hash.sort_unstable();
                out.entries(&by_hash)?;
            }
            _ => {}
        }
        out.end()
    }
}

/// Small pieces on their way to a function that wants large ones.
struct Pieces<'a> {
    bytes: Vec<u8>,
    put: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

impl Pieces<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.bytes.len() + bytes.len() > PIECE_BYTES {
            self.end()?;
        }
        if bytes.len() > PIECE_BYTES {
            return (self.put)(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn entries(&mut self, entries: &[(u64, u32)]) -> Result<()> {
        for &(number, row) in entries {
            let mut entry = [0; ENTRY_BYTES];
            entry[..8].copy_from_slice(&number.to_le_bytes());
            entry[8..].copy_from_slice(&row.to_le_bytes());
            self.push(&entry)?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        (self.put)(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
