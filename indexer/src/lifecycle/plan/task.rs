//! Does one task of a plan.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ocelli_index::{
    BuildJob, BuildSeconds, FileTrouble, Hash, IndexDir, Model, Part, PlanFile, PlanInput,
    ShardEntry,
};
use serde::Serialize;

use crate::build::{
    BuildOptions, OnDuplicate, OpenSource, Source, Tasks, check_input, count_rows, generation_of,
    job_of,
};
use crate::{Error, ProgressFn, Result};

/// Options of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskOptions {
    /// Threads that encode; 0: one per core. The result does not depend on it.
    pub threads: usize,
    /// Memory that the task may take, in bytes, in place of what the plan says.
    pub memory_budget_bytes: Option<usize>,
}

/// Report of a task.
#[derive(Clone, Debug, Serialize)]
pub struct TaskReport {
    /// The plan's file.
    pub plan: PathBuf,
    /// The task's number.
    pub task: u32,
    /// Tasks of the plan.
    pub tasks: u32,
    /// Name of the shard; none if all of its rows are left out, or the task makes none.
    pub shard: Option<String>,
    /// Hash of the model, if the task makes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Hash>,
    /// Pairs of near rows, if the task looks for such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<u64>,
    /// Rows of the shard.
    pub rows: u64,
    /// Bytes of the shard, or of the model.
    pub bytes: u64,
    /// Processor seconds of each stage, summed over threads: of the attempt that ended the task,
    /// be it this one or an earlier one. Not measured for compactions.
    #[serde(skip_serializing_if = "BuildSeconds::is_empty")]
    pub stage_seconds: BuildSeconds,
    /// Wall time.
    pub seconds: f64,
}

impl TaskReport {
    /// The report of a task of the plan `file` in `path` that began at `start`.
    pub(super) fn new(
        path: &Path,
        task: u32,
        file: &PlanFile,
        shard: Option<ShardEntry>,
        start: Instant,
    ) -> Self {
        Self {
            plan: path.to_owned(),
            task,
            tasks: file.plan.tasks(),
            rows: shard.as_ref().map_or(0, |shard| shard.rows),
            bytes: shard.as_ref().map_or(0, |shard| shard.bytes),
            shard: shard.map(|shard| shard.name),
            model: None,
            pairs: None,
            stage_seconds: BuildSeconds::default(),
            seconds: start.elapsed().as_secs_f64(),
        }
    }
}

/// The error of a task that a plan does not have.
pub(super) fn no_such_task(task: u32, file: &PlanFile) -> Error {
    let last = file.plan.tasks().saturating_sub(1);
    Error::Invalid(format!("task {task}: expected 0 to {last}"))
}

/// Builds the shard of task number `task` of the plan in `path`, and publishes it under a name that
/// its content gives. A task that has been done is not done again; one that was stopped goes on
/// where it was.
///
/// # Errors
/// A plan of another version of Ocelli, an input that changed since, another model; those of a
/// build.
pub fn build_task(
    path: &Path,
    task: u32,
    options: &TaskOptions,
    progress: ProgressFn<'_>,
) -> Result<TaskReport> {
    let start = Instant::now();
    let file = PlanFile::read(path)?;
    let job = job_of(&file.plan)?;
    if task >= file.plan.tasks() {
        return Err(no_such_task(task, &file));
    }
    let index = IndexDir::open(&file.out)?;
    let report = |shard| TaskReport::new(path, task, &file, shard, start);
    // The commit removes what tasks have left.
    if let Some((_, shards)) = generation_of(&index, &file.hash, file.parent)? {
        return Ok(report(shards.into_iter().find(|shard| shard.task == task)));
    }
    let model = open_model(&index, job)?;
    let opened = open_inputs(&file, &job.inputs)?;
    let sources: Vec<Source<'_>> = opened.iter().map(OpenSource::source).collect();
    let build_options = BuildOptions {
        shards: job.shards.len(),
        threads: options.threads,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: options
            .memory_budget_bytes
            .unwrap_or(file.memory_budget_bytes as usize),
    };
    check_input(&sources, &model, &build_options)?;
    let _limit = build_options.memory(&model, count_rows(&sources))?.limit();
    let tasks =
        Tasks::new(&sources, &model, &index, (file.hash, job), &build_options, &Arc::default())?;
    let record = tasks.run(task, None, progress)?;
    Ok(TaskReport { stage_seconds: record.stage_seconds, ..report(record.shard) })
}

/// The model of a plan, which its index directory has.
fn open_model(index: &IndexDir, job: &BuildJob) -> Result<Model> {
    index.model(&job.model, job.fine_codec.as_ref()).map_err(|error| match (&error, error.path()) {
        (
            ocelli_index::Error::ModelMismatch { .. }
            | ocelli_index::Error::FineCodecMismatch { .. },
            _,
        ) => Error::Invalid(format!(
            "{error}: the plan was made for that one; put the file back, or plan again"
        )),
        (_, Some(path)) if error.trouble() == Some(FileTrouble::Missing) => {
            Error::Invalid(format!(
                "{}: the plan's model is not there: plan again, which puts it back",
                path.display()
            ))
        }
        _ => error.into(),
    })
}

/// The parts among the inputs of the plan of a build, as they were when it was made.
///
/// # Errors
/// A plan of another job; an input that changed since; those of opening it.
pub fn planned_parts(file: &PlanFile) -> Result<Vec<Part>> {
    let opened = open_inputs(file, &job_of(&file.plan)?.inputs)?;
    Ok(opened.into_iter().filter_map(OpenSource::into_part).collect())
}

/// The inputs of a plan, as they were when it was made.
pub(super) fn open_inputs(file: &PlanFile, inputs: &[PlanInput]) -> Result<Vec<OpenSource>> {
    if file.inputs.len() != inputs.len() {
        return Err(Error::Invalid(format!(
            "the plan names {} files for {} inputs",
            file.inputs.len(),
            inputs.len()
        )));
    }
    let inputs = file.inputs.iter().zip(inputs);
    inputs.map(|(path, input)| OpenSource::planned(path, input)).collect()
}
