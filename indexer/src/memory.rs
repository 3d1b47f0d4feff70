//! The division of a memory budget: the one meaning that `--memory-budget` has for all commands.
//!
//! A budget bounds the resident memory of the process. It is divided into what a command needs
//! whatever its input, the pages of mapped files ([`MappedLimit`]), and the rest, in which rows are
//! sorted. A budget that is too small is refused before any work, with the smallest that works.

use ocelli_index::container::MappedLimit;
use ocelli_index::{FineCodec, Model, RowEncoder};

use crate::sample::BLOCK_ROWS;
use crate::{Error, Result};

/// The program itself: its code, its threads, and what the allocator holds back.
const PROGRAM_BYTES: usize = 32 << 20;
/// Names and attributes of a row that is on its way.
const NAME_BYTES: usize = 256;
/// Least memory for sorting.
const LEAST_SORT_BYTES: usize = 9 << 20;
/// Least and most memory for pages of mapped files.
const MAPPED_BYTES: (usize, usize) = (4 << 20, 256 << 20);
/// Pages of mapped files get one byte of so many of a budget.
const MAPPED_SHARE: usize = 16;

/// Shares of a budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Rows that are read and encoded together.
    pub(crate) block_rows: usize,
    /// Memory to sort, where it has a limit.
    pub(crate) sort_bytes: Option<usize>,
    /// The rest of the budget.
    pub(crate) beside_bytes: usize,
    /// Pages of mapped files, of that rest.
    mapped_bytes: usize,
}

/// The error of a budget that is too small.
fn too_small(budget_bytes: usize, holds: &str, smallest: usize) -> Error {
    Error::Invalid(format!(
        "memory budget: {} MiB do not hold {holds}; the smallest budget that works is {} MiB",
        budget_bytes >> 20,
        smallest.div_ceil(1 << 20)
    ))
}

/// Memory for pages of mapped files under a budget.
fn mapped_bytes(budget_bytes: usize) -> usize {
    (budget_bytes / MAPPED_SHARE).clamp(MAPPED_BYTES.0, MAPPED_BYTES.1)
}

/// The limit of mapped pages that a budget sets, while the result lives; none without a budget.
/// `needs_bytes` is what the command `holds` besides them and the program, whatever its input.
///
/// # Errors
/// A budget that is too small, with the smallest that works.
pub fn keep_to(
    budget_bytes: usize,
    needs_bytes: usize,
    holds: &str,
) -> Result<Option<MappedLimit>> {
    if budget_bytes == 0 {
        return Ok(None);
    }
    let smallest = PROGRAM_BYTES + MAPPED_BYTES.0 + needs_bytes;
    if budget_bytes < smallest {
        return Err(too_small(budget_bytes, holds, smallest));
    }
    // What is mapped may be read twice over while it is given back.
    let rest = budget_bytes - PROGRAM_BYTES - needs_bytes;
    let most = (rest / 2).max(MAPPED_BYTES.0);
    Ok(Some(MappedLimit::new(mapped_bytes(budget_bytes).min(most))))
}

/// Memory of threads that read pieces of files and compare or copy them; 0: one per core.
pub fn thread_bytes(threads: usize) -> usize {
    const PIECES_BYTES: usize = 4 << 20;
    cores(threads) * PIECES_BYTES
}

