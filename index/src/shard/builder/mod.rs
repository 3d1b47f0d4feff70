//! Builds one shard, in memory or in bounded memory, and writes it.
//!
//! Given a model, equal input gives equal bytes: rows are pushed in plan order, lists keep ordinals
//! ascending, and nothing depends on threads, clocks, names, or the memory that there is.
//!
//! ```text
//! rows ──► chunk ──► run ─┐
//!          chunk ──► run ─┼──► sections of the shard
//!          chunk ──► run ─┘    (each one pass over a column of all runs)
//! ```
//!
//! A chunk that is full is sorted by list and written to a file, the run, while the next one fills
//! up. Whoever builds the same shard again finds the runs and goes on behind them. All sections are
//! made of the runs' columns, read from their beginning to their end; ids and keys are merged in
//! order, which also finds those that are there twice. Where there are more runs than can be read
//! at once, several are folded into one before. Without a limit the one chunk is the one run.

mod blobs;
mod chunk;
mod facts;
mod fold;
mod input;
mod merge;
mod numbers;
mod run;
mod scalars;
mod sections;
mod spool;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use self::chunk::Chunk;
use self::facts::Facts;
use self::fold::Shape;
pub use self::input::{NewRow, Spill};
use self::run::{Run, RunMeta};
use self::sections::{Bounds, Sections, list_bytes};
use super::{ShardEntry, ShardMeta};
use crate::base::error::{Error, Result};
use crate::base::folder::create_folder;
use crate::base::hash::Hash;
use crate::base::level::simd;
use crate::base::names::{check_id, check_key};
use crate::base::times::{BuildStage, BuildTimes};
use crate::files::container::{FileKind, Writer};
use crate::files::packed;
use crate::model::Model;
use crate::model::fine::FineCodec;

/// Least memory that sorting in files takes.
const LEAST_BYTES: usize = 8 << 20;
/// Codes of lists that are worked on at once, where memory has no limit.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes read of a column before their memory is given back, where memory has no limit.
const WINDOW_BYTES: u64 = 1 << 20;
/// The same where memory has a limit.
const MERGE_WINDOW_BYTES: u64 = 64 << 10;
/// Memory that a column of a run takes while it is read: pages around the one that is wanted.
const COLUMN_BYTES: usize = 192 << 10;

/// A run that is being written, and the chunk that it is made of.
type Sealing = JoinHandle<(Chunk, Result<Run>)>;

/// Rows of one shard, in the order of their ordinals.
pub struct ShardBuilder<'a> {
    model: &'a Model,
    spill: Option<Spill>,
    chunk: Chunk,
    /// Facts of the rows in `chunk`.
    facts: Facts,
    /// Facts of the rows in `runs` and `sealing`.
    sealed: Facts,
    runs: Vec<Run>,
    sealing: Option<Sealing>,
    /// Chunks that were written.
    spare: Option<Chunk>,
    /// Rows of the source that all rows so far cover, where the last one ends a block.
    position: Option<u64>,
    /// Rows of the source that the runs found at the start cover.
    resumed: u64,
    times: Arc<BuildTimes>,
}

impl<'a> ShardBuilder<'a> {
    /// A shard without rows, which is built in memory.
    pub fn new(model: &'a Model) -> Self {
        Self {
            model,
            spill: None,
            chunk: Chunk::default(),
            facts: Facts::default(),
            sealed: Facts::default(),
            runs: Vec::new(),
            sealing: None,
            spare: None,
            position: Some(0),
            resumed: 0,
            times: Arc::default(),
        }
    }

    /// The same builder, which adds its sorting, encoding and writing to `times`.
    #[must_use]
    pub fn timed(self, times: Arc<BuildTimes>) -> Self {
        Self { times, ..self }
    }

    /// A shard that is built in bounded memory, with the rows of the runs that an earlier attempt
    /// left: see [`Self::position`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a budget that is too small, with the smallest that works;
    /// [`Error::Io`].
    pub fn bounded(model: &'a Model, spill: Spill) -> Result<Self> {
        let least = LEAST_BYTES + 64 * model.parts().nlist;
        if spill.budget_bytes < least {
            return Err(Error::invalid(format!(
                "memory budget: {} MiB are left to sort rows; the smallest budget that works is \
                 {} MiB",
                spill.budget_bytes >> 20,
                (least + spill.beside_bytes).div_ceil(1 << 20)
            )));
        }
        let folder = &spill.folder;
        create_folder(folder)?;
        let mut builder = Self::new(model);
        loop {
            let run = Run::open(&run_path(folder, builder.sealed.rows));
            let Ok(run) = run.and_then(|run| run.verify().map(|()| run)) else { break };
            let follows = run.meta.name == spill.name && run.meta.first == builder.sealed.rows;
            let (Some(position), true) = (run.meta.position, follows) else { break };
            builder.sealed.add(&run.meta.facts);
            builder.position = Some(position);
            builder.resumed = position;
            builder.runs.push(run);
        }
        builder.spill = Some(spill);
        Ok(builder)
    }

