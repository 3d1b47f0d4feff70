//! Files that nobody needs any more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelli_index::{
    ERASED, FOLDERS, GarbageObject, Hash, IndexDir, Keep, TaskRecord, WorkArea, container,
};
use serde::Serialize;

use crate::{Error, Result};

/// Time after which a plan is given up that nobody has worked on: it may wait in a queue for days.
pub(super) const PLAN_AGE: Duration = Duration::from_hours(7 * 24);

/// Options of [`gc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// The newest generations that stay besides the current one.
    pub keep_generations: usize,
    /// The age in seconds below which a file stays that no generation names.
    pub min_age_s: u64,
    /// The age in seconds from which a plan is given up that nobody has worked on since.
    pub plan_age_s: u64,
    /// Files are removed; else they are only named.
    pub remove: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self {
            keep_generations: 2,
            min_age_s: 24 * 3600,
            plan_age_s: PLAN_AGE.as_secs(),
            remove: false,
        }
    }
}

/// A file that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GcFile {
    /// Name in the index directory.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A plan that was not committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GcPlan {
    /// Hash of the plan.
    pub plan: String,
    /// Kind of the plan; none for a build or compaction without a plan, and for plans of other
    /// versions.
    pub kind: Option<String>,
    /// Number of its tasks, where that is known.
    pub tasks: Option<u32>,
    /// Tasks that have ended.
    pub ended: u32,
    /// Seconds since something was done for it.
    pub idle_s: u64,
    /// Whether it is given up: the records of its tasks go, and their shards are judged as others.
    pub given_up: bool,
}

/// The result of [`gc`].
#[derive(Clone, Debug, Serialize)]
pub struct GcReport {
    /// The index directory.
    pub index: PathBuf,
    /// Whether the files were removed.
    pub removed: bool,
    /// Generations that stay.
    pub kept: Vec<u64>,
    /// Generations that go.
    pub dropped: Vec<u64>,
    /// Files that go.
    pub files: Vec<GcFile>,
    /// Bytes of these files.
    pub bytes: u64,
    /// Files that no generation names and that are too young to go.
    pub young: Vec<GcFile>,
    /// Plans that were not committed. Models and shards of those that are not given up stay.
    pub plans: Vec<GcPlan>,
}

/// Finds the files of the index at `dir` that nobody needs, and removes them if
/// [`GcOptions::remove`]. The current generation stays, some before it, what they name, and what
/// builds under way need.
///
/// # Errors
/// An index without a current generation, or with a generation or a record of a task that cannot be
/// read: nothing is removed then.
pub fn gc(dir: &Path, options: &GcOptions) -> Result<GcReport> {
    let index = IndexDir::open(dir)?;
    let alone = index.alone()?;
    let mut keep = Keep {
        generations: options.keep_generations,
        min_age: Duration::from_secs(options.min_age_s),
        ..Keep::default()
    };
    let mut plans = Vec::new();
    for work in works(dir)? {
        plans.push(look_at(&work, options, &mut keep)?);
    }
    plans.sort_by(|a, b| a.plan.cmp(&b.plan));
    let garbage = index.collect_garbage(&alone, &keep, options.remove)?;
    if options.remove {
        for plan in plans.iter().filter(|plan| plan.given_up) {
            remove_plan(&dir.join("work").join(&plan.plan))?;
        }
        // Only if no plan is left.
        let _ = fs::remove_dir(dir.join("work"));
        // What killed writers left has no name to be judged by.
        for folder in FOLDERS.into_iter().chain([ERASED]) {
            container::sweep(&dir.join(folder));
        }
        container::sweep(dir);
    }
    let files = |of: Vec<GarbageObject>| -> Vec<GcFile> {
        of.into_iter().map(|GarbageObject { name, bytes }| GcFile { name, bytes }).collect()
    };
    let (gone, young) = (files(garbage.objects), files(garbage.young));
    Ok(GcReport {
        index: dir.to_owned(),
        removed: options.remove,
        kept: garbage.kept,
        dropped: garbage.dropped,
        bytes: gone.iter().map(|file| file.bytes).sum(),
        files: gone,
        young,
        plans,
    })
}

/// The places of the work of plans. What else lies beside them is none of theirs.
pub(super) fn works(dir: &Path) -> Result<Vec<WorkArea>> {
    let folders = entries(&dir.join("work"))?.into_iter().filter(|folder| folder.is_dir());
    let plan = |folder: PathBuf| folder.file_name()?.to_str()?.parse::<Hash>().ok();
    Ok(folders.filter_map(plan).map(|plan| WorkArea::new(dir, plan)).collect())
}

/// The plan whose work is in a place. Unless it is given up, what it needs is added to `keep`.
fn look_at(work: &WorkArea, options: &GcOptions, keep: &mut Keep) -> Result<GcPlan> {
    let folder = work.folder();
    let idle_s = idle(folder).as_secs();
    let mark = work.mark();
    let mut plan = GcPlan {
        plan: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        kind: mark.as_ref().map(|mark| mark.kind.clone()),
        tasks: mark.as_ref().map(|mark| mark.tasks),
        ended: 0,
        idle_s,
        given_up: idle_s >= options.plan_age_s,
    };
    let mut shards = Vec::new();
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Other files of plans name no shards.
        if !name.starts_with("task-") || !name.ends_with(".json") {
            continue;
        }
        plan.ended += 1;
        // What goes need not be understood.
        if plan.given_up {
            continue;
        }
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(Error::io("read", &path))?,
        };
        let record = TaskRecord::read(&path, &bytes).map_err(|error| {
            Error::Invalid(format!(
                "{error}; nothing was removed: commit the plan, or remove its folder if nobody \
                 works on it"
            ))
        })?;
        shards.extend(record.shard.map(|shard| shard.name));
    }
    if !plan.given_up {
        keep.models = true;
        keep.shards.extend(shards);
        keep.planned.extend(mark.and_then(|mark| mark.parent));
    }
    Ok(plan)
}

/// Time since something was written to a file, or anywhere in a folder; none by a clock that went
/// back, and where somebody works there or a look fails.
pub(super) fn idle(path: &Path) -> Duration {
    let look = || -> io::Result<Duration> {
        let facts = fs::symlink_metadata(path)?;
        let mut least = facts.modified()?.elapsed().unwrap_or_default();
        if facts.is_dir() {
            for entry in fs::read_dir(path)? {
                least = least.min(idle(&entry?.path()));
            }
        }
        Ok(least)
    };
    look().unwrap_or_default()
}

/// Removes the work of a plan that is given up.
fn remove_plan(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", folder)(e)),
        _ => Ok(()),
    }
}

/// What is in a folder; nothing if there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = match fs::read_dir(folder) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        found => found.map_err(Error::io("list", folder))?,
    };
    found.map(|entry| Ok(entry.map_err(Error::io("list", folder))?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cannot be looked at counts as used.
    #[test]
    fn time_of_idleness_is_that_since_the_last_write() {
        let dir = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - PLAN_AGE;
        let age = |path: &Path| fs::File::open(path).unwrap().set_modified(old).unwrap();
        assert_eq!(idle(&dir.path().join("none")), Duration::ZERO);
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), "").unwrap();
        age(&dir.path().join("a"));
        age(dir.path());
        assert!(idle(dir.path()) < PLAN_AGE);
        age(&dir.path().join("a/b"));
        assert!(idle(dir.path()) >= PLAN_AGE);
    }
}
