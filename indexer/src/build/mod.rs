//! Building an index: rows of descriptor parts, encoded under one model, as a new generation.

mod encode;
mod find;
mod options;
mod rows;
mod shards;
mod source;
mod task;

use std::path::Path;
use std::time::Instant;

use ocelli_index::{CommitOptions, IndexDir, Model, Part};

use crate::threads::pool;
use crate::{Error, ProgressFn, Result};
pub use options::BuildOptions;
pub use rows::OnDuplicate;
pub(crate) use rows::place;
pub use shards::BuildReport;
use shards::build_with;
pub(crate) use shards::{Onto, build_onto, change_of, check_input, plan};
pub(crate) use source::{OpenSource, Source, count_rows};
pub(crate) use task::{Tasks, generation_of, job_of};

/// Builds a generation of the index at `dir` (made if missing) out of `parts`, and makes it
/// current. It replaces what the index held; earlier generations stay on disk.
///
/// Rows are numbered in the order of `parts` and split into contiguous ranges, one per shard. Ids
/// are those of the parts, or the parent generation's next id + row number: building the same parts
/// again gives such rows new ids. Equal parts, model, parent and options give equal bytes whatever
/// the number of threads. Until the last step, and where any step fails, the current generation
/// stays what it was; shards left by a stopped build are written over by the next or lie unused.
///
/// # Errors
/// Region parts, parts of another descriptor spec than the model's, codes that are to be augmented,
/// no rows, fewer rows than shards; ids and keys that are there twice, unless such rows are to be
/// left out, which does not go together with augmentation.
pub fn build(
    parts: &[Part],
    model: &Model,
    dir: &Path,
    options: &BuildOptions,
    progress: ProgressFn<'_>,
) -> Result<BuildReport> {
    build_as(parts, model, dir, options, CommitOptions::default(), progress)
}

/// [`build`], with what its commit is told: who made it, and a gate that may refuse the new
/// generation.
///
/// # Errors
/// Those of [`build`]; the gate's, and then the index stays as it was.
pub fn build_as(
    parts: &[Part],
    model: &Model,
    dir: &Path,
    options: &BuildOptions,
    commit: CommitOptions<'_>,
    progress: ProgressFn<'_>,
) -> Result<BuildReport> {
    let start = Instant::now();
    let onto = Onto { commit, ..Onto::default() };
    if options.dba == 0 {
        return build_with(parts, model, dir, options, None, &onto, progress);
    }
    check_input(&Source::of(parts), model, options)?;
    if options.on_duplicate != OnDuplicate::Stop {
        return Err(Error::Invalid(
            "database-side augmentation needs rows of which none is left out".to_owned(),
        ));
    }
    if let Some(part) = parts.iter().find(|part| part.code_form().is_some()) {
        return Err(Error::Invalid(format!(
            "{}: codes; database-side augmentation needs descriptors",
            part.path().display()
        )));
    }
    IndexDir::create(dir)?;
    let rows = parts.iter().map(Part::rows).sum();
    let _limit = options.memory(model, rows)?.limit();
    let find = || find::neighbours(parts, model, options, dir, progress);
    let neighbours = pool(options.threads)?.install(find)?;
    let report = build_with(parts, model, dir, options, Some(&neighbours), &onto, progress)?;
    Ok(BuildReport { seconds: start.elapsed().as_secs_f64(), ..report })
}

/// [`build`] without some rows: `left_out` has their numbers in the order of `parts`, ascending.
/// Their keys and ids may be those of other rows.
///
/// # Errors
/// Those of [`build`]; nothing but rows that are left out; augmentation.
pub fn build_without(
    parts: &[Part],
    model: &Model,
    dir: &Path,
    options: &BuildOptions,
    left_out: &[usize],
    progress: ProgressFn<'_>,
) -> Result<BuildReport> {
    if options.dba != 0 {
        return Err(Error::Invalid(
            "database-side augmentation needs rows of which none is left out".to_owned(),
        ));
    }
    let all = parts.iter().map(Part::images).sum::<usize>();
    if all > 0 && left_out.len() >= all {
        return Err(Error::Invalid(format!(
            "an index needs at least one row, found {all} that are all left out"
        )));
    }
    let onto = Onto { left_out, ..Onto::default() };
    build_with(parts, model, dir, options, None, &onto, progress)
}
