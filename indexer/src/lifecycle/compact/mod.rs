//! Shards merged, and rid of deleted rows.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::{
    CompactJob, FineCodec, Generation, Hash, Held, IndexDir, Job, Model, Plan, Shard, ShardBuilder,
    ShardEntry, Snapshot, Spill, WorkArea,
};
use roaring::RoaringBitmap;
use serde::Serialize;

use super::change::{Change, Source, commit_by, hold_current};
use crate::memory::Memory;
use crate::{Error, Progress, ProgressFn, Result};

/// Small shards that may stand beside the large ones.
pub(super) const SMALL_SHARDS: usize = 4;
/// A shard with more than one deleted row in so many is written again.
const DEAD_SHARE: u64 = 5;
/// Bytes of a row in a run for each that it has in a shard, where keys are compressed.
const RUN_SHARE: u64 = 3;
/// Rows between two reports of progress.
const TOLD_ROWS: u64 = 8192;

/// Options of [`compact`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactOptions {
    /// All shards are merged into one, and no deleted row stays.
    pub all: bool,
    /// Memory for it, in bytes; 0: as much as it needs.
    pub memory_budget_bytes: usize,
}

/// The result of [`compact`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct CompactReport {
    /// The index directory.
    pub index: PathBuf,
    /// The generation that is current now.
    pub generation: u64,
    /// Shards that were read, and shards that took their place.
    pub merged: usize,
    /// Shards that were written.
    pub written: usize,
    /// Shards of the index now.
    pub shards: usize,
    /// Rows that were copied.
    pub rows: u64,
    /// Deleted rows that are gone.
    pub dropped: u64,
    /// Rows that were deleted meanwhile, and stay deleted.
    pub kept_deleted: u64,
    /// Bytes of the shards that were read.
    pub bytes_read: u64,
    /// Bytes of the shards that were written.
    pub bytes_written: u64,
    /// Wall time.
    pub seconds: f64,
}

/// Rows of a shard that are not deleted, of all of its rows.
#[derive(Clone, Copy, Debug)]
struct Size {
    alive: u64,
    rows: u64,
}

/// Merges small shards and drops deleted rows: afterwards at most four small shards stand beside
/// the large ones. Codes, ids, keys and attributes are copied; nothing is encoded again. It costs
/// what it writes. A change that comes between stays.
///
/// # Errors
/// Damaged shards; another compaction or a rebuild that came first.
pub fn compact(
    dir: &Path,
    options: &CompactOptions,
    progress: ProgressFn<'_>,
) -> Result<CompactReport> {
    let (index, current, held) = hold_current(dir)?;
    let groups = groups(&index, &current, options)?;
    let budget = (options.memory_budget_bytes, 0);
    compact_groups((&index, held), &current, &groups, budget, progress)
}

/// Groups of shards of a generation that are to be merged, each by their numbers.
pub(super) fn groups(
    index: &IndexDir,
    current: &Generation,
    options: &CompactOptions,
) -> Result<Vec<Vec<usize>>> {
    let sizes = sizes(index, current)?;
    Ok(match options.all {
        true if sizes.len() > 1 || sizes.iter().any(|size| size.alive < size.rows) => {
            vec![(0..sizes.len()).collect()]
        }
        true => Vec::new(),
        false => choose(&sizes),
    })
}

/// The plan of merging groups of shards of a generation.
pub(super) fn plan_of(current: &Generation, groups: &[Vec<usize>]) -> Plan {
    let name = |&i: &usize| current.shards[i].name.clone();
    let groups = groups.iter().map(|group| group.iter().map(name).collect()).collect();
    Plan::new(Job::Compact(CompactJob { generation: current.number, groups }))
}

/// Shards of a generation by their names, with their deleted rows.
pub(super) fn sources_of(current: &Generation, names: &[String]) -> Result<Vec<Source>> {
    let source = |name: &String| {
        let entry = current.shards.iter().find(|shard| shard.name == *name).cloned();
        let tombstones = current.tombstones.get(name).copied();
        let entry = entry.ok_or_else(|| {
            Error::Invalid(format!("generation {} has no shard {name}", current.number))
        })?;
        Ok(Source { entry, tombstones })
    };
    names.iter().map(source).collect()
}

/// Writes shards again without their deleted rows, each by itself: those that are named. Of the
/// budget, so many bytes are taken already.
pub(super) fn compact_shards(
    dir: &Path,
    names: &BTreeSet<String>,
    budget: (usize, usize),
    progress: ProgressFn<'_>,
) -> Result<CompactReport> {
    let (index, current, held) = hold_current(dir)?;
    compact_groups((&index, held), &current, &each_alone(&current, names), budget, progress)
}

