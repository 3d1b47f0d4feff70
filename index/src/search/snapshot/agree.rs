//! Proves that the shards of a generation, its delete log and its file agree with each other, each
//! of them sound by itself.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::{Member, Snapshot};
use crate::attributes::ColumnType;
use crate::base::error::{Error, Result};
use crate::generations::Generation;
use crate::generations::deletes::DeletedRow;

/// Commands whose generations have all deleted rows of the generation before, and more.
const KEEP_DELETED: [&str; 6] = ["add", "upsert", "delete", "delete --erase", "compact", "gc"];

impl Snapshot {
    /// Checks that a column has one type in all shards.
    pub(super) fn verify_columns(&self) -> Result<()> {
        let mut types: BTreeMap<&str, (ColumnType, &Member)> = BTreeMap::new();
        for member in &self.members {
            let Some(columns) = member.shard.columns() else { continue };
            for column in columns.schema().columns() {
                let (ty, first) = *types.entry(&column.name).or_insert((column.ty, member));
                if ty != column.ty {
                    return Err(Error::invalid(format!(
                        "column {:?} is {ty} in shard {} and {} in shard {}: no filter can use it",
                        column.name, first.name, column.ty, member.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// Checks that the next id is above all ids that are in use.
    pub(super) fn verify_next_id(&self) -> Result<()> {
        let next = self.generation.next_id;
        for member in &self.members {
            let (last, _) = member.shard.ranked(member.shard.rows() - 1)?;
            if last >= next {
                return Err(Error::invalid(format!(
                    "id {last} of shard {} is in use, and generation {} has {next} as the next one \
                     to be given: rows that are added would take ids of others",
                    member.name, self.generation.number
                )));
            }
        }
        Ok(())
    }

    /// Checks that no row is found that the delete log says was deleted: of each shard, against the
    /// rows that were deleted since a generation that had it already.
    pub(super) fn verify_deleted(&self) -> Result<()> {
        // A log that is damaged is told of by itself.
        let hashes: Result<Vec<_>> = self.dir.delete_hashes(self.generation.deletes).collect();
        let firsts = self.first_generations();
        let ids: Vec<RangeInclusive<u64>> = self.members.iter().map(ids_of).collect();
        for hash in hashes.unwrap_or_default() {
            self.dir.each_deleted(&hash, |row| {
                self.verify_logged(&row)?;
                for (member, (&first, ids)) in self.members.iter().zip(firsts.iter().zip(&ids)) {
                    if row.is_asked_for() && row.generation > first && ids.contains(&row.id) {
                        self.verify_dead(member, &row)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Checks that a row of the delete log is one that there can have been.
    fn verify_logged(&self, row: &DeletedRow) -> Result<()> {
        let Generation { number, next_id, .. } = self.generation;
        if row.generation > number {
            return Err(Error::invalid(format!(
                "the delete log says that id {} was deleted in generation {}, which is after \
                 generation {number}",
                row.id, row.generation
            )));
        }
        if row.id >= next_id {
            return Err(Error::invalid(format!(
                "the delete log has id {}, and generation {number} has {next_id} as the next one \
                 to be given: the id would be given again",
                row.id
            )));
        }
        Ok(())
    }

    /// Checks that a row of the delete log is not found in a shard that had it.
    fn verify_dead(&self, member: &Member, row: &DeletedRow) -> Result<()> {
        let found = member.shard.find_id(row.id)?.filter(|&ordinal| member.alive(ordinal));
        let Some(ordinal) = found else { return Ok(()) };
        if member.shard.key(ordinal)? != row.key {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "id {} (key {:?}) of shard {} was deleted in generation {}, as the delete log says, \
             and is found in generation {}",
            row.id, row.key, member.name, row.generation, self.generation.number
        )))
    }

    /// For each shard, the earliest generation from which on it was never taken out, as far as
    /// generations can be read, and only commands came that bring no row back.
    fn first_generations(&self) -> Vec<u64> {
        let mut firsts = vec![self.generation.number; self.members.len()];
        let mut open: Vec<usize> = (0..firsts.len()).collect();
        let mut at: Generation = self.generation.clone();
        while !open.is_empty() {
            let keeps = |made: &str| KEEP_DELETED.contains(&made);
            let before = match (&at.made_by, at.parent) {
                (Some(made), Some(parent)) if keeps(&made.command) && parent < at.number => {
                    self.dir.generation(parent)
                }
                _ => break,
            };
            let Ok(before) = before else { break };
            open.retain(|&number| before.shard(&self.members[number].name).is_some());
            open.iter().for_each(|&number| firsts[number] = before.number);
            at = before;
        }
        firsts
    }
}

/// The smallest and the largest id of a shard; all ids where these cannot be read.
fn ids_of(member: &Member) -> RangeInclusive<u64> {
    let ranked = |rank| member.shard.ranked(rank).ok().map(|(id, _)| id);
    let last = ranked(member.shard.rows() - 1).unwrap_or(u64::MAX);
    ranked(0).unwrap_or(0)..=last
}
