//! Labels of pairs that are near by their vectors, by their perceptual hashes: copies, or the same
//! scene in another shot.

use ocelli_index::attributes::names;
use ocelli_index::{Column, ColumnType, Row, Value};

use super::row_set::RowSet;
use super::score::RowPair;
use crate::Result;
use crate::dedup::edge::{Edge, Label, RowNumber, ScoredBy};

/// Fewest and most bits that are set in a hash that says something. Of a picture with content,
/// half of its frequencies are above their median, 32 of 64; of a blank page or a gradient most
/// frequencies are equal, and nearly none is.
const TELLING_BITS: (u32, u32) = (24, 40);

/// Gives pairs their labels.
pub(super) struct Labels<'a> {
    rows: &'a RowSet,
    /// The column of perceptual hashes, if the index has it.
    phash: Option<Column>,
    /// Most bits in which copies differ.
    most_bits: u8,
}

/// The bits of a hash; none of one that says nothing.
fn telling(value: Option<Value>) -> Option<u64> {
    let Some(Value::Bytes8(bytes)) = value else { return None };
    let bits = u64::from_be_bytes(bytes);
    (TELLING_BITS.0..=TELLING_BITS.1).contains(&bits.count_ones()).then_some(bits)
}

impl<'a> Labels<'a> {
    /// # Errors
    /// Shards that disagree about columns.
    pub(super) fn new(rows: &'a RowSet, most_bits: u8) -> Result<Self> {
        let schema = rows.all().schema()?;
        let phash = schema.find(names::PHASH).filter(|column| column.ty == ColumnType::Bytes8);
        Ok(Self { rows, phash: phash.cloned(), most_bits })
    }

    /// The edges of scored pairs, labelled by what their perceptual hashes say.
    ///
    /// # Errors
    /// Damaged files.
    pub(super) fn edges(&self, scored: &[(RowPair, f32, ScoredBy)]) -> Result<Vec<Edge>> {
        let mut rows: Vec<RowNumber> = scored.iter().flat_map(|&((a, b), ..)| [a, b]).collect();
        rows.sort_unstable();
        rows.dedup();
        let hashes = self.hashes(&rows)?;
        let hash = |row| rows.binary_search(&row).ok().and_then(|at| hashes.get(at).copied()?);
        let edge = |&((a, b), score, scored_by): &(RowPair, f32, ScoredBy)| {
            let distance = |(a, b): (u64, u64)| (a ^ b).count_ones() as u8;
            let phash_distance = hash(a).zip(hash(b)).map(distance);
            let is_copy = phash_distance.is_some_and(|bits| bits <= self.most_bits);
            let label = if is_copy { Label::Copy } else { Label::Near };
            Edge { a, b, score, scored_by, label, phash_distance, agreement: None }
        };
        Ok(scored.iter().map(edge).collect())
    }

    /// The hashes of rows that say something.
    fn hashes(&self, rows: &[RowNumber]) -> Result<Vec<Option<u64>>> {
        let Some(column) = &self.phash else { return Ok(Vec::new()) };
        let rows: Vec<Row> = rows.iter().map(|&row| self.rows.row(row)).collect();
        let values = self.rows.all().values(&rows, std::slice::from_ref(column));
        values.into_iter().map(|values| Ok(telling(values?.into_iter().next().flatten()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_flat_picture_says_nothing() {
        let of = |bits: u64| telling(Some(Value::Bytes8(bits.to_be_bytes())));
        let half = 0x0123_4567_89ab_cdef;
        assert_eq!(of(half), Some(half));
        assert_eq!(of(0), None);
        assert_eq!(of(u64::MAX), None);
        // A gradient: one direction has frequencies, the other none.
        assert_eq!(of(0xff), None);
        assert_eq!(telling(None), None);
        assert_eq!(telling(Some(Value::Int(5))), None);
    }
}
