//! Tasks of a planned build: one shard each.

use std::sync::Arc;

use ocelli_index::{
    BuildJob, BuildSeconds, BuildTimes, Hash, IndexDir, Job, Model, Plan, RowEncoder, ShardBuilder,
    ShardEntry, Spill, TaskRecord, WorkArea,
};

use super::encode::ShardEncoder;
use super::options::BuildOptions;
use super::source::{Source, count_rows};
use crate::dba::Neighbours;
use crate::memory::Memory;
use crate::threads::pool;
use crate::{Error, ProgressFn, Result};

/// The build of a plan.
///
/// # Errors
/// A plan of another job.
pub(crate) fn job_of(plan: &Plan) -> Result<&BuildJob> {
    match &plan.job {
        Job::Build(job) => Ok(job),
        _ => Err(Error::Invalid(format!(
            "expected the plan of a build, found one of {}: ocelli {} --plan",
            plan.kind(),
            plan.kind()
        ))),
    }
}

/// The newest generation that has the shards of a plan, and these shards. Only generations behind
/// the one that the plan was made for count: an earlier one may be that of an equal build.
///
/// # Errors
/// Those of reading generations.
pub(crate) fn generation_of(
    index: &IndexDir,
    plan: &Hash,
    parent: Option<u64>,
) -> Result<Option<(u64, Vec<ShardEntry>)>> {
    for number in index.generations()?.into_iter().rev() {
        if Some(number) <= parent {
            break;
        }
        let mut shards = index.generation(number)?.shards;
        shards.retain(|shard| shard.plan == *plan);
        if !shards.is_empty() {
            return Ok(Some((number, shards)));
        }
    }
    Ok(None)
}

/// Runs tasks of one plan.
pub(crate) struct Tasks<'a> {
    sources: &'a [Source<'a>],
    model: &'a Model,
    index: &'a IndexDir,
    hash: Hash,
    job: &'a BuildJob,
    work: WorkArea,
    memory: Memory,
    pool: rayon::ThreadPool,
    encoder: RowEncoder<'a>,
    times: Arc<BuildTimes>,
}

impl<'a> Tasks<'a> {
    /// Tasks of a plan, by its hash and its job, whose inputs are `sources`. Of the options,
    /// threads and memory count. Their time is added to `times`.
    ///
    /// # Errors
    /// A memory budget that is too small, with the smallest that works.
    pub(crate) fn new(
        sources: &'a [Source<'a>],
        model: &'a Model,
        index: &'a IndexDir,
        (hash, job): (Hash, &'a BuildJob),
        options: &BuildOptions,
        times: &Arc<BuildTimes>,
    ) -> Result<Self> {
        let pool = pool(options.threads)?;
        let encoder = RowEncoder::new(model);
        let memory = options.memory(model, count_rows(sources))?;
        let work = WorkArea::new(index.root(), hash);
        let times = Arc::clone(times);
        Ok(Self { sources, model, index, hash, job, work, memory, pool, encoder, times })
    }

    /// Builds the shard of a task, unless that has been done, and leaves its record.
    ///
    /// # Errors
    /// Those of reading, encoding and writing. What was sorted so far is used by the next attempt.
    pub(crate) fn run(
        &self,
        task: u32,
        neighbours: Option<&Neighbours>,
        progress: ProgressFn<'_>,
    ) -> Result<TaskRecord> {
        if let Some(record) = self.work.ended(task, self.index)? {
            self.work.remove_runs(task)?;
            return Ok(record);
        }
        self.work.create()?;
        match self.build(task, neighbours, progress) {
            Ok(record) => Ok(record),
            // Another process that did the same task has ended it, and took the runs away.
            Err(error) => self.work.ended(task, self.index)?.ok_or(error),
        }
    }

    fn build(
        &self,
        task: u32,
        neighbours: Option<&Neighbours>,
        progress: ProgressFn<'_>,
    ) -> Result<TaskRecord> {
        let range = self.job.shards[task as usize].clone();
        let before = self.times.seconds();
        let mut record = TaskRecord {
            plan: self.hash,
            task,
            shard: None,
            ids: None,
            model: None,
            pairs: None,
            stage_seconds: BuildSeconds::default(),
        };
        // A shard has rows.
        if self.job.kept(&range) > 0 {
            let mut builder = self.builder(task)?;
            let encoder = ShardEncoder {
                sources: self.sources,
                model: self.model,
                encoder: &self.encoder,
                job: self.job,
                neighbours,
                block_rows: self.memory.block_rows,
                name_bytes: self.memory.name_bytes(),
                times: &self.times,
                progress,
            };
            record.shard = Some(self.pool.install(|| {
                encoder.shard(&mut builder, range)?;
                record.ids = builder.ids();
                Ok::<_, Error>(self.index.put_shard(builder, self.hash, task)?)
            })?);
        }
        record.stage_seconds = self.times.seconds().since(&before);
        self.work.end_task(&record)?;
        Ok(record)
    }

    fn builder(&self, task: u32) -> Result<ShardBuilder<'a>> {
        let times = Arc::clone(&self.times);
        let Some(budget_bytes) = self.memory.sort_bytes else {
            return Ok(ShardBuilder::new(self.model).timed(times));
        };
        let spill = Spill {
            folder: self.work.runs(task),
            name: format!("{} {task}", self.hash),
            budget_bytes,
            beside_bytes: self.memory.beside_bytes,
        };
        Ok(ShardBuilder::bounded(self.model, spill)?.timed(times))
    }
}
