//! A planned deduplication, opened: its tasks share all that they read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ocelli_index::{
    BuildSeconds, DedupJob, IndexDir, Job, JoinPlan, MadePairs, PlanFile, Scratch, Snapshot,
    TaskRecord, WorkArea,
};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use super::budget::{Shares, divide};
use super::edge_file;
use super::join::{BELOW, Below, Join};
use super::label::Labels;
use super::looks::Looker;
use super::opinion::SecondOpinion;
use super::options::Settings;
use super::row_set::RowSet;
use super::score::Scorer;
use super::vectors::Vectors;
use crate::build::OpenSource;
use crate::sort::{SortMemory, Sorter};
use crate::threads::pool;
use crate::{Error, ProgressFn, Result};

/// Names of the files that the planner leaves in the place of the plan's work.
pub(super) const LEFT_OUT: &str = "left-out";
pub(super) const GROUPS: &str = "groups";
pub(super) const PLACES: &str = "places";
/// Names of the other files of a plan: the index directories.
pub(super) const INDEX: &str = "index";
pub(super) const AGAINST: &str = "against";

/// The deduplication that a plan is of.
///
/// # Errors
/// A plan of another job.
pub(super) fn job_of(file: &PlanFile) -> Result<&DedupJob> {
    match &file.plan.job {
        Job::Dedup(job) => Ok(job),
        _ => Err(Error::Invalid(format!(
            "expected the plan of a deduplication, found one of {0}: ocelli {0} --plan",
            file.plan.kind()
        ))),
    }
}

/// The rows of a plan, as they were when it was made.
///
/// # Errors
/// Those of opening; rows that are others by now.
pub(super) fn open_rows(file: &PlanFile) -> Result<RowSet> {
    let job = job_of(file)?;
    let settings: Settings = job.settings.read()?;
    let place = |name: &str| {
        let path = file.places.get(name);
        path.ok_or_else(|| Error::Invalid(format!("the plan names no place of its {name}")))
    };
    let index = IndexDir::open(place(INDEX)?)?;
    let other = job.against.as_ref().map(|_| Ok::<_, Error>(IndexDir::open(place(AGAINST)?)?));
    let other = other.transpose()?;
    let against = other.as_ref().zip(job.against.as_ref());
    let against = against.map(|(dir, planned)| (dir, Some(planned.generation)));
    let rows = RowSet::open((&index, Some(job.index.generation)), against, settings.since)?;
    if rows.sources() == (job.index.clone(), job.against.clone()) {
        return Ok(rows);
    }
    Err(Error::Invalid(format!(
        "generation {} of {} has other rows than when the plan was made: plan again",
        job.index.generation,
        index.root().display()
    )))
}

/// A plan's rows, and what their pairs are scored and labelled by.
pub(super) struct Opened {
    pub(super) file: PlanFile,
    pub(super) job: DedupJob,
    pub(super) settings: Settings,
    pub(super) work: WorkArea,
    pub(super) rows: RowSet,
    vectors: Option<Vectors>,
    shares: Shares,
}

/// What tasks of one plan share.
pub(super) struct Session {
    opened: Opened,
    joined: Snapshot,
    lists: JoinPlan,
    pool: rayon::ThreadPool,
}

impl Opened {
    /// Opens what the plan `file` names.
    ///
    /// # Errors
    /// Files that are not there or have changed; a budget that is too small.
    pub(super) fn new(file: PlanFile, threads: usize, budget_bytes: usize) -> Result<Self> {
        let job = job_of(&file)?.clone();
        let settings: Settings = job.settings.read()?;
        let rows = open_rows(&file)?;
        let shares = divide(&rows, settings.nprobe, threads, budget_bytes)?;
        let work = WorkArea::beside(&file.out, file.hash);
        let vectors = match (prepared(&job, &work, PLACES)?, job.prepared.get(PLACES)) {
            (Some(path), Some(hash)) => {
                if file.inputs.len() != job.vectors.len() {
                    return Err(Error::Invalid(format!(
                        "the plan names {} files for {} inputs",
                        file.inputs.len(),
                        job.vectors.len()
                    )));
                }
                let inputs = file.inputs.iter().zip(&job.vectors);
                let open = |(path, input): (&PathBuf, _)| OpenSource::planned(path, input);
                let sources = inputs.map(open).collect::<Result<_>>()?;
                Some(Vectors::open(&rows, sources, &path, hash, shares.table_bytes)?)
            }
            _ => None,
        };
        Ok(Self { file, job, settings, work, rows, vectors, shares })
    }

