//! Changes of an index: the one way by which a generation comes to be.
//!
//! A change is planned on one generation and committed on another, if somebody else committed
//! meanwhile. Each kind says what it makes of that:
//!
//! | change | onto a generation that it was not planned on |
//! |---|---|
//! | [`Change::Delete`], [`Change::DeleteListed`] | applies: it names ids and keys, not rows |
//! | [`Change::Add`] | applies under the same model, unless others took the ids that it gave out |
//! | [`Change::Compact`] | applies if its sources are there; rows deleted meanwhile stay deleted |
//! | [`Change::Replace`], [`Change::Rollback`] | conflict |

mod add;
mod compact;
mod conflict;
mod delete;
mod names;
mod rollback;

use std::collections::{BTreeMap, BTreeSet};

use roaring::RoaringBitmap;

use super::deletes::{Cause, NewDeletes};
use super::manifest::{Dba, Generation, MadeBy, NewGeneration};
use super::named::open_named;
use super::unique::{WithDeleted, unique_ids, unique_keys};
use super::{IndexDir, Seen};
use crate::attributes::Schema;
use crate::base::error::{Error, FileTrouble, Result};
use crate::base::hash::Hash;
use crate::model::Model;
use crate::shard::{Shard, ShardEntry};

pub use compact::Source;
pub use names::{NameList, NameListBuilder, NameRef, Names};

/// Swaps that are tried before a change gives up. Each that is lost means that another change came
/// through.
const ATTEMPTS: usize = 1000;

/// Names that are in no row, of which a report tells.
const FIRST: usize = 3;

/// A change of an index. Files that it names were written before.
#[derive(Clone, Debug)]
pub enum Change {
    /// Other shards take the place of all that the index holds.
    Replace {
        /// The generation that it was planned on; none in an index without one.
        parent: Option<u64>,
        /// The shards, their tombstones, and the delete log that goes on.
        new: NewGeneration,
        /// How descriptors were augmented, if they were.
        dba: Option<Dba>,
    },
    /// Shards beside those that are there.
    Add {
        /// The generation that it was planned on.
        parent: u64,
        /// Model of the shards.
        model: Hash,
        /// The shards.
        shards: Vec<ShardEntry>,
        /// First of the ids that were given to rows without any, from the parent's next id
        /// ([`IndexDir::next_id`]); none if all rows brought theirs.
        first_id: Option<u64>,
        /// Smallest id above all of the rows'.
        next_id: u64,
        /// Rows that have the id or key of a new row are deleted; else they are an error.
        supersede: bool,
    },
    /// Rows are deleted, wherever they are.
    Delete {
        /// Ids and keys of the rows.
        names: Names,
        /// The reason that the delete log gives.
        cause: Cause,
    },
    /// Rows are deleted whose names are in a list, which may be longer than the memory for it.
    DeleteListed {
        /// Ids and keys of the rows.
        names: NameList,
        /// The reason that the delete log gives.
        cause: Cause,
    },
    /// Shards take the place of others, and hold those of their rows that are not deleted.
    Compact {
        /// The shards that go, as they were when the new ones were made of them.
        sources: Vec<Source>,
        /// The new shards. None if all rows of the sources are deleted.
        shards: Vec<ShardEntry>,
    },
    /// An earlier generation's shards are the index again. Rows deleted since stay deleted.
    Rollback {
        /// The generation that must be current.
        expected: u64,
        /// The generation to go back to.
        to: u64,
        /// Rows deleted since come back, and the delete log forgets them.
        undo_deletes: bool,
    },
}

/// A judge of a generation that is about to become current: its error keeps it from that.
pub type Gate<'a> = &'a dyn Fn(&IndexDir, &Generation) -> Result<()>;

/// The rest of what a commit is told.
#[derive(Clone, Default)]
pub struct CommitOptions<'a> {
    /// The command, for people.
    pub made_by: Option<MadeBy>,
    /// Judges the generation before it becomes current.
    pub gate: Option<Gate<'a>>,
}

