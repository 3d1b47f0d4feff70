//! Makes the plan of a build.

use std::path::{Path, PathBuf};

use ocelli_index::container::SectionKind;
use ocelli_index::{BuildJob, Estimate, IndexDir, Mode, Model, PlanFile, Snapshot, WorkArea};
use ocelli_text::quoted;
use serde::Serialize;

use crate::build::{
    BuildOptions, OnDuplicate, OpenSource, Source, check_input, count_rows, job_of, place, plan,
};
use crate::lifecycle::cost::{self, BuildSize, Shape};
use crate::sample::blocks;
use crate::threads::pool;
use crate::{Error, Result};

/// The number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardSplit {
    /// So many.
    Shards(usize),
    /// As many as it takes for no shard to have more rows than this.
    RowsPerShard(usize),
}

/// Options of the plan of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanBuildOptions {
    /// The number of shards: one task each.
    pub split: ShardSplit,
    /// Threads of each task, for its memory and time; 0: one per core of this machine.
    pub threads: usize,
    /// Memory that the planner and each task may take, in bytes; 0: as much as they need.
    pub memory_budget_bytes: usize,
    /// Treatment of a row whose key or id an earlier row has.
    pub on_duplicate: OnDuplicate,
    /// Treatment of the rows that the index has already.
    pub mode: Mode,
    /// The user's name for what made the vectors in files of other programs: their spec is
    /// `foreign:<name>`.
    pub spec_name: Option<String>,
}

/// Report of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct PlanReport {
    /// The plan's file.
    pub plan: PathBuf,
    /// The plan's hash, which the names of its shards begin with.
    pub hash: String,
    /// The plan's kind.
    pub kind: &'static str,
    /// Tasks, numbered from 0.
    pub tasks: u32,
    /// Rows, those that are left out not counted.
    pub rows: u64,
    /// Rows that are left out, since an earlier one has their key or id.
    pub rejected: u64,
    /// The first of these rows and why, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected_first: Vec<String>,
    /// Disk, memory and time that the plan is expected to take.
    pub estimate: Estimate,
}

impl PlanReport {
    /// The report of the plan `file`, written to `out`, of `rows`, none of which was left out.
    pub(super) fn new(out: &Path, file: &PlanFile, rows: u64) -> Self {
        Self {
            plan: out.to_owned(),
            hash: file.hash.to_string(),
            kind: file.plan.kind(),
            tasks: file.plan.tasks(),
            rows,
            rejected: 0,
            rejected_first: Vec::new(),
            estimate: file.estimate,
        }
    }
}

/// Plans a build of the parts and vectors in the files `paths` under `model` into the index at
/// `dir` (made if missing, and given the model), and writes the plan to `out`. Equal input gives an
/// equal plan.
///
/// # Errors
/// Those of a build that can be found before it begins: parts of another spec, codes of another
/// model, rows that are there twice, rows to be added that the index has.
pub fn plan_build(
    paths: &[PathBuf],
    model: &Model,
    dir: &Path,
    options: &PlanBuildOptions,
    out: &Path,
) -> Result<PlanReport> {
    let name = options.spec_name.as_deref();
    let opened: Vec<OpenSource> =
        paths.iter().map(|path| OpenSource::open(path, name)).collect::<Result<_>>()?;
    let sources: Vec<Source<'_>> = opened.iter().map(OpenSource::source).collect();
    let rows = count_rows(&sources);
    let shards = match options.split {
        ShardSplit::Shards(shards) => shards,
        ShardSplit::RowsPerShard(0) => {
            return Err(Error::Invalid("rows per shard: expected at least 1, found 0".to_owned()));
        }
        ShardSplit::RowsPerShard(most) => rows.div_ceil(most),
    };
    let build_options = BuildOptions {
        shards,
        threads: options.threads,
        dba: 0,
        on_duplicate: options.on_duplicate,
        memory_budget_bytes: options.memory_budget_bytes,
    };
    check_input(&sources, model, &build_options)?;
    let _limit = build_options.memory(model, rows)?.limit();
    let index = IndexDir::create(dir)?;
    if options.mode != Mode::Replace {
        check_model(&index, model)?;
    }
    let planned = plan(&sources, model, &index, &build_options, (None, options.mode), &[])?;
    let job = job_of(&planned.plan)?;
    if options.mode == Mode::Add {
        refuse_known(&sources, &index, job)?;
    }
    let kept = job.rows() - job.left_out.len() as u64;
    let places = paths.iter().map(|path| absolute(path)).collect::<Result<_>>()?;
    let shard_rows = job.shards.iter().map(|rows| rows.end - rows.start).max().unwrap_or(0);
    let size = BuildSize {
        rows: kept,
        shard_rows,
        shards: shards as u64,
        key_bytes: section_bytes(&sources, SectionKind::Keys),
        attribute_bytes: section_bytes(&sources, SectionKind::Attributes)
            + section_bytes(&sources, SectionKind::Records),
        has_ids: sources.iter().any(|source| source.has_ids()),
        are_codes: sources.iter().all(|source| source.code_form().is_some()),
        threads: pool(options.threads)?.current_num_threads() as u64,
        tasks_at_once: 1,
        memory_budget_bytes: options.memory_budget_bytes as u64,
    };
    let mut file = PlanFile::new(planned.plan, places, &absolute(dir)?)?;
    file.parent = planned.parent;
    file.memory_budget_bytes = options.memory_budget_bytes as u64;
    file.estimate = cost::build(&Shape::of(model), &size).estimate();
    // Before the model, which `gc` keeps for it.
    WorkArea::new(index.root(), file.hash).begin(&file)?;
    index.put_model(model)?;
    file.write(out)?;
    Ok(PlanReport {
        rejected: planned.rejected,
        rejected_first: planned.rejected_first,
        ..PlanReport::new(out, &file, kept)
    })
}