    /// Rows of the source that need not be pushed again, since runs that were there have them: the
    /// number given to [`Self::checkpoint`] before the last of them was written.
    pub fn position(&self) -> u64 {
        self.resumed
    }

    /// Least memory, in bytes, that sorts rows of `run_bytes` in all, if the longest list has
    /// `list_rows` of them.
    pub fn least_bytes(model: &Model, list_rows: usize, run_bytes: u64) -> usize {
        let least = LEAST_BYTES + 64 * model.parts().nlist;
        let fits = |budget: &usize| {
            let room = budget - 64 * model.parts().nlist;
            let runs = (run_bytes / (budget / 5 * 2) as u64 + 1) as usize;
            let columns = 2 * runs.min(most_runs(room)) * COLUMN_BYTES;
            runs == 1 || list_bytes(model, list_rows) <= (room - columns) / 4
        };
        (0..).map(|mib: usize| least + (mib << 20)).find(fits).unwrap_or(usize::MAX)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.sealed.rows as usize + self.facts.rows as usize
    }

    /// Smallest and largest id, if there are rows.
    pub fn ids(&self) -> Option<(u64, u64)> {
        let all = self.all_facts();
        (all.rows > 0).then_some((all.min_id, all.max_id))
    }

    fn all_facts(&self) -> Facts {
        let mut all = self.sealed;
        all.add(&self.facts);
        all
    }

    /// Appends a vector x (dim,): transforms, assigns and encodes it, and makes its finer code
    /// where the model has a fine codec. An empty key is no key.
    ///
    /// # Errors
    /// Those of [`Model::transform`] and [`Self::push_code`], with the key.
    pub fn push(&mut self, id: u64, key: &str, x: &[f32]) -> Result<()> {
        let named = |e| match e {
            Error::Invalid { what } => Error::invalid(format!("{key:?} (id {id}): {what}")),
            other => other,
        };
        let z = self.model.transform(x).map_err(named)?;
        let list = self.model.assign(&z);
        let mut code = vec![0; self.model.parts().m];
        self.model.encode(&z, list, &mut code);
        let mut fine = Vec::new();
        self.model.encode_fine(simd(), &z, list, &code, &mut fine).map_err(named)?;
        self.push_fine(id, key, list, &code, &fine)
    }

    /// [`Self::push_code`] with the row's finer code. Either all rows have one or none has.
    ///
    /// # Errors
    /// As [`Self::push_code`]; [`Error::Dim`] for a finer code of another length.
    pub fn push_fine(
        &mut self,
        id: u64,
        key: &str,
        list: u32,
        code: &[u8],
        fine: &[u8],
    ) -> Result<()> {
        self.push_row(&NewRow { id, key, list, code, fine, record: &[] })
    }

    /// [`Self::push_fine`] with the row's attributes.
    ///
    /// # Errors
    /// As [`Self::push_fine`].
    pub fn push_row(&mut self, row: &NewRow<'_>) -> Result<()> {
        let expected = self.model.fine_codec().map_or(0, FineCodec::code_bytes);
        if row.fine.len() != expected {
            let what = format!("finer code of {:?} (id {})", row.key, row.id);
            return Err(Error::Dim { what, expected, found: row.fine.len() });
        }
        self.append(row)
    }

    /// Appends a row whose list and code (m,) are known already.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an id of 2⁶³ or more, a key that is too long, a list or codeword that
    /// the model does not have, or a full shard; [`Error::Dim`] for a code of another m.
    pub fn push_code(&mut self, id: u64, key: &str, list: u32, code: &[u8]) -> Result<()> {
        self.append(&NewRow { id, key, list, code, fine: &[], record: &[] })
    }

    /// Gives the row that was pushed last its attributes ([`crate::attributes::record`]); a row
    /// without has the empty record.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no row was pushed since the last checkpoint. What the bytes hold is
    /// judged when the shard is written.
    pub fn set_record(&mut self, record: &[u8]) -> Result<()> {
        if self.chunk.rows() == 0 {
            return Err(Error::invalid("attributes of a shard without rows"));
        }
        if self.chunk.set_record(record) {
            self.facts.recorded += 1;
        }
        Ok(())
    }