/// Threads of a job; 0: one per core.
pub(crate) fn cores(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

impl Memory {
    /// The shares of `budget_bytes` for rows that `threads` threads encode under `model`; 0: there
    /// is no limit. `reads_bytes` are for what reads the rows, besides.
    ///
    /// # Errors
    /// A budget that is too small, with the smallest that works.
    pub(crate) fn to_encode(
        budget_bytes: usize,
        model: &Model,
        threads: usize,
        reads_bytes: usize,
    ) -> Result<Self> {
        Self::divide(budget_bytes, model, threads, reads_bytes, 1)
    }

    /// [`Self::to_encode`] of rows of an index, which are decoded under its model `old`.
    ///
    /// # Errors
    /// A budget that is too small, with the smallest that works.
    pub(crate) fn to_encode_again(
        budget_bytes: usize,
        (old, new): (&Model, &Model),
        threads: usize,
    ) -> Result<Self> {
        // As much as is mapped is gathered from the shards.
        Self::divide(budget_bytes, new, threads, model_bytes(old) / 2, 2)
    }

    /// The shares where as much as is mapped is taken `mapped_times`.
    fn divide(
        budget_bytes: usize,
        model: &Model,
        threads: usize,
        reads_bytes: usize,
        mapped_times: usize,
    ) -> Result<Self> {
        let task_rows = RowEncoder::rows_under(model);
        let wanted_rows = BLOCK_ROWS.max(threads * task_rows);
        if budget_bytes == 0 {
            return Ok(Self::unlimited(wanted_rows));
        }
        let fixed = |mapped: usize| {
            PROGRAM_BYTES
                + mapped_times * mapped
                + reads_bytes
                + model_bytes(model)
                + threads * encoder_bytes(model, task_rows)
        };
        let row = row_bytes(model);
        let (least_rows, least_sort) =
            (task_rows.min(1024), LEAST_SORT_BYTES + 64 * model.parts().nlist);
        let smallest = fixed(MAPPED_BYTES.0) + least_sort + least_rows * row;
        if budget_bytes < smallest {
            let holds = format!("the model, {threads} threads and the rows that they encode");
            return Err(too_small(budget_bytes, &holds, smallest));
        }
        let spare = (budget_bytes - smallest) / mapped_times;
        let mapped_bytes = mapped_bytes(budget_bytes).min(MAPPED_BYTES.0 + spare);
        let least = fixed(mapped_bytes) + least_sort;
        let rows = budget_bytes.saturating_sub(least) / 3 / row;
        let block_rows = rows.clamp(least_rows, wanted_rows);
        let beside_bytes = fixed(mapped_bytes) + block_rows * row;
        let sort_bytes = Some(budget_bytes - beside_bytes);
        Ok(Self { block_rows, sort_bytes, beside_bytes, mapped_bytes })
    }

    /// The shares of `budget_bytes` for rows that are copied from one shard into another.
    ///
    /// # Errors
    /// A budget that is too small, with the smallest that works.
    pub(crate) fn to_copy(budget_bytes: usize, model: &Model) -> Result<Self> {
        Self::to_copy_beside(budget_bytes, model, 0)
    }

    /// [`Self::to_copy`] where so many bytes of the budget are taken already.
    ///
    /// # Errors
    /// A budget that is too small, with the smallest that works.
    pub(crate) fn to_copy_beside(
        budget_bytes: usize,
        model: &Model,
        taken_bytes: usize,
    ) -> Result<Self> {
        if budget_bytes == 0 {
            return Ok(Self::unlimited(BLOCK_ROWS));
        }
        // As much as is mapped is gathered from the shards.
        let rest = PROGRAM_BYTES + taken_bytes + model_bytes(model) / 2;
        let fixed = |mapped: usize| rest + 2 * mapped;
        let smallest = fixed(MAPPED_BYTES.0) + LEAST_SORT_BYTES + 64 * model.parts().nlist;
        if budget_bytes < smallest {
            return Err(too_small(
                budget_bytes,
                "the model and the rows that are copied",
                smallest,
            ));
        }
        let spare = (budget_bytes - smallest) / 2;
        let mapped_bytes = mapped_bytes(budget_bytes).min(MAPPED_BYTES.0 + spare);
        let beside_bytes = fixed(mapped_bytes);
        let sort_bytes = Some(budget_bytes - beside_bytes);
        Ok(Self { block_rows: BLOCK_ROWS, sort_bytes, beside_bytes, mapped_bytes })
    }

    fn unlimited(block_rows: usize) -> Self {
        Self { block_rows, sort_bytes: None, beside_bytes: 0, mapped_bytes: 0 }
    }

    /// Bytes of names and attributes that a block of rows may have.
    pub(crate) fn name_bytes(&self) -> usize {
        self.sort_bytes.map_or(usize::MAX, |_| self.block_rows * NAME_BYTES)
    }

    /// The limit of mapped pages, while the result lives; none without a budget.
    pub(crate) fn limit(&self) -> Option<MappedLimit> {
        self.sort_bytes.map(|_| MappedLimit::new(self.mapped_bytes))
    }
}

/// Memory of a model that encodes: centroids in the file and as small integers, codebooks in three
/// orders, the rotation, the table of lists.
pub(crate) fn model_bytes(model: &Model) -> usize {
    let p = model.parts();
    let books = p.m * p.ksub * (p.d / p.m.max(1));
    14 * p.nlist * p.d + 100 * p.nlist + 24 * books + 8 * p.d * p.dim
}

/// Memory of one thread that encodes.
fn encoder_bytes(model: &Model, task_rows: usize) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::fixture::model;

    /// The smallest budget that a message names is enough, and one MiB less is not; no share of a
    /// budget is more than all of it.
    #[test]
    fn the_smallest_budget_is_the_smallest() {
        let model = model(0);
        let named = |error: Error| -> usize {
            let text = error.to_string();
            let number = text.rsplit_once("works is ").unwrap().1.split(' ').next().unwrap();
            number.parse::<usize>().unwrap() << 20
        };
        type Divide<'a> = &'a dyn Fn(usize) -> Result<Memory>;
        let encode = |budget: usize| Memory::to_encode(budget, &model, 3, 5 << 20);
        let copy = |budget: usize| Memory::to_copy_beside(budget, &model, 3 << 20);
        let again = |budget: usize| Memory::to_encode_again(budget, (&model, &model), 3);
        for divide in [&encode as Divide<'_>, &copy, &again] {
            let smallest = named(divide(1 << 20).unwrap_err());
            assert_eq!(named(divide(smallest - (1 << 20)).unwrap_err()), smallest);
            for budget in [smallest, smallest + 12345, 2 * smallest, 100 * smallest] {
                let memory = divide(budget).unwrap();
                let sort = memory.sort_bytes.unwrap();
                assert_eq!(sort + memory.beside_bytes, budget);
                assert!(sort >= LEAST_SORT_BYTES, "{sort} of {budget}");
                assert!(memory.mapped_bytes >= MAPPED_BYTES.0);
                assert!(memory.mapped_bytes < memory.beside_bytes);
            }
        }
        assert!(divide_nothing(&model));
        let smallest = named(keep_to(1 << 20, 7 << 20, "pieces").unwrap_err());
        assert!(keep_to(smallest - 1, 7 << 20, "pieces").is_err());
        assert!(keep_to(smallest, 7 << 20, "pieces").unwrap().is_some());
        assert!(keep_to(0, 7 << 20, "pieces").unwrap().is_none());
        assert!(MappedLimit::in_force().is_none());
    }

    fn divide_nothing(model: &Model) -> bool {
        let memory = Memory::to_encode(0, model, 1, 0).unwrap();
        memory.sort_bytes.is_none() && memory.limit().is_none()
    }
}