/// Refuses a budget in which [`compact_shards`] does not write these shards again.
pub(super) fn check_shards(
    dir: &Path,
    names: &BTreeSet<String>,
    budget: (usize, usize),
) -> Result<()> {
    let (index, current, _held) = hold_current(dir)?;
    let snapshot = Snapshot::open_candidate(&index, &current)?;
    memory_for(&index, &snapshot, &each_alone(&current, names), budget).map(drop)
}

/// A group of each of the shards that are named.
fn each_alone(current: &Generation, names: &BTreeSet<String>) -> Vec<Vec<usize>> {
    let shards = current.shards.iter().enumerate();
    shards.filter(|(_, shard)| names.contains(&shard.name)).map(|(i, _)| vec![i]).collect()
}

/// Memory to merge groups of shards, of a budget of which so many bytes are taken already. What
/// does not fit is refused here, before any group is merged.
fn memory_for(
    index: &IndexDir,
    snapshot: &Snapshot,
    groups: &[Vec<usize>],
    (budget_bytes, taken_bytes): (usize, usize),
) -> Result<Memory> {
    let memory = Memory::to_copy_beside(budget_bytes, snapshot.model(), taken_bytes)?;
    let shards = &snapshot.generation().shards;
    for group in groups {
        let group: Vec<&ShardEntry> = group.iter().map(|&i| &shards[i]).collect();
        check_lists(index, snapshot.model(), memory, &group)?;
    }
    Ok(memory)
}

fn sizes(index: &IndexDir, generation: &Generation) -> Result<Vec<Size>> {
    let size = |entry: &ShardEntry| {
        let dead = match generation.tombstones.get(&entry.name) {
            Some(hash) => index.tombstones(hash, entry.rows as u32)?.len(),
            None => 0,
        };
        Ok(Size { alive: entry.rows.saturating_sub(dead), rows: entry.rows })
    };
    generation.shards.iter().map(size).collect()
}

/// Whether a shard of `rows` is small beside one of `largest`: less than half of it.
pub(super) fn is_small(rows: u64, largest: u64) -> bool {
    rows * 2 < largest
}

/// Groups of shards that are to be merged, each by their numbers.
///
/// A shard is small if [`is_small`] says so. The smallest ones are merged
/// until [`SMALL_SHARDS`] are left, and with them each next one that is not larger than all of
/// those together: so a row is copied again only when its shard doubles.
fn choose(sizes: &[Size]) -> Vec<Vec<usize>> {
    let largest = sizes.iter().map(|size| size.alive).max().unwrap_or(0);
    let mut small: Vec<usize> =
        (0..sizes.len()).filter(|&i| is_small(sizes[i].alive, largest)).collect();
    small.sort_by_key(|&i| (sizes[i].alive, i));
    let mut groups = Vec::new();
    let mut merged = Vec::new();
    if small.len() > SMALL_SHARDS {
        let mut count = small.len() - SMALL_SHARDS + 1;
        let mut sum: u64 = small[..count].iter().map(|&i| sizes[i].alive).sum();
        while let Some(&next) = small.get(count).filter(|&&next| sizes[next].alive <= sum) {
            sum += sizes[next].alive;
            count += 1;
        }
        merged = small[..count].to_vec();
        merged.sort_unstable();
    }
    for (i, size) in sizes.iter().enumerate() {
        let dead = size.rows - size.alive;
        if !merged.contains(&i) && dead > 0 && dead * DEAD_SHARE > size.rows {
            groups.push(vec![i]);
        }
    }
    if !merged.is_empty() {
        groups.push(merged);
    }
    groups
}

