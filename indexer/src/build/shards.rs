//! The steps of a build: checks, shards, generation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ocelli_index::{
    BuildJob, BuildSeconds, BuildStage, BuildTimes, Change, CodeForm, CommitOptions, Committed,
    Dba, DescriptorSpec, FineCodec, Hash, IndexDir, Job, Mode, Model, NewGeneration, Part, Plan,
    ShardEntry, TaskRecord, WorkArea,
};
use serde::Serialize;

use super::options::BuildOptions;
use super::rows::RowsMeta;
use super::source::{Source, count_rows, refuse_copies};
use super::task::{Tasks, job_of};
use crate::dba::Neighbours;
use crate::sort::SortMemory;
use crate::{Error, ProgressFn, Result};

/// Report of a build.
#[derive(Clone, Debug, Serialize)]
pub struct BuildReport {
    /// The index directory.
    pub index: PathBuf,
    /// Number of the generation, now current.
    pub generation: u64,
    /// Images.
    pub rows: u64,
    /// Smallest and largest id. Where the parts bring none, the build gives them: new ones each
    /// time.
    pub ids: (u64, u64),
    /// Whether all of the ids were given by this build.
    pub ids_given: bool,
    /// Rows that were left out, since an earlier one has their key or id.
    pub rejected: u64,
    /// The first of these rows and why, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected_first: Vec<String>,
    /// Shards.
    pub shards: usize,
    /// Bytes of all shards, everything counted: codes, ids, keys, tables, padding.
    pub bytes: u64,
    /// `bytes` over `rows`.
    pub bytes_per_image: f64,
    /// Bytes of one code (m).
    pub code_bytes: usize,
    /// Bytes of one finer code; 0 if the model has no finer codes.
    pub fine_bytes: usize,
    /// Bytes of the model, which all shards share.
    pub model_bytes: u64,
    /// Augmentation of the descriptors, if there was any.
    pub dba: Option<Dba>,
    /// Processor seconds of each stage, summed over threads; nothing of what an earlier attempt
    /// did, and nothing where rows come from an index.
    pub stage_seconds: BuildSeconds,
    /// Wall time.
    pub seconds: f64,
}

/// The index that the shards of a build go into, as far as it matters to them.
#[derive(Clone, Default)]
pub(crate) struct Onto<'a> {
    /// The change that the shards make to the index.
    pub(crate) mode: Mode,
    /// Numbers of the rows that are left out, ascending, in plan order.
    pub(crate) left_out: &'a [usize],
    /// The generation that the caller looked at; nothing if the caller looked at none.
    pub(crate) seen: Option<Option<u64>>,
    /// The newest file of the delete log that goes on, where the index is replaced.
    pub(crate) deletes: Option<Hash>,
    /// The rest of what the commit is told.
    pub(crate) commit: CommitOptions<'a>,
}

/// [`super::build`] with the neighbours known by which rows are augmented, and what becomes of its
/// shards.
pub(super) fn build_with(
    parts: &[Part],
    model: &Model,
    dir: &Path,
    options: &BuildOptions,
    neighbours: Option<&Neighbours>,
    onto: &Onto<'_>,
    progress: ProgressFn<'_>,
) -> Result<BuildReport> {
    let rows = parts.iter().map(Part::rows).sum();
    let _limit = options.memory(model, rows)?.limit();
    let index = IndexDir::create(dir)?;
    // Rows may come back, since somebody gives them; what does not stays in the log.
    let current = index.current()?;
    let seen = Some(current.as_ref().map(|current| current.number));
    let deletes = current.and_then(|current| current.deletes);
    let onto = &Onto { seen, deletes, ..onto.clone() };
    Ok(build_onto(parts, (model, &index), options, neighbours, onto, progress)?.0)
}