    fn append(&mut self, row: &NewRow<'_>) -> Result<()> {
        let NewRow { id, key, list, code, fine, record } = *row;
        let p = self.model.parts();
        check_id(id)?;
        check_key(key)?;
        if code.len() != p.m {
            return Err(Error::Dim {
                what: format!("code of {key:?}"),
                expected: p.m,
                found: code.len(),
            });
        }
        if list as usize >= p.nlist || code.iter().any(|&c| usize::from(c) >= p.ksub) {
            return Err(Error::invalid(format!(
                "{key:?}: list {list} or a codeword is not in the model (nlist {}, ksub {})",
                p.nlist, p.ksub
            )));
        }
        if self.rows() >= u32::MAX as usize {
            return Err(Error::invalid("a shard holds at most 2^32 - 1 rows"));
        }
        let chunk = &mut self.chunk;
        chunk.ids.push(id);
        chunk.lists.push(list);
        chunk.codes.extend_from_slice(code);
        chunk.fine.extend_from_slice(fine);
        chunk.keys.push(key.as_bytes());
        chunk.set_record(record);
        let of_row = Facts::of_row(id, !key.is_empty(), !fine.is_empty(), !record.is_empty());
        self.facts.add(&of_row);
        self.position = None;
        Ok(())
    }

    /// Says that all rows so far are those of the first `position` rows of the source: an attempt
    /// that goes on where this one stopped can begin behind them. In bounded memory, rows are
    /// written to a run here when there are enough of them; so call it often: it costs little.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk included.
    pub fn checkpoint(&mut self, position: u64) -> Result<()> {
        self.position = Some(position);
        match &self.spill {
            // One chunk fills up while another one is written; each is sorted in its own memory.
            Some(spill) if self.chunk.bytes() >= spill.budget_bytes / 5 * 2 => self.seal(),
            _ => Ok(()),
        }
    }

    /// Writes the rows in memory to a run, in a thread of its own.
    fn seal(&mut self) -> Result<()> {
        self.join()?;
        let Some(spill) = &self.spill else { return Ok(()) };
        self.check_fine()?;
        let chunk = std::mem::replace(&mut self.chunk, self.spare.take().unwrap_or_default());
        let first = self.sealed.rows;
        let meta = RunMeta::new(&spill.name, first, self.position, &chunk, self.facts);
        self.sealed.add(&self.facts);
        self.facts = Facts::default();
        let path = run_path(&spill.folder, first);
        let nlist = self.model.parts().nlist;
        let times = Arc::clone(&self.times);
        let write = move || {
            let written = times.time(BuildStage::Sort, || Run::write(&meta, &chunk, &path, nlist));
            let run =
                written.and_then(|()| Run::open(&path)).and_then(|run| run.require(&meta, &path));
            (chunk, run)
        };
        let thread = std::thread::Builder::new().name("spill".to_owned()).spawn(write);
        self.sealing = Some(thread.map_err(|e| Error::invalid(format!("cannot start: {e}")))?);
        Ok(())
    }

    /// Waits for the run that is being written.
    fn join(&mut self) -> Result<()> {
        let Some(sealing) = self.sealing.take() else { return Ok(()) };
        let (mut chunk, run) =
            sealing.join().map_err(|_| Error::invalid("the thread that writes runs ended"))?;
        self.runs.push(run?);
        chunk.clear();
        self.spare = Some(chunk);
        Ok(())
    }

