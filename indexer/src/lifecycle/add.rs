//! Rows that come to an index under its model.

use std::path::Path;

use ocelli_index::{Mode, Part, Snapshot};
use serde::Serialize;

use super::change::{commit_by, hold_current};
use super::fit::{self, Fit};
use crate::build::{Onto, build_onto};
use crate::threads::pool;
use crate::{BuildOptions, BuildReport, Error, ProgressFn, Result};

/// The result of [`add`].
#[derive(Clone, Debug, Serialize)]
pub struct AddReport {
    /// The new shards. `index` is the directory, `generation` the one that is current now.
    #[serde(flatten)]
    pub build: BuildReport,
    /// Rows of the index that new ones took the place of.
    pub superseded: u64,
    /// Whether another change came between, onto which this one was made.
    pub rebased: bool,
    /// How well the model fits the new rows.
    pub fit: Fit,
    /// Warnings, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Adds the rows of `parts` to the index at `dir`, as new shards under its model. With `upsert`,
/// rows of the index that have the key or id of a new one are deleted; else they are an error.
/// Until the last step, and where any fails, the index stays as it was.
///
/// # Errors
/// Those of [`build`](crate::build); an index without a generation; ids or keys that the index has;
/// ids or a model that another change took meanwhile, with what to do.
pub fn add(
    parts: &[Part],
    dir: &Path,
    options: &BuildOptions,
    upsert: bool,
    progress: ProgressFn<'_>,
) -> Result<AddReport> {
    if options.dba != 0 {
        return Err(Error::Invalid(
            "rows that are added are not augmented (--dba): their neighbours are in the index; \
             `ocelli build --dba` makes it anew"
                .to_owned(),
        ));
    }
    let (index, current, held) = hold_current(dir)?;
    // With the fine codec that its shards have.
    let snapshot = Snapshot::open_candidate(&index, &current)?;
    drop(held);
    let model = snapshot.model();
    let rows = parts.iter().map(Part::rows).sum();
    let _limit = options.memory(model, rows)?.limit();
    let (command, mode) = match upsert {
        true => ("upsert", Mode::Upsert),
        false => ("add", Mode::Add),
    };
    let paths: Vec<String> = parts.iter().map(|part| part.path().display().to_string()).collect();
    let commit = commit_by(command, &[("parts", paths.join(" "))]);
    let onto = Onto { mode, commit, ..Onto::default() };
    // Before the commit: an error afterwards would look as if nothing had been added.
    let measure = || fit::measure(parts, &snapshot);
    let fit = pool(options.threads)?.install(measure)?;
    let (build, committed) = build_onto(parts, (model, &index), options, None, &onto, progress)?;
    let mut warnings = fit.warnings();
    if current.dba.is_some() {
        warnings.push(
            "the rows of the index were augmented (--dba), the new ones are not: they rank \
             differently"
                .to_owned(),
        );
    }
    let superseded = committed.rows.superseded;
    Ok(AddReport { build, superseded, rebased: committed.rebased, fit, warnings })
}
