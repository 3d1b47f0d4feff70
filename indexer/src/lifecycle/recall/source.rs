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

    /// Hands out the vectors of all rows in order, (n, dim) at a time, each time of at most `most`
    /// rows of one part or shard, with the number of the first.
    ///
    /// # Errors
    /// Damaged files.
    pub(super) fn each_block(&self, most: usize, mut take: impl FnMut(u64, &[f32])) -> Result<()> {
        match self {
            Self::Parts { parts, starts, .. } => {
                for (part, &first) in parts.iter().zip(starts) {
                    for start in (0..part.rows()).step_by(most) {
                        let x = part.read(start..(start + most).min(part.rows()))?;
                        take(first + start as u64, &x);
                    }
                }
            }
            Self::Decoded { snapshot, starts } => {
                let model = snapshot.model();
                for (shard, &first) in snapshot.shards().zip(starts) {
                    let (mut z, mut rows, mut start) = (Vec::new(), 0, first);
                    shard.each_code(|ordinal, list, code, fine| {
                        let fine = shard.has_fine().then_some(fine);
                        z.extend(model.decode_finest(list, code, fine));
                        rows += 1;
                        if rows == most || ordinal + 1 == shard.rows() {
                            take(start, &model.restore(std::mem::take(&mut z)));
                            start += rows as u64;
                            rows = 0;
                        }
                        Ok(())
                    })?;
                }
                model.intact()?;
            }
        }
        Ok(())
    }

    /// Vectors of a few rows of one part or shard, (rows, dim).
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
