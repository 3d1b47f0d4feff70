//! Facts of rows that are known without looking at them again.

use serde::{Deserialize, Serialize};

use crate::files::packed;
use crate::shard::IdEncoding;

/// Sums over rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Facts {
    /// Number of rows.
    pub rows: u32,
    /// Rows with a key.
    pub keyed: u32,
    /// Rows with a finer code.
    pub fine_rows: u32,
    /// Rows with an attribute record.
    pub recorded: u32,
    /// Id of the first row.
    pub first_id: u64,
    /// Smallest id.
    pub min_id: u64,
    /// Largest id.
    pub max_id: u64,
    /// Whether each id is the one before it + 1.
    pub consecutive: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            rows: 0,
            keyed: 0,
            fine_rows: 0,
            recorded: 0,
            first_id: 0,
            min_id: u64::MAX,
            max_id: 0,
            consecutive: true,
        }
    }
}

impl Facts {
    /// The facts of one row.
    pub fn of_row(id: u64, has_key: bool, has_fine: bool, has_record: bool) -> Self {
        Self {
            rows: 1,
            keyed: u32::from(has_key),
            fine_rows: u32::from(has_fine),
            recorded: u32::from(has_record),
            first_id: id,
            min_id: id,
            max_id: id,
            consecutive: true,
        }
    }

    /// Adds rows that follow these.
    pub fn add(&mut self, next: &Self) {
        if self.rows == 0 {
            *self = *next;
            return;
        }
        if next.rows == 0 {
            return;
        }
        let follows = self.first_id.checked_add(u64::from(self.rows)) == Some(next.first_id);
        self.consecutive &= next.consecutive && follows;
        self.rows += next.rows;
        self.keyed += next.keyed;
        self.fine_rows += next.fine_rows;
        self.recorded += next.recorded;
        self.min_id = self.min_id.min(next.min_id);
        self.max_id = self.max_id.max(next.max_id);
    }

    /// The smallest encoding that holds the ids.
    pub fn id_encoding(&self) -> IdEncoding {
        if self.consecutive {
            return IdEncoding::Affine { base: self.first_id };
        }
        match packed::width_for(self.max_id - self.min_id) {
            bits if bits <= packed::MAX_WIDTH => IdEncoding::Packed { base: self.min_id, bits },
            _ => IdEncoding::Raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(ids: &[u64]) -> IdEncoding {
        let mut facts = Facts::default();
        ids.iter().for_each(|&id| facts.add(&Facts::of_row(id, false, false, false)));
        facts.id_encoding()
    }

    #[test]
    fn ids_take_the_smallest_encoding() {
        assert_eq!(encoding(&[5, 6, 7]), IdEncoding::Affine { base: 5 });
        assert_eq!(encoding(&[5, 7, 6]), IdEncoding::Packed { base: 5, bits: 2 });
        assert_eq!(encoding(&[1 << 62, 3]), IdEncoding::Raw);
    }
}