/// Builds shards of `parts`, and changes the index by them.
pub(crate) fn build_onto(
    parts: &[Part],
    (model, index): (&Model, &IndexDir),
    options: &BuildOptions,
    neighbours: Option<&Neighbours>,
    onto: &Onto<'_>,
    progress: ProgressFn<'_>,
) -> Result<(BuildReport, Committed)> {
    let start = Instant::now();
    let sources = &Source::of(parts);
    let times = &Arc::<BuildTimes>::default();
    let dba = neighbours.map(Neighbours::record);
    let planned = times.time(BuildStage::Plan, || {
        check_input(sources, model, options)?;
        plan(sources, model, index, options, (dba, onto.mode), onto.left_out)
    })?;
    if onto.seen.is_some_and(|seen| seen != planned.parent) {
        return Err(Error::Index(ocelli_index::Error::Conflict {
            what: format!(
                "{}: another generation became current while the build was being prepared; \
                 nothing was changed: run the command again",
                index.root().display()
            ),
        }));
    }
    let model_bytes = put_model(index, model, onto.mode)?;
    let job = job_of(&planned.plan)?;
    let hash = planned.plan.hash()?;
    let tasks = Tasks::new(sources, model, index, (hash, job), options, times)?;
    let numbers = 0..planned.plan.tasks();
    let records: Vec<TaskRecord> =
        numbers.map(|task| tasks.run(task, neighbours, progress)).collect::<Result<_>>()?;
    drop(tasks);

    let shards: Vec<_> = records.iter().filter_map(|record| record.shard.clone()).collect();
    let bytes = shards.iter().map(|shard| shard.bytes).sum();
    let change = change_of(job, planned.parent, shards, onto.deletes)?;
    let work = WorkArea::new(index.root(), hash);
    let commit = || index.commit_change(&change, &onto.commit);
    let committed = times.time(BuildStage::Commit, commit).inspect_err(|error| {
        // What a gate or a name that is there twice has refused will be refused again: nobody needs
        // the shards, and `gc` may take them. If the record cannot be removed, they stay.
        if matches!(error, ocelli_index::Error::Invalid { .. }) {
            let _ = work.remove();
        }
    })?;
    let generation = &committed.generation;
    work.remove()?;
    let rows = job.rows() - job.left_out.len() as u64;
    let ids = || records.iter().filter_map(|record| record.ids);
    let report = BuildReport {
        index: index.root().to_owned(),
        generation: generation.number,
        rows,
        ids: (
            ids().map(|(first, _)| first).min().unwrap_or(0),
            ids().map(|(_, last)| last).max().unwrap_or(0),
        ),
        ids_given: planned.ids_given,
        rejected: planned.rejected,
        rejected_first: planned.rejected_first,
        shards: records.iter().filter(|record| record.shard.is_some()).count(),
        bytes,
        bytes_per_image: bytes as f64 / rows as f64,
        code_bytes: model.parts().m,
        fine_bytes: model.fine_codec().map_or(0, FineCodec::code_bytes),
        model_bytes,
        dba,
        stage_seconds: times.seconds(),
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((report, committed))
}

/// Writes the model of a build, and returns its bytes. Where shards come beside others, it is
/// there.
fn put_model(index: &IndexDir, model: &Model, mode: Mode) -> Result<u64> {
    if mode == Mode::Replace {
        return Ok(index.put_model(model)?.bytes);
    }
    let path = match model.fine_codec() {
        Some(codec) => index.fine_model_path(&model.hash(), &codec.hash())?,
        None => index.model_path(&model.hash())?,
    };
    Ok(path.metadata().map_err(Error::io("look at", &path))?.len())
}

/// The change that a build makes by its shards.
pub(crate) fn change_of(
    job: &BuildJob,
    parent: Option<u64>,
    shards: Vec<ShardEntry>,
    deletes: Option<Hash>,
) -> Result<Change> {
    let (model, next_id) = (job.model, job.next_id);
    if job.mode == Mode::Replace {
        let tombstones = BTreeMap::new();
        let new = NewGeneration { model, shards, tombstones, deletes, next_id };
        return Ok(Change::Replace { parent, new, dba: job.dba });
    }
    let parent =
        parent.ok_or_else(|| Error::Invalid("an index without a generation".to_owned()))?;
    let first_id = job.gives_ids.then_some(job.first_id);
    let supersede = job.mode == Mode::Upsert;
    Ok(Change::Add { parent, model, shards, first_id, next_id, supersede })
}

/// A plan, and what was found when it was made.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// The generation that is current.
    pub(crate) parent: Option<u64>,
    pub(crate) ids_given: bool,
    /// Rows whose key or id an earlier row has.
    pub(crate) rejected: u64,
    pub(crate) rejected_first: Vec<String>,
}