/// The result of a change.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The generation that is current after it.
    pub generation: Generation,
    /// Whether it became current by this change. A delete of nothing changes nothing.
    pub changed: bool,
    /// Whether it was planned on another generation than it was made from.
    pub rebased: bool,
    /// Counts of rows.
    pub rows: RowCounts,
    /// The first few names that are in no row.
    pub missing_first: Vec<String>,
}

/// Rows that a change dealt with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows deleted by name.
    pub deleted: u64,
    /// Names that are in no row.
    pub missing: u64,
    /// Rows deleted because another has their id or key.
    pub superseded: u64,
    /// Rows deleted while this change was being made, or since the generation to go back to.
    pub carried: u64,
}

/// A generation that is not published yet.
pub(in crate::generations) struct Draft {
    pub parent: Option<u64>,
    pub new: NewGeneration,
    pub dba: Option<Dba>,
    /// Rows for the delete log.
    pub log: NewDeletes,
    pub rows: RowCounts,
    pub missing_first: Vec<String>,
    pub rebased: bool,
    /// The generation's number is above this one.
    pub above: u64,
}

impl Draft {
    /// The generation `of` once more, to be changed. Ids that later ones gave out stay given out.
    pub(super) fn after(index: &IndexDir, of: &Generation) -> Result<Self> {
        Ok(Self::again(of, index.next_id(Some(of))?))
    }

    /// The generation `of` once more, with another next id.
    pub(in crate::generations) fn again(of: &Generation, next_id: u64) -> Self {
        Self {
            parent: Some(of.number),
            new: NewGeneration {
                model: of.model,
                shards: of.shards.clone(),
                tombstones: of.tombstones.clone(),
                deletes: of.deletes,
                next_id,
            },
            dba: of.dba,
            log: NewDeletes::default(),
            rows: RowCounts::default(),
            missing_first: Vec::new(),
            rebased: false,
            above: 0,
        }
    }
}

/// The outcome of a change, applied to the current generation.
pub(in crate::generations) enum Outcome {
    Publish(Box<Draft>),
    /// A generation that exists becomes current.
    Activate(Box<Generation>),
    /// The current generation is what was asked for.
    Unchanged(Box<Draft>),
}

/// A shard that is open, and those of its rows that are deleted.
pub(super) type OpenShard = (Shard, RoaringBitmap);

/// Rows without deleted ones as the checks want them.
fn with_deleted(shards: &[OpenShard]) -> Vec<WithDeleted<'_>> {
    shards.iter().map(|(shard, dead)| (shard, (!dead.is_empty()).then_some(dead))).collect()
}

/// Refuses a column that has one type in one shard and another in another.
fn same_columns<'a>(shards: impl Iterator<Item = &'a OpenShard>) -> Result<()> {
    let mut schema = Schema::default();
    for (shard, _) in shards {
        if let Some(columns) = shard.columns() {
            schema.merge(columns.schema()).map_err(|error| {
                Error::invalid(format!(
                    "{}: {error}; give the column another name, or the same type",
                    shard.path().display()
                ))
            })?;
        }
    }
    Ok(())
}

/// Refuses an id or a key of two rows that are not deleted.
fn unique(shards: &[OpenShard]) -> Result<()> {
    let rows = with_deleted(shards);
    unique_ids(&rows)?;
    unique_keys(&rows)?;
    shards.iter().try_for_each(|(shard, _)| shard.intact())
}

impl IndexDir {
    /// Makes a change: the new generation is made from the current one, its rows are checked, and
    /// it becomes current by compare-and-swap. If another change came first, it is made again from
    /// what is current then. Until the last step, and where any fails, the index stays as it was.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the change does not fit what became current meanwhile, with what
    /// became of the index and what to do; [`Error::Invalid`] if two rows that are not deleted
    /// would have one id or key; [`Error::Misplaced`] if a shard is not the one that is named; the
    /// gate's; those of opening the files.
    pub fn commit_change(&self, change: &Change, options: &CommitOptions<'_>) -> Result<Committed> {
        // Whoever removes files waits until those that are named here are in the generation.
        let _guard = self.storage.guard(false)?;
        let mut lost = None;
        for _ in 0..ATTEMPTS {
            let seen = self.see_current()?;
            let outcome = self.outcome(change, seen.generation.as_ref())?;
            match self.apply(seen, outcome, options) {
                Err(error @ Error::Conflict { .. }) => lost = Some(error),
                done => return done,
            }
        }
        Err(lost.unwrap_or_else(|| Error::invalid("a commit without attempts")))
    }

