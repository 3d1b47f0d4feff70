//! The plan of a cleaning, and its tasks.
//!
//! A plan names the list by its bytes, and the work of each class by a hash of all that decides it.
//! Tasks may run in any order, at once, and again: the record of a class has its hash for a name,
//! and one that is there is not made again.

use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::container::write_atomically;
use ocelli_index::{Error as IndexError, Hash, parse_versioned};
use serde::{Deserialize, Serialize};

use crate::clean::class::matched;
use crate::clean::parallel;
use crate::clean::record::{Record, key};
use crate::clean::settings::MatchSettings;
use crate::clean::source::{Class, Source};
use crate::error::{Error, Result};

/// The name of the plan in the work folder.
pub const PLAN_FILE: &str = "plan.json";

/// Version of the file.
const FORMAT: u32 = 1;

/// A class of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedClass {
    /// The name.
    pub class: String,
    /// Photos that are cleaned.
    pub photos: usize,
    /// The hash of all that decides the record.
    pub key: Hash,
}

/// The work of a cleaning, class by class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of the file.
    format: u32,
    /// The version of Ocelli that made the plan.
    pub version: String,
    /// The list.
    pub list: PathBuf,
    /// Hash of the list's bytes.
    pub list_hash: Hash,
    /// Splits that are cleaned.
    pub splits: Vec<String>,
    /// Settings of the matching.
    pub settings: MatchSettings,
    /// The number of tasks.
    pub tasks: u32,
    /// The classes. Task t has those whose place is t modulo the number of tasks.
    pub classes: Vec<PlannedClass>,
}

/// Counts of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TaskReport {
    /// Classes of the task.
    pub classes: usize,
    /// Classes whose record was there already.
    pub found: usize,
}

/// Warns of splits that no photo is in.
fn warn_of_none(source: &Source, splits: &[String]) {
    for split in splits {
        if source.classes(std::slice::from_ref(split)).is_empty() {
            tracing::warn!(split, "--splits has a split that no photo is in");
        }
    }
}

impl Plan {
    /// The plan of cleaning `splits` of a list in up to `tasks` tasks, at least one class each.
    /// Reads the bytes of all photos of these splits, on `threads` threads.
    ///
    /// # Errors
    /// `Invalid` for settings that cannot be, and where no photo is in the splits.
    pub fn of(
        source: &Source,
        splits: &[String],
        settings: &MatchSettings,
        tasks: u32,
        threads: usize,
    ) -> Result<Plan> {
        settings.check()?;
        let classes = source.classes(splits);
        let path = source.path.display();
        if classes.is_empty() {
            let splits = splits.join(", ");
            return Err(Error::invalid(format!(
                "{path}: expected photos of the splits {splits}, found none"
            )));
        }
        warn_of_none(source, splits);
        let planned = parallel::map(classes.len(), threads, |at| {
            let Class { name, entries, .. } = classes.get(at)?;
            let key = key(source, name, entries, settings);
            Some(PlannedClass { class: (*name).to_owned(), photos: entries.len(), key })
        });
        let most = u32::try_from(classes.len()).unwrap_or(u32::MAX);
        Ok(Plan {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            list: source.path.clone(),
            list_hash: source.list.hash,
            splits: splits.to_vec(),
            settings: settings.clone(),
            tasks: tasks.clamp(1, most),
            classes: planned.into_iter().flatten().collect(),
        })
    }

    /// Writes the plan into a work folder, which is made where it is not there.
    ///
    /// # Errors
    /// `Index` for a folder or a file that cannot be written.
    pub fn write(&self, work: &Path) -> Result<()> {
        fs::create_dir_all(work).map_err(|e| IndexError::io(work, "make", e))?;
        let json = serde_json::to_string_pretty(self)
            .map_err(|e| Error::invalid(format!("{}: {e}", work.display())))?;
        Ok(write_atomically(&work.join(PLAN_FILE), format!("{json}\n").as_bytes())?)
    }

    /// Reads the plan of a work folder, and the list that it names.
    ///
    /// # Errors
    /// `Index` for a plan that cannot be read; `Invalid` for one of another version of Ocelli, and
    /// for a list that has changed since.
    pub fn read(work: &Path) -> Result<(Plan, Source)> {
        let path = work.join(PLAN_FILE);
        let json = fs::read(&path).map_err(|e| IndexError::io(&path, "read", e))?;
        let plan: Plan = parse_versioned(&path, &json, FORMAT)?;
        let own = env!("CARGO_PKG_VERSION");
        if plan.version != own {
            return Err(Error::invalid(format!(
                "{}: expected a plan of version {own}, found one of version {}; plan again",
                path.display(),
                plan.version
            )));
        }
        plan.settings.check()?;
        let source = Source::read(&plan.list)?;
        plan.check_list(&source, work)?;
        Ok((plan, source))
    }

    /// Refuses a list that is not the one of the plan, and a plan in `work` that has other classes.
    fn check_list(&self, source: &Source, work: &Path) -> Result<()> {
        if source.list.hash != self.list_hash {
            return Err(Error::invalid(format!(
                "{}: expected the list with the hash {}, found {}; plan again",
                source.path.display(),
                self.list_hash.short(),
                source.list.hash.short()
            )));
        }
        let listed = source.classes(&self.splits);
        let is_same = |(planned, class): (&PlannedClass, &Class<'_>)| {
            planned.class == class.name && planned.photos == class.entries.len()
        };
        let same = self.classes.iter().zip(&listed).all(is_same);
        if same && self.classes.len() == listed.len() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{}: expected a plan with the {} classes of {} and all of their photos, found {} \
             classes; plan again",
            work.join(PLAN_FILE).display(),
            listed.len(),
            source.path.display(),
            self.classes.len()
        )))
    }

    /// The classes with their photos.
    #[must_use]
    pub fn with_photos<'a>(&'a self, source: &'a Source) -> Vec<(&'a PlannedClass, Class<'a>)> {
        self.classes.iter().zip(source.classes(&self.splits)).collect()
    }

    /// Makes the records of a task that are not there yet, on `threads` threads. The result depends
    /// neither on them nor on the tasks.
    ///
    /// # Errors
    /// `Index` for a record that cannot be written, `Invalid` for photos that have changed since
    /// the plan was made.
    pub fn run_task(
        &self,
        source: &Source,
        work: &Path,
        task: u32,
        threads: usize,
    ) -> Result<TaskReport> {
        let mut report = TaskReport::default();
        let all = self.with_photos(source).into_iter();
        for (planned, class) in all.skip(task as usize).step_by(self.tasks.max(1) as usize) {
            report.classes += 1;
            if Record::read(work, &planned.key, planned.photos).is_some() {
                report.found += 1;
                continue;
            }
            let record = matched(&class.entries, planned.key, &self.settings, threads);
            // Also of photos that were written while they were matched.
            if key(source, class.name, &class.entries, &self.settings) != planned.key {
                return Err(Error::invalid(format!(
                    "{}: class {}: expected the photos that the plan has seen, found others; plan \
                     again",
                    source.path.display(),
                    ocelli_text::quoted(class.name)
                )));
            }
            let record = record.write(work)?;
            tracing::info!(
                class = class.name,
                photos = record.photos.len(),
                compared = record.compared,
                verified = record.pairs.len(),
                "a class is matched"
            );
        }
        Ok(report)
    }
}
