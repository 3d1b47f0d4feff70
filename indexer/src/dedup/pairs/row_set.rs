//! The rows of a run: their numbers, and which of them are new.

use ocelli_index::{DedupIndex, Generation, Hasher, IndexDir, Model, Row, Shard, Snapshot};
use roaring::RoaringBitmap;

use crate::dedup::edge::RowNumber;
use crate::{Error, Result};

/// The rows of an index and, behind them, those of another one that it is compared with.
///
/// Where some rows are known to be old, only pairs with a new row count. Memory: at most a bit a
/// row.
#[derive(Debug)]
pub struct RowSet {
    /// The index, and the other one.
    indexes: Vec<Snapshot>,
    /// Shards of all indexes, as if of one.
    all: Snapshot,
    /// Of each shard of all, the number of its first row; and the number of all rows.
    starts: Vec<RowNumber>,
    /// Old rows of each shard of all, by ordinal; none if all rows are alike.
    old: Option<Vec<RoaringBitmap>>,
}

impl RowSet {
    /// The rows of a generation of an index (the current one unless another is named), and those of
    /// another index, which are old then. With `since`, rows that the index had in that generation
    /// are old.
    ///
    /// # Errors
    /// Those of opening the indexes; indexes of different models; a `since` that is no earlier
    /// generation.
    pub fn open(
        index: (&IndexDir, Option<u64>),
        against: Option<(&IndexDir, Option<u64>)>,
        since: Option<u64>,
    ) -> Result<Self> {
        let own = Snapshot::open_in(index.0, index.1)?;
        let other = against.map(|(dir, number)| Snapshot::open_in(dir, number)).transpose()?;
        let all = own.beside(other.as_ref(), &[]).map_err(|error| match error {
            ocelli_index::Error::ModelMismatch { .. } => Error::Invalid(format!(
                "{error}: the two indexes have different models, so their codes cannot be \
                 compared; build one of them again under the model of the other (ocelli rebuild)"
            )),
            other => other.into(),
        })?;
        let mut starts = vec![0];
        let mut sum = 0;
        for shard in all.shards() {
            sum += u64::from(shard.rows());
            starts.push(sum);
        }
        let mut old = vec![RoaringBitmap::new(); all.shards().len()];
        if let Some(since) = since {
            known_since(index.0, &own, since, &mut old)?;
        }
        let first_other = own.shards().len();
        for (old, shard) in old.iter_mut().zip(all.shards()).skip(first_other) {
            old.insert_range(0..shard.rows());
        }
        old.iter_mut().for_each(|old| _ = old.optimize());
        let has_sides = since.is_some() || other.is_some();
        let indexes = std::iter::once(own).chain(other).collect();
        Ok(Self { indexes, all, starts, old: has_sides.then_some(old) })
    }

    /// The generations that the rows are of: that of the index, and that of the other one.
    ///
    /// # Errors
    /// None but those of hashing.
    pub(super) fn sources(&self) -> (DedupIndex, Option<DedupIndex>) {
        let mut sources = self.indexes.iter().map(|index| source_of(index.generation()));
        let own = sources.next();
        let own = own.unwrap_or_else(|| source_of(self.all.generation()));
        (own, sources.next())
    }

    /// The snapshots of the index and of the other one.
    pub fn indexes(&self) -> &[Snapshot] {
        &self.indexes
    }

    /// All rows as if they were of one index.
    pub fn all(&self) -> &Snapshot {
        &self.all
    }

    /// The model of all rows.
    pub fn model(&self) -> &Model {
        self.all.model()
    }

