//! A deduplication from its plan to its files: by one process, or task by task.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::{BuildSeconds, Hash, Hasher, IndexDir, PlanFile, TaskRecord, WorkArea};
use serde_json::Value;

use super::finish::{DedupReport, ResolveFn, committed, finish, remove_marks};
use super::opinion::SecondOpinion;
use super::options::{DedupOptions, Settings};
use super::plan::{make, work_folder};
use super::session::{Session, ended, job_of};
use crate::{Error, ProgressFn, Result};

/// Version of what tasks leave: work of another one is not gone on with.
const JOIN_VERSION: u32 = 3;

/// Finds the pairs of near rows of an index, and hands them on to `resolve`. A run that was stopped
/// goes on where it was.
///
/// # Errors
/// Those of [`plan`], [`task`] and [`commit`].
pub fn dedup(
    options: &DedupOptions,
    opinion: Option<&dyn SecondOpinion>,
    resolve: ResolveFn<'_>,
    progress: ProgressFn<'_>,
) -> Result<DedupReport> {
    let start = Instant::now();
    options.check()?;
    let path = plan_path(options, opinion)?;
    let file = match earlier(&path)? {
        Some(file) => file,
        None => {
            let file = make(options, opinion, progress)?;
            file.write(&path)?;
            file
        }
    };
    let _lock = lock(&path)?.ok_or_else(|| {
        let out = options.out.display();
        Error::Invalid(format!("{out}: another process is at work on the same deduplication"))
    })?;
    let budget_bytes = options.memory_budget_bytes;
    let work = WorkArea::beside(&file.out, file.hash);
    let mut left = Vec::new();
    for task in 0..file.plan.tasks() {
        if ended(&work, task)?.is_none() {
            left.push(task);
        }
    }
    if !left.is_empty() {
        let session = Session::open(file.clone(), options.threads, budget_bytes)?;
        for task in left {
            session.run(task, progress)?;
        }
    }
    let report =
        finish(&path, file, (options.threads, budget_bytes), opinion, (resolve, progress))?;
    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    sweep(&work_folder(&options.out));
    // What could not be removed may be there.
    let _ = fs::remove_dir(work_folder(&options.out));
    Ok(DedupReport { seconds: start.elapsed().as_secs_f64(), ..report })
}

/// The place of the plan of a run by one process: by everything that decides it.
fn plan_path(options: &DedupOptions, opinion: Option<&dyn SecondOpinion>) -> Result<PathBuf> {
    let mut hasher = Hasher::new();
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("look at", path));
    for dir in std::iter::once(&options.index).chain(&options.against) {
        let index = IndexDir::open(dir)?;
        let current = index.current()?.map(|current| current.line()).transpose()?;
        hasher.update(format!("{} {current:?}\n", absolute(dir)?.display()).as_bytes());
    }
    for path in &options.vectors {
        let facts = fs::metadata(path).map_err(Error::io("look at", path))?;
        let time = facts.modified().map_err(Error::io("look at", path))?;
        let path = absolute(path)?;
        hasher.update(format!("{} {} {time:?}\n", path.display(), facts.len()).as_bytes());
    }
    let DedupOptions { threshold, since, nprobe, phash_bits, looks, tasks, after, .. } = options;
    let opinion = opinion.map(SecondOpinion::name);
    let program = format!("{} join {JOIN_VERSION}", env!("CARGO_PKG_VERSION"));
    let rest = format!(
        "{threshold} {since:?} {nprobe:?} {phash_bits} {looks} {tasks} {opinion:?} {after} \
         {program}\n"
    );
    hasher.update(rest.as_bytes());
    let hash: Hash = hasher.finish();
    let folder = work_folder(&options.out);
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    Ok(folder.join(format!("{}.plan", hash.short())))
}