/// Rows come beside those of an index under its model only.
fn check_model(index: &IndexDir, model: &Model) -> Result<()> {
    let current = index.current()?;
    if current.is_none() {
        index.refuse_lost_current()?;
    }
    let current = current.ok_or_else(|| {
        Error::Invalid(format!(
            "{}: the index has no generation yet; expected one to add rows to",
            index.root().display()
        ))
    })?;
    if current.model == model.hash() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "model {}: expected {}, that of generation {} of {}; another model needs all rows anew \
         (--mode replace)",
        model.hash(),
        current.model,
        current.number,
        index.root().display()
    )))
}

/// Rows that are named where the index has their keys or ids.
const MAX_KNOWN: usize = 3;

/// Refuses rows whose key or id a row of the index has.
fn refuse_known(sources: &[Source<'_>], index: &IndexDir, job: &BuildJob) -> Result<()> {
    let snapshot = Snapshot::open_in(index, None)?;
    let (mut known, mut first, mut row) = (0u64, Vec::new(), 0u64);
    for source in sources {
        for rows in blocks(source.rows()) {
            for (id, key) in source.names(rows, 0)? {
                let here = row;
                row += 1;
                if job.is_left_out(here) {
                    continue;
                }
                let by_key = if key.is_empty() { None } else { snapshot.find_key(&key)? };
                let by_id = if source.has_ids() { snapshot.find_id(id)? } else { None };
                let Some(found) = by_key.or(by_id) else { continue };
                known += 1;
                if first.len() < MAX_KNOWN {
                    let what = match by_key {
                        Some(_) => format!("key {}", quoted(&key)),
                        None => format!("id {id}"),
                    };
                    let found = snapshot.id(found)?;
                    first.push(format!("{what} of {} is row {found}", place(sources, here)));
                }
            }
            source.release();
            snapshot.shards().for_each(|shard| shard.file().release());
        }
    }
    if known == 0 {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{known} of the rows are in generation {} of {} already, by key or id, the first: {}; \
         nothing was planned: leave them out, or replace those of the index by --mode upsert",
        snapshot.generation().number,
        index.root().display(),
        first.join("; ")
    )))
}

/// Bytes of a section of all parts.
fn section_bytes(sources: &[Source<'_>], kind: SectionKind) -> u64 {
    let len = |source: &Source<'_>| match source {
        Source::Part(part) => part.file().find(kind).map(|section| section.len),
        Source::Vectors(..) => None,
    };
    sources.iter().filter_map(len).sum()
}

/// A path that means the same in every working directory.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io("look at", path))
}