    fn outcome(&self, change: &Change, current: Option<&Generation>) -> Result<Outcome> {
        if let Change::Replace { parent, new, dba } = change {
            return self.replace(current, *parent, new, *dba);
        }
        if current.is_none() {
            self.refuse_lost_current()?;
        }
        let current = current.ok_or_else(|| {
            Error::not_found(format!(
                "{}: the index has no generation yet, so there is nothing to change; make one by \
                 `ocelli build`",
                self.root().display()
            ))
        })?;
        match change {
            Change::Replace { .. } => Err(Error::invalid("a replacement is no other change")),
            Change::Add { parent, model, shards, first_id, next_id, supersede } => {
                let add = add::Add {
                    parent: *parent,
                    model: *model,
                    shards,
                    first_id: *first_id,
                    next_id: *next_id,
                    supersede: *supersede,
                };
                self.add(current, &add)
            }
            Change::Delete { names, cause } => self.delete(current, &NameList::of(names)?, *cause),
            Change::DeleteListed { names, cause } => self.delete(current, names, *cause),
            Change::Compact { sources, shards } => self.compact(current, sources, shards),
            Change::Rollback { expected, to, undo_deletes } => {
                self.roll_back(current, *expected, *to, *undo_deletes)
            }
        }
    }

    /// Publishes an outcome, if the current generation is still what was seen.
    pub(super) fn apply(
        &self,
        seen: Seen,
        outcome: Outcome,
        options: &CommitOptions<'_>,
    ) -> Result<Committed> {
        match outcome {
            Outcome::Unchanged(draft) => {
                let current = seen.generation;
                let generation = current.ok_or_else(|| Error::not_found("no generation"))?;
                let Draft { rows, missing_first, .. } = *draft;
                Ok(Committed { generation, changed: false, rebased: false, rows, missing_first })
            }
            Outcome::Activate(generation) => {
                if let Some(gate) = options.gate {
                    gate(self, &generation)?;
                }
                self.swap_current(&seen, &generation)?;
                Ok(Committed {
                    generation: *generation,
                    changed: true,
                    rebased: false,
                    rows: RowCounts::default(),
                    missing_first: Vec::new(),
                })
            }
            Outcome::Publish(draft) => self.publish(&seen, *draft, options),
        }
    }

    pub(super) fn publish(
        &self,
        seen: &Seen,
        draft: Draft,
        options: &CommitOptions<'_>,
    ) -> Result<Committed> {
        let Draft { parent, new, dba, log, rows, missing_first, rebased, above } = draft;
        let number = self.number_after(above)?;
        let deletes = match log.is_empty() {
            true => new.deletes,
            false => Some(self.put_deletes(new.deletes, &log, number)?),
        };
        // Files that were open for it.
        drop(log);
        let generation = Generation {
            format: 1,
            number,
            parent,
            model: new.model,
            shards: new.shards,
            tombstones: new.tombstones,
            deletes,
            next_id: new.next_id,
            dba,
            made_by: options.made_by.clone(),
        };
        if let Some(gate) = options.gate {
            gate(self, &generation)?;
        }
        self.put_generation(&generation)?;
        if let Err(error) = self.swap_current(seen, &generation) {
            // Nobody has seen it, unless somebody else made the same one, which is current now. If
            // it cannot be removed it does no harm. After another error it may be current.
            let is_current = self.current_name().map(|name| name.map(|(number, _)| number));
            if matches!(error, Error::Conflict { .. })
                && is_current.is_ok_and(|current| current != Some(number))
            {
                let _ = self.storage.remove(&super::names::generation(number));
            }
            return Err(error);
        }
        Ok(Committed { generation, changed: true, rebased, rows, missing_first })
    }

