//! Rows of an index, decoded from their codes and encoded under another model.
//!
//! Rows are read shard by shard in the order of their ordinals, a block at a time, and go into the
//! builders of the new shards, one after the other: memory does not grow with their number. Each
//! new shard is a task of its own, as in a build: one that was ended is not built twice.

use std::ops::Range;

use ocelli_index::{
    BuildSeconds, CodeRows, Encoded, FineCodec, Hash, Hasher, IndexDir, Model, NewRow, RowEncoder,
    RowEncoderScratch, Shard, ShardBuilder, ShardEntry, Snapshot, Spill, TaskRecord, WorkArea,
};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::error::carry;
use crate::memory::Memory;
use crate::threads::pool;
use crate::{BuildOptions, Error, Progress, ProgressFn, Result};

/// New shards of the rows of an index.
pub(super) struct Again<'a> {
    index: &'a IndexDir,
    snapshot: &'a Snapshot,
    model: &'a Model,
    encoder: RowEncoder<'a>,
    pool: rayon::ThreadPool,
    memory: Memory,
    plan: Hash,
    work: WorkArea,
    /// Rows that are not deleted, and shards to make of them.
    rows: u64,
    shards: u32,
    progress: ProgressFn<'a>,
    /// Rows that were read so far.
    position: u64,
    task: Option<Task<'a>>,
    records: Vec<TaskRecord>,
    block: Block,
}

/// A shard that is being made.
struct Task<'a> {
    number: u32,
    /// Rows of the shard, by their numbers among all.
    range: Range<u64>,
    /// Rows before this one are in it already.
    from: u64,
    shard: Made<'a>,
}

/// The shard of a task.
enum Made<'a> {
    /// An earlier attempt has made it.
    Before(Box<TaskRecord>),
    Now(Box<ShardBuilder<'a>>),
}

/// Rows that are encoded together.
#[derive(Default)]
struct Block {
    /// Their decoded vectors, (n, d) of the index's model.
    z: Vec<f32>,
    ids: Vec<u64>,
    keys: Vec<String>,
    records: Vec<Vec<u8>>,
    /// Bytes of keys and records.
    name_bytes: usize,
}

impl<'a> Again<'a> {
    /// New shards of the rows of `snapshot` under `model`. Of the options, shards, threads and
    /// `memory` count.
    pub(super) fn new(
        index: &'a IndexDir,
        snapshot: &'a Snapshot,
        model: &'a Model,
        options: &BuildOptions,
        memory: Memory,
        progress: ProgressFn<'a>,
    ) -> Result<Self> {
        let shards = options.shards as u32;
        let plan = plan_of(snapshot, model, shards);
        Ok(Self {
            index,
            snapshot,
            model,
            encoder: RowEncoder::new(model),
            pool: pool(options.threads)?,
            memory,
            plan,
            work: WorkArea::new(index.root(), plan),
            rows: snapshot.rows(),
            shards,
            progress,
            position: 0,
            task: None,
            records: Vec::new(),
            block: Block::default(),
        })
    }

    /// The place of runs and records, which the caller removes once they are not needed.
    pub(super) fn work(&self) -> WorkArea {
        self.work.clone()
    }

    /// Makes all shards. Returns them with their smallest and largest id.
    pub(super) fn run(mut self) -> Result<(Vec<ShardEntry>, (u64, u64))> {
        let snapshot = self.snapshot;
        let none = RoaringBitmap::new();
        for (number, shard) in (0u32..).zip(snapshot.shards()) {
            let dead = snapshot.deleted(number).unwrap_or(&none);
            carry(|keep| shard.each_row(dead, |row| keep(self.row(shard, row))))?;
        }
        snapshot.model().intact()?;
        self.check()?;
        let ids = self.records.iter().filter_map(|record| record.ids);
        let ids = ids.fold((u64::MAX, 0), |all, ids| (all.0.min(ids.0), all.1.max(ids.1)));
        Ok((self.records.into_iter().filter_map(|record| record.shard).collect(), ids))
    }