/// The plan of an earlier run that was stopped, if what it has prepared is there.
fn earlier(path: &Path) -> Result<Option<PlanFile>> {
    if !path.exists() {
        return Ok(None);
    }
    let Ok(file) = PlanFile::read(path) else { return Ok(None) };
    let work = WorkArea::beside(&file.out, file.hash);
    let is_there = |name: &String| work.folder().join(name).exists();
    Ok(job_of(&file)?.prepared.keys().all(is_there).then_some(file))
}

/// The plan at `path`, locked for this process as long as the file is open; None if another one has
/// it.
fn lock(path: &Path) -> Result<Option<File>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", path)(e)),
    }
}

/// Removes what runs with other options have left in a folder of work and are not at work any more:
/// the result that they were for is replaced. What cannot be removed stays.
fn sweep(folder: &Path) {
    let plans = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in plans.filter(|path| path.extension().is_some_and(|ending| ending == "plan")) {
        let Ok(file) = PlanFile::read(&path) else { continue };
        let Ok(Some(_lock)) = lock(&path) else { continue };
        let work = WorkArea::beside(&file.out, file.hash);
        remove_marks(&file);
        if work.remove().is_ok() {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Plans a deduplication, and writes the plan to `out`.
///
/// # Errors
/// Options that cannot be satisfied, a threshold that codes cannot tell among them; those of
/// opening; a full disk.
pub fn plan(
    options: &DedupOptions,
    opinion: Option<&dyn SecondOpinion>,
    out: &Path,
    progress: ProgressFn<'_>,
) -> Result<PlanFile> {
    let file = make(options, opinion, progress)?;
    file.write(out)?;
    Ok(file)
}

/// Does one task of the plan in `path`: finds the pairs of its lists. A task that has been done is
/// not done again; of a plan that was committed, nothing is done.
///
/// # Errors
/// A task that the plan does not have; inputs that have changed; damaged files; a full disk.
pub fn task(
    path: &Path,
    task: u32,
    (threads, budget_bytes): (usize, Option<usize>),
    progress: ProgressFn<'_>,
) -> Result<TaskRecord> {
    let file = PlanFile::read(path)?;
    job_of(&file)?;
    let work = WorkArea::beside(&file.out, file.hash);
    if task < file.plan.tasks()
        && let Some(record) = ended(&work, task)?
    {
        return Ok(record);
    }
    if committed(&file)?.is_some() {
        return Ok(TaskRecord {
            plan: file.hash,
            task,
            shard: None,
            ids: None,
            model: None,
            pairs: None,
            stage_seconds: BuildSeconds::default(),
        });
    }
    let budget_bytes = budget_bytes.unwrap_or(file.memory_budget_bytes as usize);
    Session::open(file, threads, budget_bytes)?.run(task, progress)
}

/// Looks at the pairs of the plan in `path`, whose tasks have all ended, and hands them on to
/// `resolve`. A commit that was stopped goes on where it was; a plan that was committed is not
/// committed again.
///
/// # Errors
/// Tasks that have not ended; files that have changed; another second opinion than that of the
/// plan; a full disk.
pub fn commit(
    path: &Path,
    opinion: Option<&dyn SecondOpinion>,
    resolve: ResolveFn<'_>,
    progress: ProgressFn<'_>,
) -> Result<DedupReport> {
    let file = PlanFile::read(path)?;
    if let Some((join, resolved)) = committed(&file)? {
        return Ok(DedupReport { join, compared: 0, resolved, seconds: 0.0 });
    }
    let budget_bytes = file.memory_budget_bytes as usize;
    finish(path, file, (0, budget_bytes), opinion, (resolve, progress))
}

/// What the options of the plan in `path` said of what becomes of its pairs
/// ([`DedupOptions::after`]).
///
/// # Errors
/// A plan of another job.
pub fn after(path: &Path) -> Result<Value> {
    let settings: Settings = job_of(&PlanFile::read(path)?)?.settings.read()?;
    Ok(settings.after)
}
