//! Vectors of an index's rows: from parts, or decoded by the index itself.

use std::ops::Range;

use ocelli_index::{DescriptorSpec, Part, Row, Snapshot};

use crate::sample::{count_rows, require_descriptors};
use crate::{Error, Result};

/// Rows with their vectors, read block by block, and their ids in the index.
pub(super) enum Source<'a> {
    /// Vectors of parts.
    Parts {
        snapshot: &'a Snapshot,
        parts: &'a [Part],
        /// The first row of each part, and the number of all.
        starts: Vec<u64>,
        /// The id of row 0, where rows are known by their order.
        first_id: Option<u64>,
    },
    /// Vectors that the index decodes, of all rows, deleted ones included.
    Decoded {
        snapshot: &'a Snapshot,
        /// The first row of each shard, and the number of all.
        starts: Vec<u64>,
    },
}

/// Running sums, from 0 to the sum of all.
fn sums(lengths: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut starts = vec![0];
    let mut sum = 0;
    for length in lengths {
        sum += length;
        starts.push(sum);
    }
    starts
}

impl<'a> Source<'a> {
    /// # Errors
    /// Parts of another spec than the index's, or that do not hold descriptors.
    pub(super) fn parts(snapshot: &'a Snapshot, parts: &'a [Part]) -> Result<Self> {
        for part in parts {
            require_descriptors(part)?;
            let place = part.path().display().to_string();
            DescriptorSpec::same_or_err(&place, &snapshot.model().parts().spec, part.spec())?;
        }
        let starts = sums(parts.iter().map(|part| part.rows() as u64));
        let nameless = |part: &Part| -> Result<bool> {
            Ok(part.rows() > 0 && !part.has_ids() && part.key(0)?.is_empty())
        };
        let mut first_id = None;
        for part in parts {
            if nameless(part)? {
                let held: u64 = snapshot.shards().map(|shard| u64::from(shard.rows())).sum();
                if held != count_rows(parts) as u64 {
                    return Err(Error::Invalid(format!(
                        "{}: its rows have neither ids nor keys, and the index has {held} rows \
                         where the parts have {}: expected parts whose rows can be found in it",
                        part.path().display(),
                        count_rows(parts)
                    )));
                }
                let ids = snapshot.shards().map(|shard| shard.id(0));
                first_id = ids.collect::<ocelli_index::Result<Vec<u64>>>()?.into_iter().min();
            }
        }
        Ok(Self::Parts { snapshot, parts, starts, first_id })
    }

    pub(super) fn decoded(snapshot: &'a Snapshot) -> Result<Self> {
        let starts = sums(snapshot.shards().map(|shard| u64::from(shard.rows())));
        Ok(Self::Decoded { snapshot, starts })
    }

    fn starts(&self) -> &[u64] {
        match self {
            Self::Parts { starts, .. } | Self::Decoded { starts, .. } => starts,
        }
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.starts().last().copied().unwrap_or(0)
    }

    /// The part or shard of a row, and the row's number in it.
    fn place(&self, row: u64) -> (usize, u64) {
        let starts = self.starts();
        let number = starts.partition_point(|&start| start <= row) - 1;
        (number, row - starts[number])
    }

    /// Rows from `start` on, at most `most`, of one part or shard.
    pub(super) fn block(&self, start: u64, most: u64) -> Range<u64> {
        let (number, _) = self.place(start);
        start..(start + most).min(self.starts()[number + 1])
    }

    /// Vectors of a block, (rows, dim).
    ///
    /// # Errors
    /// Damaged files.
    pub(super) fn read(&self, rows: Range<u64>) -> Result<Vec<f32>> {
        let (number, first) = self.place(rows.start);
        let len = rows.end - rows.start;
        match self {
            Self::Parts { parts, .. } => {
                Ok(parts[number].read(first as usize..(first + len) as usize)?)
            }
            Self::Decoded { snapshot, .. } => {
                let shard = number as u32;
                let rows = (first..first + len).map(|o| Row { shard, ordinal: o as u32 });
                let mut out = Vec::new();
                for vector in snapshot.vectors(rows)? {
                    out.extend(vector?);
                }
                Ok(out)
            }
        }
    }

    /// The id of a row in the index; none if the index does not have it, or it is deleted.
    ///
    /// # Errors
    /// Damaged files.
    pub(super) fn id(&self, row: u64) -> Result<Option<u64>> {
        let (number, inner) = self.place(row);
        match self {
            Self::Decoded { snapshot, .. } => {
                let (shard, ordinal) = (number as u32, inner as u32);
                if snapshot.deleted(shard).is_some_and(|deleted| deleted.contains(ordinal)) {
                    return Ok(None);
                }
                Ok(Some(snapshot.id(Row { shard, ordinal })?))
            }
            Self::Parts { snapshot, parts, first_id, .. } => {
                let part = &parts[number];
                let found = match (part.id(inner as usize)?, part.key(inner as usize)?) {
                    (Some(id), _) => snapshot.find_id(id)?,
                    (None, key) if !key.is_empty() => snapshot.find_key(&key)?,
                    (None, _) => match first_id {
                        Some(first) => snapshot.find_id(first + row)?,
                        None => None,
                    },
                };
                Ok(found.map(|row| snapshot.id(row)).transpose()?)
            }
        }
    }
}