    /// Whether the shards have all rows.
    fn check(&self) -> Result<()> {
        let made = self.records.iter().filter_map(|record| record.shard.as_ref());
        let rows: u64 = made.map(|shard| shard.rows).sum();
        let shards = self.records.len();
        if self.task.is_none() && shards == self.shards as usize && rows == self.rows {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{}: {shards} shards of {rows} rows were made, expected {} of {}; the index stays as \
             it was: remove {} and run the command again",
            self.index.root().display(),
            self.shards,
            self.rows,
            self.work.folder().display()
        )))
    }

    /// Takes the next row of the index.
    fn row(&mut self, shard: &Shard, row: &NewRow<'_>) -> Result<()> {
        let mut task = match self.task.take() {
            Some(task) => task,
            None => self.begin()?,
        };
        if self.position >= task.from {
            let old = self.snapshot.model();
            let fine = shard.has_fine().then_some(row.fine);
            let z = old.decode_finest(row.list, row.code, fine);
            self.block.push(z, row);
        }
        self.position += 1;
        let full = self.block.ids.len() >= self.memory.block_rows
            || self.block.name_bytes >= self.memory.name_bytes();
        if full || self.position == task.range.end {
            self.flush(&mut task)?;
        }
        match self.position == task.range.end {
            true => self.end(task),
            false => {
                self.task = Some(task);
                Ok(())
            }
        }
    }

    /// The next task, with what an earlier attempt has left of it.
    fn begin(&self) -> Result<Task<'a>> {
        let number = self.records.len() as u32;
        let start = |task: u32| self.rows * u64::from(task) / u64::from(self.shards);
        let range = start(number)..start(number + 1);
        let made = |record: &TaskRecord| record.shard.as_ref().map(|shard| shard.rows);
        if let Some(record) = self.work.ended(number, self.index)?
            && made(&record) == Some(range.end - range.start)
        {
            let shard = Made::Before(Box::new(record));
            return Ok(Task { number, from: range.end, range, shard });
        }
        let builder = match self.memory.sort_bytes {
            None => ShardBuilder::new(self.model),
            Some(budget_bytes) => {
                let spill = Spill {
                    folder: self.work.runs(number),
                    name: format!("{} {number}", self.plan),
                    budget_bytes,
                    beside_bytes: self.memory.beside_bytes,
                };
                ShardBuilder::bounded(self.model, spill)?
            }
        };
        let from = range.start + builder.position();
        Ok(Task { number, range, from, shard: Made::Now(Box::new(builder)) })
    }

    /// Encodes the rows that wait, and gives them to the builder.
    fn flush(&mut self, task: &mut Task<'_>) -> Result<()> {
        let Made::Now(builder) = &mut task.shard else { return Ok(()) };
        let Block { z, ids, keys, records, .. } = std::mem::take(&mut self.block);
        let (model, encoder) = (self.model, &self.encoder);
        let x = self.snapshot.model().restore(z);
        let share = encoder.rows_at_a_time() * model.parts().dim;
        let encoded: Vec<CodeRows> = self.pool.install(|| {
            let pieces = x.par_chunks(share);
            let encode = |scratch: &mut _, x: &[f32]| encode(model, encoder, x, scratch);
            pieces.map_init(RowEncoderScratch::default, encode).collect::<Result<_>>()
        })?;
        drop(x);
        let (m, width) = (model.parts().m, model.fine_codec().map_or(0, FineCodec::code_bytes));
        let mut names = ids.iter().zip(&keys).zip(&records);
        for CodeRows { lists, codes, fine } in &encoded {
            for (i, (&list, code)) in lists.iter().zip(codes.chunks_exact(m)).enumerate() {
                let Some(((&id, key), record)) = names.next() else { break };
                let fine = &fine[i * width..(i + 1) * width];
                builder.push_row(&NewRow { id, key, list, code, fine, record })?;
            }
        }
        builder.checkpoint(self.position - task.range.start)?;
        (self.progress)(Progress { stage: "encode", done: self.position, total: self.rows });
        Ok(())
    }

    /// Ends a task whose rows were all given to its builder.
    fn end(&mut self, task: Task<'_>) -> Result<()> {
        let builder = match task.shard {
            Made::Now(builder) => *builder,
            Made::Before(record) => {
                self.records.push(*record);
                return self.work.remove_runs(task.number).map_err(Error::from);
            }
        };
        let ids = builder.ids();
        let put = || self.index.put_shard(builder, self.plan, task.number);
        let shard = Some(self.pool.install(put)?);
        let record = TaskRecord {
            plan: self.plan,
            task: task.number,
            shard,
            ids,
            model: None,
            pairs: None,
            stage_seconds: BuildSeconds::default(),
        };
        self.work.end_task(&record)?;
        self.records.push(record);
        Ok(())
    }
}