/// Merges each group of shards of the generation, and commits each by itself. Files of the index
/// are held until all are open.
fn compact_groups(
    (index, held): (&IndexDir, Held),
    current: &Generation,
    groups: &[Vec<usize>],
    budget: (usize, usize),
    progress: ProgressFn<'_>,
) -> Result<CompactReport> {
    let start = Instant::now();
    let mut report = CompactReport {
        index: index.root().to_owned(),
        generation: current.number,
        shards: current.shards.len(),
        ..CompactReport::default()
    };
    if groups.is_empty() {
        return Ok(report);
    }
    let snapshot = Snapshot::open_candidate(index, current)?;
    let memory = memory_for(index, &snapshot, groups, budget)?;
    drop(held);
    let _limit = memory.limit();
    let total = groups.iter().flatten().map(|&i| current.shards[i].rows).sum();
    let plan = plan_of(current, groups);
    let hash = plan.hash()?;
    let Job::Compact(job) = &plan.job else { return Ok(report) };
    for (names, task) in job.groups.iter().zip(0..) {
        let sources = sources_of(current, names)?;
        let tell = |done| progress(Progress { stage: "compact", done, total });
        let merging =
            Merging { index, snapshot: &snapshot, task: (hash, task), memory, tell: &tell };
        let shard = merging.merge(&sources, &mut report)?;
        let bytes = |of: &[ShardEntry]| of.iter().map(|shard| shard.bytes).sum::<u64>();
        let shards: Vec<ShardEntry> = shard.into_iter().collect();
        report.merged += sources.len();
        report.written += shards.len();
        report.bytes_read += sources.iter().map(|source| source.entry.bytes).sum::<u64>();
        report.bytes_written += bytes(&shards);
        let names: Vec<&str> = sources.iter().map(|source| source.entry.name.as_str()).collect();
        let commit = commit_by("compact", &[("shards", names.join(" "))]);
        let change = Change::Compact { sources, shards };
        let committed = index.commit_change(&change, &commit)?;
        report.kept_deleted += committed.rows.carried;
        report.generation = committed.generation.number;
        report.shards = committed.generation.shards.len();
    }
    WorkArea::new(index.root(), hash).remove()?;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// Refuses a budget in which the longest list of shards that are merged does not fit, before any
/// row is copied.
fn check_lists(
    index: &IndexDir,
    model: &Model,
    memory: Memory,
    shards: &[&ShardEntry],
) -> Result<()> {
    let Some(sort_bytes) = memory.sort_bytes else { return Ok(()) };
    let mut lens = vec![0usize; model.parts().nlist];
    for entry in shards {
        let shard = Shard::open(&index.shard_path(&entry.name)?, model)?;
        for (list, len) in (0u32..).zip(&mut lens) {
            *len += shard.list(list)?.len as usize;
        }
        shard.intact()?;
    }
    let rows = lens.into_iter().max().unwrap_or(0);
    let bytes: u64 = shards.iter().map(|entry| entry.bytes).sum();
    let least = ShardBuilder::least_bytes(model, rows, RUN_SHARE * bytes);
    if least <= sort_bytes {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "memory budget: the longest list has {rows} rows, whose codes do not fit; the smallest \
         budget that works is {} MiB",
        (least + memory.beside_bytes).div_ceil(1 << 20)
    )))
}

/// One task of a compaction.
pub(super) struct Merging<'a> {
    pub(super) index: &'a IndexDir,
    /// The generation that the shards are of.
    pub(super) snapshot: &'a Snapshot,
    /// Hash of the plan, and number of the task.
    pub(super) task: (Hash, u32),
    /// Memory for it.
    pub(super) memory: Memory,
    /// Takes the number of rows that were read so far.
    pub(super) tell: &'a dyn Fn(u64),
}

impl Merging<'_> {
    fn builder(&self) -> Result<ShardBuilder<'_>> {
        let (plan, task) = self.task;
        let model = self.snapshot.model();
        let Some(budget_bytes) = self.memory.sort_bytes else {
            return Ok(ShardBuilder::new(model));
        };
        let spill = Spill {
            folder: WorkArea::new(self.index.root(), plan).runs(task),
            name: format!("{plan} {task}"),
            budget_bytes,
            beside_bytes: self.memory.beside_bytes,
        };
        Ok(ShardBuilder::bounded(model, spill)?)
    }

    /// Copies the rows of sources that are not deleted into one shard; none if there is no such
    /// row.
    pub(super) fn merge(
        &self,
        sources: &[Source],
        report: &mut CompactReport,
    ) -> Result<Option<ShardEntry>> {
        let model = self.snapshot.model();
        let entries: Vec<&ShardEntry> = sources.iter().map(|source| &source.entry).collect();
        check_lists(self.index, model, self.memory, &entries)?;
        let mut builder = self.builder()?;
        let fine_bytes = model.fine_codec().map_or(0, FineCodec::code_bytes);
        // Rows that an earlier attempt has sorted.
        let (resumed, mut position) = (builder.position(), 0);
        for source in sources {
            let shard = Shard::open(&self.index.shard_path(&source.entry.name)?, model)?;
            let dead = match &source.tombstones {
                Some(hash) => self.index.tombstones(hash, shard.rows())?,
                None => RoaringBitmap::new(),
            };
            report.dropped += dead.len();
            shard.each_row(&dead, |row| {
                position += 1;
                report.rows += 1;
                if position > resumed {
                    if row.fine.len() != fine_bytes {
                        builder.push_code(row.id, row.key, row.list, row.code)?;
                        builder.set_record(row.record)?;
                    } else {
                        builder.push_row(row)?;
                    }
                }
                if position > resumed {
                    builder.checkpoint(position)?;
                }
                if position % TOLD_ROWS == 0 {
                    (self.tell)(report.rows + report.dropped);
                }
                Ok(())
            })?;
        }
        if builder.rows() == 0 {
            return Ok(None);
        }
        if builder.rows() as u64 != position {
            return Err(Error::Invalid(format!(
                "{}: {} rows were copied, expected {position}",
                self.index.root().display(),
                builder.rows()
            )));
        }
        let (plan, task) = self.task;
        Ok(Some(self.index.put_shard(builder, plan, task)?))
    }
}