    /// The number of a new generation: above all that there are, and above `above`.
    fn number_after(&self, above: u64) -> Result<u64> {
        let last = self.generations()?.last().copied().unwrap_or(0).max(above);
        last.checked_add(1).ok_or_else(|| {
            Error::invalid(format!(
                "{}: there is a generation of number {last}, and no number above it: expected \
                 numbers that commits gave, from 1 on",
                self.root().display()
            ))
        })
    }

    fn replace(
        &self,
        current: Option<&Generation>,
        parent: Option<u64>,
        new: &NewGeneration,
        dba: Option<Dba>,
    ) -> Result<Outcome> {
        if current.map(|current| current.number) != parent {
            return Err(self.moved(parent, current));
        }
        if current.is_none() {
            self.refuse_new_beginning()?;
        }
        let model = self.generation_model(&new.model)?;
        let shards = self.open_shards(&model, &new.shards, &new.tombstones)?;
        unique(&shards)?;
        same_columns(shards.iter())?;
        self.require_codecs(&new.model, shards.iter().map(|(shard, _)| shard))?;
        // Ids may have been given since it was planned, and then been rolled back from.
        let next_id = match self.next_id(current) {
            Ok(given) => new.next_id.max(given),
            // A recovery takes note of what a lost generation gave.
            Err(error) if error.is_lost() => new.next_id,
            Err(error) => return Err(error),
        };
        Ok(Outcome::Publish(Box::new(Draft {
            parent,
            new: NewGeneration { next_id, ..new.clone() },
            dba,
            log: NewDeletes::default(),
            rows: RowCounts::default(),
            missing_first: Vec::new(),
            rebased: false,
            above: 0,
        })))
    }

    /// [`Self::model`] of a generation, without fine codec: what a change says where it is missing.
    pub(super) fn generation_model(&self, hash: &Hash) -> Result<Model> {
        self.model(hash, None).map_err(|error| match (error.trouble(), error.path()) {
            (Some(FileTrouble::Missing), Some(path)) => {
                Error::invalid(format!("{}: the generation's model is missing", path.display()))
            }
            _ => error,
        })
    }

    /// Requires the fine codecs that shards of a model name: without them, a generation cannot be
    /// opened.
    ///
    /// # Errors
    /// Those of [`Self::model`].
    pub fn require_codecs<'a>(
        &self,
        model: &Hash,
        shards: impl Iterator<Item = &'a Shard>,
    ) -> Result<()> {
        let codecs: BTreeSet<Hash> =
            shards.filter_map(|shard| Some(shard.fine()?.codec())).collect();
        codecs.iter().try_for_each(|codec| self.model(model, Some(codec)).map(drop))
    }

    /// The shard of a generation's entry, compared with it.
    ///
    /// # Errors
    /// Those of [`Shard::open`]; [`Error::Misplaced`] for another shard than the entry names.
    pub fn open_shard(&self, model: &Model, entry: &ShardEntry) -> Result<Shard> {
        open_named(&self.shard_path(&entry.name)?, model, entry)
    }

    fn open_shards(
        &self,
        model: &Model,
        entries: &[ShardEntry],
        tombstones: &BTreeMap<String, Hash>,
    ) -> Result<Vec<OpenShard>> {
        let open = |entry: &ShardEntry| {
            let shard = self.open_shard(model, entry)?;
            let dead = match tombstones.get(&entry.name) {
                Some(hash) => self.tombstones(hash, shard.rows())?,
                None => RoaringBitmap::new(),
            };
            Ok((shard, dead))
        };
        entries.iter().map(open).collect()
    }

    /// Adds deleted rows of a shard to those of the draft, and, with a cause, to its log.
    fn bury(
        &self,
        draft: &mut Draft,
        (shard, dead): OpenShard,
        entry: &ShardEntry,
        newly: RoaringBitmap,
        cause: Option<Cause>,
    ) -> Result<()> {
        if newly.is_empty() {
            return Ok(());
        }
        shard.intact()?;
        let hash = self.put_tombstones(&(&dead | &newly))?;
        draft.new.tombstones.insert(entry.name.clone(), hash);
        draft.log.of_shards.extend(cause.map(|cause| (shard, newly, cause)));
        Ok(())
    }
}