impl Block {
    fn push(&mut self, z: Vec<f32>, row: &NewRow<'_>) {
        self.z.extend(z);
        self.ids.push(row.id);
        self.keys.push(row.key.to_owned());
        self.records.push(row.record.to_vec());
        self.name_bytes += row.key.len() + row.record.len();
    }
}

/// Encodes the vectors `x` (n, dim).
fn encode(
    model: &Model,
    encoder: &RowEncoder<'_>,
    x: &[f32],
    scratch: &mut RowEncoderScratch,
) -> Result<CodeRows> {
    let mut out = Encoded::default();
    encoder.encode(x, scratch, &mut out)?;
    let (m, d) = (model.parts().m, model.parts().d);
    let mut fine = Vec::new();
    for ((z, &list), code) in out.z.chunks(d).zip(&out.lists).zip(out.codes.chunks(m)) {
        model.encode_fine(ocelli_index::simd(), z, list, code, &mut fine)?;
    }
    Ok(CodeRows { lists: out.lists, codes: out.codes, fine })
}

/// The hash of what decides the new shards: records and runs are found by it.
fn plan_of(snapshot: &Snapshot, model: &Model, shards: u32) -> Hash {
    let current = snapshot.generation();
    let mut hasher = Hasher::new();
    let codec = model.fine_codec().map_or("none".to_owned(), |codec| codec.hash().to_string());
    let head = format!(
        "rebuild {} of {} under {} {codec} in {shards}\n",
        env!("CARGO_PKG_VERSION"),
        current.number,
        model.hash()
    );
    hasher.update(head.as_bytes());
    for shard in &current.shards {
        let tombstones = current.tombstones.get(&shard.name);
        hasher.update(format!("{} {tombstones:?}\n", shard.checksum).as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use ocelli_index::{Gate, Generation};

    use super::*;
    use crate::lifecycle::fixture::{ROWS, index, model};
    use crate::lifecycle::rebuild_gated;
    use crate::{OnDuplicate, silent};

    /// What an attempt with other shards or another fine codec has left is not taken for the work
    /// of this one, and what an equal attempt has left is.
    #[test]
    fn only_an_equal_attempt_goes_on() {
        let (tmp, dir) = index();
        let fine = |step: f32| {
            let plain = model(7);
            let codec = FineCodec::sq8(plain.hash(), &[step; 4], &[0.0; 4]).unwrap();
            plain.with_fine_codec(codec).unwrap()
        };
        let stop = |_: &IndexDir, _: &Generation| {
            let kind = std::io::ErrorKind::Interrupted;
            Err(ocelli_index::Error::io(std::path::Path::new("."), "stop", kind.into()))
        };
        let of = |shards, memory_budget_bytes| BuildOptions {
            shards,
            threads: 1,
            dba: 0,
            on_duplicate: OnDuplicate::Stop,
            memory_budget_bytes,
        };
        let rebuilt = |model: &Model, options: &BuildOptions, gate: Option<Gate<'_>>| {
            rebuild_gated(&[], model, tmp.path(), options, false, gate, &silent)
        };
        let rows = 2 * ROWS - 2;
        for (budget, codec) in [(0, 0.5), (256 << 20, 0.25)] {
            // Stopped with all tasks done, of two shards, and with another codec.
            rebuilt(&fine(codec), &of(2, budget), Some(&stop)).unwrap_err();
            rebuilt(&fine(0.125), &of(1, budget), Some(&stop)).unwrap_err();
            let report = rebuilt(&fine(codec), &of(1, budget), None).unwrap();
            assert_eq!((report.build.rows, report.build.shards), (rows, 1));
            let current = dir.current().unwrap().unwrap();
            assert_eq!(current.shards.iter().map(|shard| shard.rows).sum::<u64>(), rows);
            let snapshot = Snapshot::open(tmp.path(), None).unwrap();
            snapshot.verify().unwrap();
            let found = snapshot.fine_codec().unwrap().hash();
            assert_eq!(found, fine(codec).fine_codec().unwrap().hash());
        }
    }
}
