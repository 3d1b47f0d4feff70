//! The shares of a deduplication's memory.

use ocelli_index::container::MappedLimit;

use super::join::BLOCK_PAIRS;
use super::row_set::RowSet;
use super::score::ScoreScratch;
use crate::Result;
use crate::memory::{cores, keep_to, model_bytes};

/// Least memory for sorting.
const LEAST_SORT_BYTES: usize = 8 << 20;
/// Memory of one thread that compares codes: tables of 64 rows, and what is remembered of lists.
const SCAN_BYTES: usize = 12 << 20;
/// Bytes of two lists that are compared, while the plan of the join is made.
const LIST_PAIR_BYTES: usize = 24;
/// Rows of the pairs that a tile of rows may find between two looks at the memory, each of 24
/// bytes: beyond the pairs of a block.
const FOUND_BYTES: usize = 4 << 20;

/// The shares.
pub(super) struct Shares {
    /// Memory to sort in, where it has a limit.
    pub(super) sort_bytes: Option<usize>,
    /// Memory for the table of the places of vectors, if it fits.
    pub(super) table_bytes: usize,
    /// Pairs of a block that a thread scores.
    pub(super) block_pairs: usize,
    /// The limit of mapped pages, as long as this lives.
    pub(super) _mapped: Option<MappedLimit>,
}

/// Divides `budget_bytes` (0: no limit) among what a deduplication of `rows` takes: 4 bits a row,
/// the model, the plan of lists, blocks of pairs, and sorting.
///
/// # Errors
/// A budget that is too small, with the smallest that works.
pub(super) fn divide(
    rows: &RowSet,
    nprobe: usize,
    threads: usize,
    budget_bytes: usize,
) -> Result<Shares> {
    let (pair_bytes, most) = (ScoreScratch::pair_bytes(rows), BLOCK_PAIRS.1);
    if budget_bytes == 0 {
        let (sort_bytes, table_bytes) = (None, usize::MAX);
        return Ok(Shares { sort_bytes, table_bytes, block_pairs: most / 2, _mapped: None });
    }
    let (threads, nlist) = (cores(threads), rows.model().parts().nlist);
    let plan = nlist * (nprobe.min(nlist) + 1) * LIST_PAIR_BYTES;
    let bits = rows.count() as usize / 2;
    let least_block = BLOCK_PAIRS.0 * pair_bytes;
    let fixed = model_bytes(rows.model())
        + plan
        + bits
        + threads * (SCAN_BYTES + FOUND_BYTES + least_block)
        + LEAST_SORT_BYTES;
    let holds = format!("the model, the lists and {threads} threads");
    let mapped = keep_to(budget_bytes, fixed, &holds)?;
    // Half of what is left stays for mapped pages and the allocator.
    let spare = budget_bytes.saturating_sub(fixed) / 2;
    let block_pairs = (spare / 4 / threads / pair_bytes + BLOCK_PAIRS.0).min(most);
    let sort_bytes = Some(LEAST_SORT_BYTES + spare / 2);
    Ok(Shares { sort_bytes, table_bytes: spare / 4, block_pairs, _mapped: mapped })
}
