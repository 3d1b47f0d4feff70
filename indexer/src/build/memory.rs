//! The division of a memory budget.

use ocelli_index::{FineCodec, Model};

use crate::sample::BLOCK_ROWS;
use crate::{Error, Result};

/// The program itself: its code, its threads, and what the allocator holds back.
const PROGRAM_BYTES: usize = 40 << 20;
/// Names and attributes of a row that is on its way.
const NAME_BYTES: usize = 256;
/// Least memory for sorting.
const LEAST_SORT_BYTES: usize = 9 << 20;

/// Shares of a budget.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Rows that are read and encoded together.
    pub(super) block_rows: usize,
    /// Memory to sort, where it has a limit.
    pub(super) sort_bytes: Option<usize>,
    /// The rest of the budget.
    pub(super) beside_bytes: usize,
}

impl Memory {
    /// The shares of `budget_bytes`; 0: there is no limit. `task_rows` is the number of rows that
    /// one thread encodes together.
    ///
    /// # Errors
    /// A budget that is too small, with the smallest that works.
    pub(super) fn divide(
        budget_bytes: usize,
        model: &Model,
        threads: usize,
        task_rows: usize,
    ) -> Result<Self> {
        let wanted_rows = BLOCK_ROWS.max(threads * task_rows);
        if budget_bytes == 0 {
            return Ok(Self { block_rows: wanted_rows, sort_bytes: None, beside_bytes: 0 });
        }
        let fixed = PROGRAM_BYTES + model_bytes(model) + threads * thread_bytes(model, task_rows);
        let row = row_bytes(model);
        let (least_rows, least) =
            (task_rows.min(1024), fixed + LEAST_SORT_BYTES + 64 * model.parts().nlist);
        let smallest = least + least_rows * row;
        if budget_bytes < smallest {
            return Err(Error::Invalid(format!(
                "memory budget: {} MiB do not hold the model, {threads} threads and the rows that \
                 they encode; the smallest budget that works is {} MiB",
                budget_bytes >> 20,
                smallest.div_ceil(1 << 20)
            )));
        }
        let block_rows = ((budget_bytes - least) / 3 / row).clamp(least_rows, wanted_rows);
        let beside_bytes = fixed + block_rows * row;
        let sort_bytes = Some(budget_bytes - beside_bytes);
        Ok(Self { block_rows, sort_bytes, beside_bytes })
    }
}

/// Memory of a model that encodes: centroids in the file and as small integers, codebooks in three
/// orders, the rotation, the table of lists.
fn model_bytes(model: &Model) -> usize {
    let p = model.parts();
    let books = p.m * p.ksub * (p.d / p.m.max(1));
    14 * p.nlist * p.d + 100 * p.nlist + 24 * books + 8 * p.d * p.dim
}

/// Memory of one thread that encodes.
fn thread_bytes(model: &Model, task_rows: usize) -> usize {
    let p = model.parts();
    task_rows * (16 * p.d + 8 * p.m + 64) + (2 << 20)
}

/// Memory of a row that is on its way: as it was read, the copy of it, that of the next block, and
/// what comes of it.
fn row_bytes(model: &Model) -> usize {
    let p = model.parts();
    let fine = model.fine_codec().map_or(0, FineCodec::code_bytes);
    12 * p.dim + 8 * p.d + 2 * (p.m + fine + 4) + 2 * NAME_BYTES
}