    fn check_fine(&self) -> Result<()> {
        let all = self.all_facts();
        if all.fine_rows == 0 || all.fine_rows == all.rows {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{} of {} rows have a finer code: expected all or none",
            all.fine_rows, all.rows
        )))
    }

    /// Writes the shard into `folder`, which is no index directory; for one of those, see
    /// [`IndexDir::put_shard`](crate::IndexDir::put_shard). The name is made of `plan`, `task` and
    /// the content. An equal shard that is there already is replaced by itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no rows, or an id or key of two rows; [`Error::Io`].
    pub fn write(self, folder: &Path, plan: Hash, task: u32) -> Result<ShardEntry> {
        self.write_to(Writer::create_in(folder, FileKind::Shard)?, plan, task)
    }

    /// Writes the shard to a new file and returns what a generation needs to know of it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn write_to(
        mut self,
        mut file: Writer,
        plan: Hash,
        task: u32,
    ) -> Result<ShardEntry> {
        let facts = self.all_facts();
        if facts.rows == 0 {
            return Err(Error::invalid("a shard without rows"));
        }
        self.check_fine()?;
        self.end_runs()?;
        let p = self.model.parts();
        let meta = ShardMeta {
            model: self.model.hash(),
            plan,
            task,
            rows: facts.rows,
            nlist: p.nlist as u32,
            m: p.m as u32,
            ksub: p.ksub as u32,
            ids: facts.id_encoding(),
            ordinal_bits: packed::width_for(u64::from(facts.rows) - 1),
            keyed: facts.keyed,
        };
        let bounds = self.bounds();
        let (model, runs, times) = (self.model, self.runs.as_slice(), &*self.times);
        let sections = Sections { model, runs, facts, bounds, times };
        let written = times.time(BuildStage::Write, || {
            sections.write(&mut file, &meta)?;
            // Lists and codes were computed from the model's centroids.
            model.intact()?;
            file.finish_as(|checksum| shard_name(plan, task, checksum))
        })?;
        Ok(ShardEntry {
            name: shard_name(plan, task, &written.checksum),
            bytes: written.bytes,
            checksum: written.checksum,
            rows: u64::from(facts.rows),
            plan,
            task,
            seal: written.seal,
        })
    }

    /// All rows in runs: one in memory where no file was written.
    fn end_runs(&mut self) -> Result<()> {
        let in_files = !self.runs.is_empty() || self.sealing.is_some();
        if !in_files {
            let chunk = std::mem::take(&mut self.chunk);
            let meta = RunMeta::new("", 0, None, &chunk, self.facts);
            let nlist = self.model.parts().nlist;
            let sort = || Run::in_memory(meta, chunk, nlist);
            self.runs.push(self.times.time(BuildStage::Sort, sort));
            return Ok(());
        }
        if self.facts.rows > 0 {
            self.seal()?;
        }
        self.join()?;
        // Their memory is wanted to merge.
        (self.chunk, self.spare) = (Chunk::default(), None);
        let room = self.spill.as_ref().map(|spill| self.room(spill));
        room.map_or(Ok(()), |room| self.fold(most_runs(room)))
    }

    /// Memory to merge in, besides the tables of lists.
    fn room(&self, spill: &Spill) -> usize {
        spill.budget_bytes - 64 * self.model.parts().nlist
    }

    /// Folds runs that follow each other into one, until there are at most `most`, which is at
    /// least 2. Whoever goes on here after a stop finds either the runs or the one made of them:
    /// it takes the name of the first, and leads behind the last.
    fn fold(&mut self, most: usize) -> Result<()> {
        let most = most.max(2);
        let Some(folder) = self.spill.as_ref().map(|spill| spill.folder.clone()) else {
            return Ok(());
        };
        let shape = Shape {
            nlist: self.model.parts().nlist,
            code_bytes: self.model.parts().m,
            fine_bytes: self.model.fine_codec().map_or(0, FineCodec::code_bytes),
            window: MERGE_WINDOW_BYTES,
        };
        while self.runs.len() > most {
            let mut rest = std::mem::take(&mut self.runs);
            while !rest.is_empty() {
                let others = rest.split_off(most.min(rest.len()));
                let some = std::mem::replace(&mut rest, others);
                self.runs.push(fold::into_one(some, &folder, shape)?);
            }
        }
        Ok(())
    }

    /// The memory that merging may take.
    fn bounds(&self) -> Bounds {
        let Some(spill) = self.spill.as_ref().filter(|_| self.runs.len() > 1) else {
            let (batch_bytes, window) = (BATCH_BYTES, WINDOW_BYTES);
            return Bounds { batch_bytes, window, list_bytes: None, folder: None };
        };
        let columns = 2 * self.runs.len() * COLUMN_BYTES;
        let rest = self.room(spill) - columns;
        Bounds {
            batch_bytes: (rest / 16).clamp(64 << 10, BATCH_BYTES),
            window: MERGE_WINDOW_BYTES,
            list_bytes: Some((rest / 4, spill.budget_bytes - rest + spill.beside_bytes)),
            folder: Some(spill.folder.clone()),
        }
    }
}

/// Runs that are merged at once: two columns of each are read, in half of the room.
fn most_runs(room: usize) -> usize {
    (room / 2 / (2 * COLUMN_BYTES)).max(2)
}

/// The file of the run whose first row has this ordinal.
fn run_path(folder: &Path, first: u32) -> PathBuf {
    folder.join(format!("{first:05}.run"))
}

/// The name of a shard's file.
pub(crate) fn shard_name(plan: Hash, task: u32, checksum: &Hash) -> String {
    format!("{}-{task:05}-{}.shard", plan.short(), checksum.short())
}
