//! The shards of the current generation, and their deleted rows.

use ocelli_index::{DeletedRow, FileTrouble, Hash, Model, Shard, ShardEntry};
use roaring::RoaringBitmap;

use super::log::Known;
use super::{Kept, Plan, Remains, is_named, nothing_left, unless_lost};
use crate::Result;

impl Plan {
    /// Keeps the shards that are sound.
    pub(super) fn keep_shards(
        &mut self,
        remains: &Remains,
        model: &Model,
        known: &Known,
        quick: bool,
    ) -> Result<()> {
        for entry in self.base.shards.clone() {
            let opened = self.dir.open_shard(model, &entry).and_then(|shard| match quick {
                true => Ok(shard),
                false => shard.verify().map(|()| shard),
            });
            match opened {
                Ok(shard) => self.keep(remains, known, entry, shard)?,
                Err(error) if error.is_lost() => self.lose(&entry, &error),
                Err(error) => return Err(error.into()),
            }
        }
        if self.kept.is_empty() && !self.base.shards.is_empty() {
            return Err(nothing_left(self.dir.root(), "no shard is left"));
        }
        Ok(())
    }

    fn keep(
        &mut self,
        remains: &Remains,
        known: &Known,
        entry: ShardEntry,
        shard: Shard,
    ) -> Result<()> {
        let dead = match self.base.tombstones.get(&entry.name).copied() {
            None => RoaringBitmap::new(),
            Some(hash) => match self.dir.tombstones(&hash, shard.rows()) {
                Ok(dead) => dead,
                Err(error) if error.is_lost() => {
                    let again = self.dead_again(remains, known, (&entry, &hash), &shard)?;
                    let Some(set) = again else {
                        let what = format!(
                            "{error}; no other file tells which rows of shard {} are deleted",
                            entry.name
                        );
                        return Err(nothing_left(self.dir.root(), &what));
                    };
                    self.report.steps.push(format!(
                        "tombstones of shard {} are written again, {} by the delete log; their \
                         SHA-256 proves them",
                        entry.name,
                        ocelli_text::counted(set.len(), "row")
                    ));
                    self.tombstones.push(set.clone());
                    set
                }
                Err(error) => return Err(error.into()),
            },
        };
        self.kept.push(Kept { entry, shard, dead });
        Ok(())
    }

    /// Takes note of a shard that is lost.
    fn lose(&mut self, entry: &ShardEntry, error: &ocelli_index::Error) {
        let dead = self.base.tombstones.get(&entry.name);
        let dead = dead.and_then(|hash| self.dir.tombstones(hash, u32::MAX).ok());
        let rows = entry.rows - dead.map_or(0, |dead| dead.len().min(entry.rows));
        self.report.rows_lost += rows;
        self.new = true;
        let gone = match error.trouble() {
            Some(FileTrouble::Missing) => "is lost",
            _ => "is damaged",
        };
        self.report.steps.push(format!("shard {} {gone} and is left out", entry.name));
        self.report.loses.push(format!(
            "{} of shard {}",
            ocelli_text::counted(rows, "row"),
            entry.name
        ));
    }

    /// The deleted rows of a shard by other files, if their SHA-256 proves that they are all.
    fn dead_again(
        &self,
        remains: &Remains,
        known: &Known,
        (entry, hash): (&ShardEntry, &Hash),
        shard: &Shard,
    ) -> Result<Option<RoaringBitmap>> {
        let generations = &remains.generations;
        let first = generations.values().find(|generation| generation.shard(&entry.name).is_some());
        let first = first.map_or(0, |generation| generation.number);
        // Rows may have been deleted and added again, in another shard, before this one was there.
        let later = rows_of(shard, known.rows.iter().filter(|row| row.generation > first))?;
        let all = rows_of(shard, known.rows.iter())?;
        let mut sets = vec![later, all];
        // Deletions that are in no log are in the tombstones of earlier generations.
        for generation in generations.values().rev() {
            let Some(other) = generation.tombstones.get(&entry.name) else { continue };
            if let Some(earlier) = unless_lost(self.dir.tombstones(other, shard.rows()))? {
                sets.extend([&sets[0] | &earlier, &sets[1] | &earlier]);
            }
        }
        Ok(sets.into_iter().find(|set| is_named(set, hash)))
    }
}

/// Ordinals of the rows of a log that a shard has.
fn rows_of<'a>(
    shard: &Shard,
    log: impl Iterator<Item = &'a DeletedRow>,
) -> ocelli_index::Result<RoaringBitmap> {
    let mut rows = RoaringBitmap::new();
    for row in log {
        if let Some(ordinal) = shard.find_id(row.id)?
            && shard.key(ordinal)? == row.key
        {
            rows.insert(ordinal);
        }
    }
    Ok(rows)
}