    /// Rows, deleted ones included: numbers are below this.
    pub fn count(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Rows of the index alone, deleted ones included.
    pub fn own_count(&self) -> u64 {
        let own = self.indexes.first().map_or(0, |own| own.shards().len());
        self.starts.get(own).copied().unwrap_or(0)
    }

    /// The number of the first row of one of the indexes.
    pub(super) fn first_of(&self, index: usize) -> RowNumber {
        if index == 0 { 0 } else { self.own_count() }
    }

    /// The number of a row of [`Self::all`].
    pub fn number(&self, row: Row) -> RowNumber {
        self.starts.get(row.shard as usize).copied().unwrap_or(0) + u64::from(row.ordinal)
    }

    /// The row of a number, in [`Self::all`].
    pub fn row(&self, number: RowNumber) -> Row {
        let shard = self.starts.partition_point(|&start| start <= number).saturating_sub(1);
        let first = self.starts.get(shard).copied().unwrap_or(0);
        Row { shard: shard as u32, ordinal: (number - first) as u32 }
    }

    /// Whether only pairs with a new row count.
    pub fn has_sides(&self) -> bool {
        self.old.is_some()
    }

    /// Whether a row was there before: it is never removed. False where all rows are alike.
    pub fn is_old(&self, row: Row) -> bool {
        let old = self.old.as_ref().and_then(|old| old.get(row.shard as usize));
        old.is_some_and(|old| old.contains(row.ordinal))
    }

    /// Rows that look for others: new ones that are not deleted. Hands out their numbers,
    /// ascending.
    pub(super) fn each_seeker(&self, mut take: impl FnMut(RowNumber)) {
        for (shard, of_shard) in (0u32..).zip(self.all.shards()) {
            let deleted = self.all.deleted(shard);
            let old = self.old.as_ref().and_then(|old| old.get(shard as usize));
            if old.is_some_and(|old| old.len() == u64::from(of_shard.rows())) {
                continue;
            }
            let is_in = |rows: Option<&RoaringBitmap>, o| rows.is_some_and(|r| r.contains(o));
            for ordinal in 0..of_shard.rows() {
                if !is_in(old, ordinal) && !is_in(deleted, ordinal) {
                    take(self.number(Row { shard, ordinal }));
                }
            }
        }
    }
}

/// A generation as a plan names it.
fn source_of(generation: &Generation) -> DedupIndex {
    let mut hasher = Hasher::new();
    hasher.update(format!("{}\n", generation.model).as_bytes());
    for shard in &generation.shards {
        let tombstones = generation.tombstones.get(&shard.name);
        let deleted = tombstones.map_or_else(|| "none".to_owned(), ToString::to_string);
        hasher.update(format!("{} {deleted}\n", shard.checksum).as_bytes());
    }
    DedupIndex { generation: generation.number, contents: hasher.finish() }
}

/// Puts into `old` the rows of `now` that the index had in generation `since` already: those of the
/// same shards, and those that a compaction has copied, with their ids and codes.
fn known_since(
    dir: &IndexDir,
    now: &Snapshot,
    since: u64,
    old: &mut [RoaringBitmap],
) -> Result<()> {
    let current = now.generation();
    if since >= current.number {
        return Err(Error::Invalid(format!(
            "--since {since}: expected a generation before {}, that of the rows of {}",
            current.number,
            dir.root().display()
        )));
    }
    let then = Snapshot::open_in(dir, Some(since)).map_err(|error| {
        Error::Invalid(format!(
            "--since {since}: {error}; generations that are there: {}",
            dir.generations().map_or_else(|e| e.to_string(), |all| format!("{all:?}"))
        ))
    })?;
    let is_same_model = then.model().hash() == now.model().hash();
    for ((entry, shard), old) in current.shards.iter().zip(now.shards()).zip(old) {
        if then.generation().shard(&entry.name).is_some() {
            old.insert_range(0..shard.rows());
            continue;
        }
        for ordinal in 0..shard.rows() {
            let Some(before) = then.find_id(shard.id(ordinal)?)? else { continue };
            if !is_same_model || is_same_row(&then, before, shard, ordinal)? {
                old.insert(ordinal);
            }
        }
    }
    Ok(())
}

/// Whether a row of another shard has the same key and the same codes.
fn is_same_row(then: &Snapshot, before: Row, shard: &Shard, ordinal: u32) -> Result<bool> {
    let Some(was) = then.shards().nth(before.shard as usize) else { return Ok(false) };
    let same = was.key(before.ordinal)? == shard.key(ordinal)?
        && was.code(before.ordinal)? == shard.code(ordinal)?;
    if !same {
        return Ok(false);
    }
    let fine = |shard: &Shard, ordinal: u32| -> Result<Vec<u8>> {
        Ok(shard.fine_of_slot(shard.slot(ordinal)?)?.to_vec())
    };
    Ok(was.has_fine() != shard.has_fine() || fine(was, before.ordinal)? == fine(shard, ordinal)?)
}
