//! Records to a list and a report.

use std::path::{Path, PathBuf};

use ocelli_index::container::write_atomically;

use crate::clean::list_out::Lines;
use crate::clean::plan::Plan;
use crate::clean::record::Record;
use crate::clean::report::{Page, ReportOptions};
use crate::clean::settings::KeepSettings;
use crate::clean::source::Source;
use crate::clean::summary::Summary;
use crate::clean::verdict::{Fate, judge};
use crate::error::{Error, Result};
use crate::files::{self, LIST, Named};
use crate::list::is_parquet;

/// Settings of a commit, and its files.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitOptions {
    /// Settings of what stays.
    pub keep: KeepSettings,
    /// The file of the cleaned list.
    pub out: PathBuf,
    /// The page with pictures, if one is wanted.
    pub report: Option<ReportOptions>,
}

/// Numbers of tasks that an error names, at most.
const NAMED: usize = 10;

/// Refuses a work folder without the records of all tasks.
fn require_records(plan: &Plan, work: &Path) -> Result<()> {
    let mut missing: Vec<usize> = Vec::new();
    for (at, class) in plan.classes.iter().enumerate() {
        let task = at % plan.tasks.max(1) as usize;
        let is_there = || Record::read(work, &class.key, class.photos).is_some();
        if !missing.contains(&task) && !is_there() {
            missing.push(task);
        }
    }
    missing.sort_unstable();
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = missing.iter().take(NAMED).map(usize::to_string).collect();
    let more = missing.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(Error::invalid(format!(
        "{}: expected the results of {} tasks, missing are those of {}{more}",
        work.display(),
        plan.tasks,
        named.join(", ")
    )))
}

/// Refuses settings and files that cannot be, before any work.
///
/// # Errors
/// `Invalid` where a file is the list itself, both are one, or one cannot be written, and for a
/// list in a Parquet file; `Index` for a folder that cannot be found.
pub fn check_files<'a>(source: &'a Source, options: &CommitOptions) -> Result<Lines<'a>> {
    options.keep.check()?;
    let out = Named { name: "--out", path: &options.out };
    if is_parquet(out.path) {
        return Err(Error::invalid(format!(
            "--out {}: expected a name that does not end in .parquet: the list is written as JSON \
             lines",
            out.path.display()
        )));
    }
    let report = Named::flag("--report", options.report.as_ref().map(|report| &report.path));
    let written: Vec<Named<'_>> = [Some(out), report].into_iter().flatten().collect();
    files::check(&[Named { name: LIST, path: &source.path }], &written)?;
    Lines::new(source, &options.out)
}

/// Refuses to write a list without a photo over one that may have some.
fn require_lines(summary: &Summary, source: &Source) -> Result<()> {
    if summary.kept > 0 || !summary.copied.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{}: expected photos that stay, found none: {} of {} cannot be read, {} have no verified \
         pair, {} are in components that are too small; no list is written",
        source.path.display(),
        summary.unreadable.len(),
        summary.photos,
        summary.alone,
        summary.other_components
    )))
}

/// Judges all classes and writes the list: the lines of the photos that stay, and of those of other
/// splits, in the order of the list. Nothing is written before all records are there. Memory is
/// linear in the lines of the list.
///
/// # Errors
/// `Invalid` where results are missing, no photo stays, or `out` is the list itself; `Index` for
/// files that cannot be written.
pub fn commit(
    plan: &Plan,
    source: &Source,
    work: &Path,
    options: &CommitOptions,
) -> Result<Summary> {
    let lines = check_files(source, options)?;
    require_records(plan, work)?;
    let mut summary = Summary::default();
    // Photos of other splits are copied; of the others only those that a class keeps.
    let mut written: Vec<Option<String>> = Vec::new();
    for entry in &source.list.entries {
        let split = entry.split();
        let is_cleaned = plan.splits.iter().any(|cleaned| cleaned == split);
        let line = (!is_cleaned).then(|| lines.line(entry, entry.bbox)).transpose()?;
        written.push(line);
        if !is_cleaned {
            *summary.copied.entry(split.to_owned()).or_default() += 1;
        }
    }
    let report = options.report.clone();
    let mut page = report.map(|options| Page::begin(&source.path, options)).transpose()?;
    for (planned, class) in plan.with_photos(source) {
        let record = Record::read(work, &planned.key, planned.photos).ok_or_else(|| {
            let name = ocelli_text::quoted(&planned.class);
            Error::invalid(format!("{}: the result of {name} has gone", work.display()))
        })?;
        let verdict = judge(&record, &class.entries, &options.keep);
        let names: Vec<String> =
            class.entries.iter().map(|e| source.name(e).display().to_string()).collect();
        summary.add(&record, &verdict, &names);
        for ((fate, entry), place) in verdict.fates.iter().zip(&class.entries).zip(&class.places) {
            let line = match fate {
                Fate::Kept { bbox } => Some(lines.line(entry, *bbox)?),
                _ => None,
            };
            if let Some(written) = written.get_mut(*place) {
                *written = line;
            }
        }
        if let Some(page) = &mut page {
            page.add(&class, &record, &verdict)?;
        }
    }
    require_lines(&summary, source)?;
    write_atomically(&options.out, written.into_iter().flatten().collect::<String>().as_bytes())?;
    if let Some(page) = page {
        page.end(&summary)?;
    }
    Ok(summary)
}
