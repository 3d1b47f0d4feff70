//! Compactions by plan: one task for each group of shards.

use std::path::Path;
use std::time::Instant;

use ocelli_index::{
    BuildSeconds, CompactJob, Estimate, Generation, Hash, IndexDir, Job, Model, PlanFile,
    ShardEntry, Snapshot, TaskRecord, WorkArea,
};

use super::commit::{Built, CommitReport, records};
use super::make::PlanReport;
use super::task::{TaskOptions, TaskReport, no_such_task};
use crate::lifecycle::change::{Change, commit_by, hold_current};
use crate::lifecycle::compact::{CompactOptions, CompactReport, Merging};
use crate::lifecycle::compact::{groups, plan_of, sources_of};
use crate::memory::{Memory, keep_to};
use crate::{Error, Progress, ProgressFn, Result};

/// Plans a compaction of the index at `dir`, and writes the plan to `out`.
///
/// # Errors
/// An index without a generation, or one with nothing to compact.
pub fn plan_compact(dir: &Path, options: &CompactOptions, out: &Path) -> Result<PlanReport> {
    let (index, current, _held) = hold_current(dir)?;
    let model = Model::open(&index.model_path(&current.model)?)?;
    Memory::to_copy(options.memory_budget_bytes, &model)?;
    let groups = groups(&index, &current, options)?;
    if groups.is_empty() {
        return Err(Error::Invalid(format!(
            "{}: nothing to compact: {} shards, few of them small, with few deleted rows",
            dir.display(),
            current.shards.len()
        )));
    }
    let sizes = groups.iter().map(|group| {
        let shards = group.iter().map(|&i| &current.shards[i]);
        shards.fold((0, 0), |(rows, bytes), shard| (rows + shard.rows, bytes + shard.bytes))
    });
    let (rows, bytes) =
        sizes.clone().fold((0, 0), |(rows, bytes), size| (rows + size.0, bytes + size.1));
    let dir = std::path::absolute(dir).map_err(Error::io("look at", dir))?;
    let mut file = PlanFile::new(plan_of(&current, &groups), Vec::new(), &dir)?;
    file.parent = Some(current.number);
    file.memory_budget_bytes = options.memory_budget_bytes as u64;
    let budget = options.memory_budget_bytes as u64;
    let largest = sizes.map(|size| size.1).max().unwrap_or(0);
    file.estimate = Estimate {
        disk_bytes: bytes,
        work_bytes: if budget > 0 { 2 * largest } else { 0 },
        memory_bytes: if budget > 0 { budget } else { 2 * largest },
        // Read and written once, at a few hundred MB a second.
        seconds: (bytes / 100_000_000).max(1),
    };
    WorkArea::new(index.root(), file.hash).begin(&file)?;
    file.write(out)?;
    Ok(PlanReport::new(out, &file, rows))
}

fn job_of(file: &PlanFile) -> Result<&CompactJob> {
    match &file.plan.job {
        Job::Compact(job) => Ok(job),
        _ => Err(Error::Invalid(format!(
            "expected the plan of a compaction, found one of {0}: ocelli {0} --plan",
            file.plan.kind()
        ))),
    }
}

/// Merges the shards of group number `task` of the plan in `path` into one, which is published
/// under a name that its content gives. A task that has been done is not done again.
///
/// # Errors
/// Damaged shards; shards that the directory no longer has.
pub fn compact_task(
    path: &Path,
    task: u32,
    options: &TaskOptions,
    progress: ProgressFn<'_>,
) -> Result<TaskReport> {
    let start = Instant::now();
    let file = PlanFile::read(path)?;
    let job = job_of(&file)?;
    let Some(names) = job.groups.get(task as usize) else {
        return Err(no_such_task(task, &file));
    };
    let report = |shard| TaskReport::new(path, task, &file, shard, start);
    let index = IndexDir::open(&file.out)?;
    let work = WorkArea::new(index.root(), file.hash);
    if let Some(record) = work.ended(task, &index)? {
        work.remove_runs(task)?;
        return Ok(report(record.shard));
    }
    // The commit removes what tasks have left.
    let current = current(&index)?;
    if is_done(&index, &current, &file, names)? {
        let shards = made_by(&current, &file.hash);
        return Ok(report(shards.into_iter().find(|shard| shard.task == task).cloned()));
    }
    let generation = index.generation(job.generation)?;
    let sources = sources_of(&generation, names)?;
    let snapshot = Snapshot::open_candidate(&index, &generation)?;
    let budget = options.memory_budget_bytes.unwrap_or(file.memory_budget_bytes as usize);
    let memory = Memory::to_copy(budget, snapshot.model())?;
    let _limit = memory.limit();
    let total = sources.iter().map(|source| source.entry.rows).sum();
    let merging = Merging {
        index: &index,
        snapshot: &snapshot,
        task: (file.hash, task),
        memory,
        tell: &|done| progress(Progress { stage: "compact", done, total }),
    };
    let shard = merging.merge(&sources, &mut CompactReport::default())?;
    work.end_task(&TaskRecord {
        plan: file.hash,
        task,
        shard: shard.clone(),
        ids: None,
        model: None,
        pairs: None,
        stage_seconds: BuildSeconds::default(),
    })?;
    Ok(report(shard))
}

