//! Shards that take the place of others.

use serde::{Deserialize, Serialize};

use roaring::RoaringBitmap;

use super::{Draft, Outcome};
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::generations::IndexDir;
use crate::generations::manifest::Generation;
use crate::shard::ShardEntry;

/// A shard that a compaction copied rows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The shard.
    pub entry: ShardEntry,
    /// Its tombstones when it was copied; the rows that they name were left out.
    pub tombstones: Option<Hash>,
}

impl IndexDir {
    pub(super) fn compact(
        &self,
        current: &Generation,
        sources: &[Source],
        shards: &[ShardEntry],
    ) -> Result<Outcome> {
        let root = self.root().display();
        for source in sources {
            if current.shard(&source.entry.name) != Some(&source.entry) {
                return Err(Error::Conflict {
                    what: format!(
                        "{root}: expected shard {} in generation {}, found none: another \
                         compaction or a rebuild took its place; run the compaction again",
                        source.entry.name, current.number
                    ),
                });
            }
        }
        let model = self.generation_model(&current.model)?;
        let new = self.open_shards(&model, shards, &Default::default())?;
        let mut buried = vec![RoaringBitmap::new(); new.len()];
        let mut draft = Draft::after(self, current)?;
        let mut copied = 0;
        for source in sources {
            let entry = std::slice::from_ref(&source.entry);
            let open = self.open_shards(&model, entry, &current.tombstones)?;
            let [(shard, dead)] = open.as_slice() else { continue };
            let dead_then = match &source.tombstones {
                Some(hash) => self.tombstones(hash, shard.rows())?,
                None => RoaringBitmap::new(),
            };
            self.none_came_back(&source.entry, current, (&dead_then - dead).len())?;
            copied += u64::from(shard.rows()) - dead_then.len();
            for ordinal in &(dead - &dead_then) {
                let id = shard.id(ordinal)?;
                let mut found = false;
                for ((shard, _), buried) in new.iter().zip(&mut buried) {
                    if let Some(ordinal) = shard.find_id(id)? {
                        buried.insert(ordinal);
                        found = true;
                    }
                }
                if !found {
                    return Err(Error::invalid(format!(
                        "{root}: id {id} of shard {} is in none of the shards that were made of it",
                        source.entry.name
                    )));
                }
            }
        }
        self.check_count(shards, copied)?;
        let is_source = |name: &str| sources.iter().any(|source| source.entry.name == name);
        let first = draft.new.shards.iter().position(|shard| is_source(&shard.name));
        let first = first.unwrap_or(draft.new.shards.len());
        draft.new.shards.retain(|shard| !is_source(&shard.name));
        draft.new.shards.splice(first..first, shards.iter().cloned());
        draft.new.tombstones.retain(|name, _| !is_source(name));
        for ((entry, shard), buried) in shards.iter().zip(new).zip(buried) {
            draft.rows.carried += buried.len();
            self.bury(&mut draft, shard, entry, buried, None)?;
        }
        draft.rebased = draft.rows.carried > 0;
        Ok(Outcome::Publish(Box::new(draft)))
    }

    /// Refuses a compaction without rows that live again: `came_back` of a source.
    fn none_came_back(&self, entry: &ShardEntry, of: &Generation, came_back: u64) -> Result<()> {
        if came_back == 0 {
            return Ok(());
        }
        Err(Error::Conflict {
            what: format!(
                "{}: {came_back} rows of shard {} were deleted when it was compacted and are not \
                 in generation {}: somebody went back to an earlier generation; run the compaction \
                 again",
                self.root().display(),
                entry.name,
                of.number
            ),
        })
    }

    /// Whether new shards have as many rows as were copied.
    fn check_count(&self, shards: &[ShardEntry], copied: u64) -> Result<()> {
        let rows: u64 = shards.iter().map(|shard| shard.rows).sum();
        if rows == copied {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{}: the new shards have {rows} rows, expected {copied}: those of their sources that \
             were not deleted",
            self.root().display()
        )))
    }
}