    /// What scores pairs of the rows.
    pub(super) fn scorer(&self) -> Scorer<'_> {
        Scorer { rows: &self.rows, vectors: self.vectors.as_ref() }
    }

    /// What labels pairs of the rows.
    ///
    /// # Errors
    /// Shards that disagree about columns.
    pub(super) fn labels(&self) -> Result<Labels<'_>> {
        Labels::new(&self.rows, self.settings.phash_bits)
    }

    /// What looks at pairs of the rows, if the plan wants that.
    ///
    /// # Errors
    /// Another second opinion than that of the plan; shards that disagree about columns.
    pub(super) fn looker<'a>(
        &'a self,
        opinion: Option<&'a dyn SecondOpinion>,
    ) -> Result<Option<Looker<'a>>> {
        let (expected, found) = (&self.settings.opinion, opinion.map(SecondOpinion::name));
        if *expected != found {
            let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "none".to_owned());
            return Err(Error::Invalid(format!(
                "second opinion: expected that of the plan, {}, found {}",
                name(expected),
                name(&found)
            )));
        }
        opinion.map(|opinion| Looker::new(&self.rows, opinion)).transpose()
    }

    /// Memory to sort in, and the folder for what does not fit.
    pub(super) fn sort_memory(&self) -> Option<SortMemory> {
        let folder = self.work.folder().to_owned();
        self.shares.sort_bytes.map(|bytes| SortMemory { bytes, folder })
    }
}

impl Session {
    /// Opens everything that tasks of the plan `file` need.
    ///
    /// # Errors
    /// Those of [`Opened::new`].
    pub(super) fn open(file: PlanFile, threads: usize, budget_bytes: usize) -> Result<Self> {
        let opened = Opened::new(file, threads, budget_bytes)?;
        let left_out = match prepared(&opened.job, &opened.work, LEFT_OUT)? {
            Some(path) => read_left_out(&path)?,
            None => Vec::new(),
        };
        let joined = opened.rows.all().beside(None, &left_out)?;
        let nprobe = opened.settings.nprobe;
        let lists = joined.join_plan(nprobe, None, &mut Scratch::default())?;
        let lists = if opened.rows.has_sides() { lists.both_ways() } else { lists };
        Ok(Self { opened, joined, lists, pool: pool(threads)? })
    }

    /// The record of a task that has ended, if its file is there.
    ///
    /// # Errors
    /// Those of reading the record.
    pub(super) fn ended(&self, task: u32) -> Result<Option<TaskRecord>> {
        ended(&self.opened.work, task)
    }

    /// Does a task, unless that has been done, and leaves its record.
    ///
    /// # Errors
    /// Damaged files; a full disk.
    pub(super) fn run(&self, task: u32, progress: ProgressFn<'_>) -> Result<TaskRecord> {
        if let Some(record) = self.ended(task)? {
            return Ok(record);
        }
        let Opened { job, settings, work, shares, .. } = &self.opened;
        let Some(lists) = job.lists.get(task as usize) else {
            return Err(Error::Invalid(format!(
                "task {task}: expected 0 to {}",
                job.lists.len().saturating_sub(1)
            )));
        };
        work.create()?;
        let (scorer, labels) = (self.opened.scorer(), self.opened.labels()?);
        let below = Mutex::new(Below::new(BELOW));
        let join = Join {
            joined: &self.joined,
            plan: &self.lists,
            scorer: &scorer,
            labels: &labels,
            threshold: Settings::number(&settings.threshold)?,
            limits: settings.code_limits()?,
            block_pairs: shares.block_pairs,
            below: &below,
        };
        let edges = Mutex::new(Sorter::new(self.opened.sort_memory()));
        let counts = join.run(lists.clone(), &self.pool, &edges, progress)?;
        let name = format!("pairs-{task:05}");
        let path = work.folder().join(&name);
        let facts = self.pool.install(|| edge_file::write_sorted(&path, edges.into_inner()))?;
        let pairs = MadePairs {
            name,
            sha256: facts.sha256,
            pairs: facts.edges - counts.below,
            candidates: counts.candidates,
            compared: counts.compared,
        };
        let record = TaskRecord {
            plan: self.opened.file.hash,
            task,
            shard: None,
            ids: None,
            model: None,
            pairs: Some(pairs),
            stage_seconds: BuildSeconds::default(),
        };
        work.end_task(&record)?;
        Ok(record)
    }
}

