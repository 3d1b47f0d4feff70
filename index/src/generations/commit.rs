//! Commits: the files of a new generation are opened and compared with each other before the
//! generation is published.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use roaring::RoaringBitmap;

use crate::base::error::{Error, FileTrouble, Result};
use crate::generations::{Dba, Generation, IndexDir, NewGeneration};
use crate::model::Model;
use crate::shard::Shard;
use crate::shard::ShardEntry;

impl IndexDir {
    /// Writes a new generation and makes it current, if the current one is still `expected` (a
    /// number, or `None` for an index without one). Its number is the largest that exists + 1, also
    /// after a rollback.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another generation became current meanwhile; [`Error::Invalid`] if
    /// the model is not there, or two rows that are not deleted have one id;
    /// [`Error::Misplaced`] if a shard is not the one that `new` names; what opening model and
    /// shards gives. The earlier generation is then still current.
    pub fn commit(&self, expected: Option<u64>, new: NewGeneration) -> Result<Generation> {
        self.commit_augmented(expected, new, None)
    }

    /// [`Self::commit`] of a generation whose descriptors were augmented.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn commit_augmented(
        &self,
        expected: Option<u64>,
        new: NewGeneration,
        dba: Option<Dba>,
    ) -> Result<Generation> {
        let path = self.model_path(&new.model)?;
        let model = Model::open(&path).map_err(|error| match error.trouble() {
            Some(FileTrouble::Missing) => {
                Error::invalid(format!("{}: the generation's model is missing", path.display()))
            }
            _ => error,
        })?;
        if model.hash() != new.model {
            return Err(Error::ModelMismatch { path, expected: new.model, found: model.hash() });
        }
        let mut shards = Vec::with_capacity(new.shards.len());
        for entry in &new.shards {
            let shard = open_named(&self.shard_path(&entry.name)?, &model, entry)?;
            let deleted = match new.tombstones.get(&entry.name) {
                Some(hash) => self.tombstones(hash, shard.rows())?,
                None => RoaringBitmap::new(),
            };
            shards.push((shard, deleted));
        }
        let rows: Vec<WithDeleted<'_>> =
            shards.iter().map(|(s, d)| (s, (!d.is_empty()).then_some(d))).collect();
        unique_ids(&rows)?;
        self.publish(expected, new, dba)
    }
}

/// Opens the shard that a generation names, and compares it with the generation's entry.
///
/// # Errors
/// Those of [`Shard::open`]; [`Error::Misplaced`].
pub(crate) fn open_named(path: &Path, model: &Model, entry: &ShardEntry) -> Result<Shard> {
    // A file of another kind or model may be sound: it is only in the wrong place.
    let misplaced = |what, expected: String, found: String| Error::Misplaced {
        path: path.to_owned(),
        what,
        expected,
        found,
    };
    let shard = Shard::open(path, model).map_err(|error| match error {
        Error::WrongKind { expected, found, .. } => misplaced("kind", expected, found),
        Error::ModelMismatch { expected, found, .. } => {
            misplaced("model", expected.to_string(), found.to_string())
        }
        other => other,
    })?;
    let (meta, file) = (shard.meta(), shard.file());
    // The facts that people know come first, for the message; the seal decides.
    let facts = [
        ("plan", entry.plan.to_string(), meta.plan.to_string()),
        ("task", entry.task.to_string(), meta.task.to_string()),
        ("rows", entry.rows.to_string(), meta.rows.to_string()),
        ("bytes", entry.bytes.to_string(), file.bytes().to_string()),
        ("seal", entry.seal.to_string(), file.seal().to_string()),
    ];
    shard.intact()?;
    match facts.into_iter().find(|(_, expected, found)| expected != found) {
        Some((what, expected, found)) => Err(misplaced(what, expected, found)),
        None => Ok(shard),
    }
}

/// A shard and those of its rows that are deleted.
pub(crate) type WithDeleted<'a> = (&'a Shard, Option<&'a RoaringBitmap>);

/// Refuses an id of two rows that are not deleted. Each shard's own ids are all
/// different. Shards whose ids lie in ranges that do not touch cost nothing; the others are read
/// through in the order of their ids.
///
/// # Errors
/// [`Error::Invalid`] naming both rows; [`Error::Corrupt`].
pub(crate) fn unique_ids(shards: &[WithDeleted<'_>]) -> Result<()> {
    let mut ranges = Vec::with_capacity(shards.len());
    for (number, (shard, _)) in shards.iter().enumerate() {
        let [first, last] = [0, shard.rows() - 1].map(|rank| shard.ranked(rank));
        ranges.push((first?.0, last?.0, number));
    }
    ranges.sort_unstable();
    let mut rest = ranges.as_slice();
    while let Some(&(_, mut end, _)) = rest.first() {
        let mut together = 1;
        while let Some(&(_, last, _)) = rest.get(together).filter(|next| next.0 <= end) {
            end = end.max(last);
            together += 1;
        }
        let (group, others) = rest.split_at(together);
        if together > 1 {
            let group: Vec<_> = group.iter().map(|&(_, _, number)| shards[number]).collect();
            merge(&group)?;
        }
        rest = others;
    }
    Ok(())
}

/// Goes through the ids of shards in ascending order.
fn merge(shards: &[WithDeleted<'_>]) -> Result<()> {
    let mut heap = BinaryHeap::with_capacity(shards.len());
    let push = |heap: &mut BinaryHeap<_>, number: usize, from: u32| -> Result<()> {
        let (shard, deleted) = shards[number];
        for rank in from..shard.rows() {
            let (id, ordinal) = shard.ranked(rank)?;
            if deleted.is_none_or(|deleted| !deleted.contains(ordinal)) {
                heap.push(Reverse((id, number, rank, ordinal)));
                break;
            }
        }
        Ok(())
    };
    for number in 0..shards.len() {
        push(&mut heap, number, 0)?;
    }
    let mut before: Option<(u64, usize, u32)> = None;
    while let Some(Reverse((id, number, rank, ordinal))) = heap.pop() {
        if let Some((_, other, row)) = before.filter(|&(last, ..)| last == id) {
            let place = |number: usize, ordinal| {
                let shard: &Shard = shards[number].0;
                Ok::<_, Error>(format!(
                    "{} (ordinal {ordinal}, key {:?})",
                    shard.path().display(),
                    shard.key(ordinal)?
                ))
            };
            return Err(Error::invalid(format!(
                "id {id} is twice in the generation: in {} and in {}",
                place(other, row)?,
                place(number, ordinal)?
            )));
        }
        before = Some((id, number, ordinal));
        push(&mut heap, number, rank + 1)?;
    }
    Ok(())
}