/// Plans a build of `sources`, which were checked, into an index. `left_out` names rows, ascending,
/// that the caller does not want.
pub(crate) fn plan(
    sources: &[Source<'_>],
    model: &Model,
    index: &IndexDir,
    options: &BuildOptions,
    (dba, mode): (Option<Dba>, Mode),
    left_out: &[usize],
) -> Result<Planned> {
    let parent = index.current()?;
    if parent.is_none() {
        index.refuse_new_beginning()?;
    }
    let first_id = index.next_id(parent.as_ref())?;
    let memory = options.memory(model, count_rows(sources))?;
    let folder = index.root().join("shards");
    let memory = memory.sort_bytes.map(|bytes| SortMemory { bytes: bytes / 2, folder });
    let rows_meta = RowsMeta::read(sources, first_id, options.on_duplicate, left_out, memory)?;
    rows_meta.check_ids(index.root(), parent.as_ref())?;
    let rows = count_rows(sources);
    let row = |task: usize| (rows * task / options.shards) as u64;
    let job = BuildJob {
        model: model.hash(),
        fine_codec: model.fine_codec().map(FineCodec::hash),
        mode,
        inputs: sources.iter().map(|source| source.input()).collect::<Result<_>>()?,
        shards: (0..options.shards).map(|task| row(task)..row(task + 1)).collect(),
        first_id,
        gives_ids: sources.iter().any(|source| source.rows() > 0 && !source.has_ids()),
        next_id: rows_meta.next_id,
        left_out: rows_meta.left_out,
        dba,
    };
    Ok(Planned {
        plan: Plan::new(Job::Build(job)),
        parent: parent.map(|generation| generation.number),
        ids_given: rows_meta.ids_given,
        rejected: rows_meta.rejected as u64,
        rejected_first: rows_meta.reasons,
    })
}

/// All that can be judged without reading rows. Returns their number.
pub(crate) fn check_input(
    sources: &[Source<'_>],
    model: &Model,
    options: &BuildOptions,
) -> Result<usize> {
    for source in sources {
        match source.code_form() {
            None => source.require_descriptors()?,
            Some(form) => require_form(source.path(), form, model)?,
        }
        DescriptorSpec::same_or_err(
            &format!("{} under the model", source.path().display()),
            &model.parts().spec,
            source.spec(),
        )?;
    }
    refuse_copies(sources)?;
    let rows = count_rows(sources);
    if rows == 0 {
        return Err(Error::Invalid("an index needs at least one row, found none".to_owned()));
    }
    if options.shards == 0 || options.shards > rows {
        return Err(Error::Invalid(format!(
            "shards: expected 1 to {rows} (the number of rows), found {}",
            options.shards
        )));
    }
    Ok(rows)
}

/// Codes are used as they are, so they must be this model's, finer ones included.
fn require_form(path: &Path, form: &CodeForm, model: &Model) -> Result<()> {
    let expected = CodeForm::of(model);
    if *form == expected {
        return Ok(());
    }
    let finer = |form: &CodeForm| {
        form.fine_codec.map_or("without finer codes".to_owned(), |r| format!("finer codes {r}"))
    };
    Err(Error::Invalid(format!(
        "{}: codes of model {}, {} bytes, {}; expected model {}, {} bytes, {}",
        path.display(),
        form.model,
        form.m,
        finer(form),
        expected.model,
        expected.m,
        finer(&expected)
    )))
}