/// A file that the planner has left, whose hash is looked at; none if there is no such file.
fn prepared(job: &DedupJob, work: &WorkArea, name: &str) -> Result<Option<PathBuf>> {
    let Some(hash) = job.prepared.get(name) else { return Ok(None) };
    let path = work.folder().join(name);
    edge_file::require_hash(&path, hash)?;
    Ok(Some(path))
}

/// The record of a task that has ended, if its file is there.
///
/// # Errors
/// Those of reading the record.
pub(super) fn ended(work: &WorkArea, task: u32) -> Result<Option<TaskRecord>> {
    let Some(record) = work.record(task)? else { return Ok(None) };
    let is_there = record.pairs.as_ref().is_some_and(|p| work.folder().join(&p.name).exists());
    Ok(is_there.then_some(record))
}

/// Bytes of the rows of each shard that others stand for.
///
/// # Errors
/// None but those of writing to memory.
pub(super) fn left_out_bytes(left_out: &[RoaringBitmap]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for rows in left_out {
        bytes.extend((rows.serialized_size() as u64).to_le_bytes());
        rows.serialize_into(&mut bytes).map_err(Error::io("write", Path::new(LEFT_OUT)))?;
    }
    Ok(bytes)
}

fn read_left_out(path: &Path) -> Result<Vec<RoaringBitmap>> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let wrong = || Error::File { path: path.to_owned(), what: "no sets of rows".to_owned() };
    let (mut rest, mut left_out) = (bytes.as_slice(), Vec::new());
    while let Some((len, tail)) = rest.split_first_chunk::<8>() {
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| wrong())?;
        let (set, tail) = tail.split_at_checked(len).ok_or_else(wrong)?;
        left_out.push(RoaringBitmap::deserialize_from(set).map_err(|_| wrong())?);
        rest = tail;
    }
    if rest.is_empty() { Ok(left_out) } else { Err(wrong()) }
}

/// Sums of what tasks have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) candidates: u64,
    pub(super) compared: u64,
}

/// The files of the edges of a plan, whose hashes were looked at, and what the tasks have done.
///
/// # Errors
/// Tasks that have not ended; files that have changed.
pub(super) fn edge_files(path: &Path, file: &PlanFile) -> Result<(Vec<PathBuf>, Sums)> {
    let work = WorkArea::beside(&file.out, file.hash);
    let (mut files, mut sums, mut missing) = (BTreeMap::new(), Sums::default(), Vec::new());
    let groups = job_of(file)?.prepared.get(GROUPS);
    files.extend(groups.map(|hash| (work.folder().join(GROUPS), *hash)));
    for task in 0..file.plan.tasks() {
        match ended(&work, task)?.and_then(|record| record.pairs) {
            None => missing.push(task),
            Some(pairs) => {
                sums.candidates += pairs.candidates;
                sums.compared += pairs.compared;
                files.insert(work.folder().join(&pairs.name), pairs.sha256);
            }
        }
    }
    if !missing.is_empty() {
        return Err(file.missing(path, &missing).into());
    }
    for (path, hash) in &files {
        edge_file::require_hash(path, hash)?;
    }
    Ok((files.into_keys().collect(), sums))
}