/// Puts the merged shards of the plan in `path` in the place of those that they were made of, each
/// group by a change of its own. What was deleted meanwhile stays deleted. A group that was
/// committed is not committed again.
///
/// # Errors
/// A task that has not ended; shards that another compaction has merged meanwhile.
pub fn commit_compaction(path: &Path) -> Result<CommitReport> {
    let file = PlanFile::read(path)?;
    let job = job_of(&file)?;
    let _limit = keep_to(file.memory_budget_bytes as usize, 0, "the commit")?;
    let index = IndexDir::open(&file.out)?;
    let work = WorkArea::new(index.root(), file.hash);
    let mut left = Vec::new();
    for (names, task) in job.groups.iter().zip(0..) {
        if !is_done(&index, &current(&index)?, &file, names)? {
            left.push((names, task));
        }
    }
    if !left.is_empty() {
        let records = records(path, &index, &work, &file, left.iter().map(|&(_, task)| task))?;
        let planned = index.generation(job.generation)?;
        for ((names, _), record) in left.iter().zip(records) {
            // Another process may commit too.
            if is_done(&index, &current(&index)?, &file, names)? {
                continue;
            }
            let sources = sources_of(&planned, names)?;
            let change = Change::Compact { sources, shards: record.shard.into_iter().collect() };
            index.commit_change(&change, &commit_by("compact", &settings_of(&file, names)))?;
        }
    }
    work.remove()?;
    let current = current(&index)?;
    let built = Built::of(made_by(&current, &file.hash));
    CommitReport::new(&index, &current, built, left.is_empty())
}

fn current(index: &IndexDir) -> Result<Generation> {
    let current = index.current()?;
    current.ok_or_else(|| Error::Invalid("an index without a generation".to_owned()))
}

/// The settings that the commit of a group leaves in its generation.
fn settings_of(file: &PlanFile, names: &[String]) -> [(&'static str, String); 2] {
    [("plan", file.hash.to_string()), ("shards", names.join(" "))]
}

/// Whether a group of a plan was committed: `current` has none of its shards any more. A plan whose
/// mark is gone was committed or given up.
///
/// # Errors
/// Shards that somebody else took out of the index, before the plan was committed.
fn is_done(
    index: &IndexDir,
    current: &Generation,
    file: &PlanFile,
    names: &[String],
) -> Result<bool> {
    if names.iter().any(|name| current.shard(name).is_some()) {
        return Ok(false);
    }
    if WorkArea::new(index.root(), file.hash).mark().is_none() {
        return Ok(true);
    }
    let settings = settings_of(file, names);
    let made = |generation: &Generation| {
        let said = generation.made_by.as_ref().map(|made| &made.settings);
        said.is_some_and(|said| settings.iter().all(|(key, value)| said.get(*key) == Some(value)))
    };
    for number in index.generations()?.into_iter().rev() {
        if Some(number) <= file.parent {
            break;
        }
        if made(&index.generation(number)?) {
            return Ok(true);
        }
    }
    Err(Error::Index(ocelli_index::Error::Conflict {
        what: format!(
            "{}: expected shard {} in generation {}, found none: another compaction or a rebuild \
             took its place; nothing was changed: plan the compaction again",
            index.root().display(),
            names.first().map_or("", String::as_str),
            current.number
        ),
    }))
}

/// The shards of a generation that a plan has made.
fn made_by<'g>(generation: &'g Generation, plan: &Hash) -> Vec<&'g ShardEntry> {
    generation.shards.iter().filter(|shard| shard.plan == *plan).collect()
}
