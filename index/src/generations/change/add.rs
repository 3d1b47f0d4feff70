//! Shards beside those that are there.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::{Draft, Outcome, same_columns, unique, with_deleted};
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::generations::IndexDir;
use crate::generations::deletes::Cause;
use crate::generations::manifest::Generation;
use crate::generations::unique::shared::{Shared, in_both};
use crate::generations::unique::twice;
use crate::shard::ShardEntry;

/// The fields of [`Change::Add`](super::Change::Add).
pub(super) struct Add<'a> {
    pub parent: u64,
    pub model: Hash,
    pub shards: &'a [ShardEntry],
    pub first_id: Option<u64>,
    pub next_id: u64,
    pub supersede: bool,
}

impl IndexDir {
    pub(super) fn add(&self, current: &Generation, add: &Add<'_>) -> Result<Outcome> {
        let root = self.root().display();
        if add.model != current.model {
            return Err(Error::Conflict {
                what: format!(
                    "{root}: expected model {} in generation {}, found {}; plan the addition again \
                     under that model",
                    add.model, current.number, current.model
                ),
            });
        }
        let next_id = self.next_id(Some(current))?;
        if let Some(first) = add.first_id.filter(|&first| first != next_id) {
            return Err(Error::Conflict {
                what: format!(
                    "{root}: expected {first} as the next id, found {next_id} in generation {}: \
                     others took the ids that this addition gave out; run it again, and it gives \
                     out others",
                    current.number
                ),
            });
        }
        if let Some(entry) = add.shards.iter().find(|entry| current.shard(&entry.name).is_some()) {
            return Err(Error::invalid(format!(
                "{root}: shard {} is in generation {} already; these rows were added before",
                entry.name, current.number
            )));
        }
        let model = self.generation_model(&current.model)?;
        let new = self.open_shards(&model, add.shards, &BTreeMap::new())?;
        unique(&new)?;
        let old = self.open_shards(&model, &current.shards, &current.tombstones)?;
        same_columns(old.iter().chain(&new))?;
        let mut draft = Draft::after(self, current)?;
        for (shard, entry) in old.into_iter().zip(&current.shards) {
            let mut superseded = RoaringBitmap::new();
            let old_rows = with_deleted(std::slice::from_ref(&shard))[0];
            for fresh in with_deleted(&new) {
                in_both(fresh, old_rows, |shared, one, other| {
                    if add.supersede {
                        superseded.insert(other);
                        return Ok(());
                    }
                    let what = match shared {
                        Shared::Id => format!("id {}", fresh.0.id(one)?),
                        Shared::Key => format!("key {:?}", fresh.0.key(one)?),
                    };
                    Err(twice(what, (&shard.0, other), (fresh.0, one)))
                })?;
            }
            draft.rows.superseded += superseded.len();
            self.bury(&mut draft, shard, entry, superseded, Some(Cause::Upsert))?;
        }
        draft.new.shards.extend_from_slice(add.shards);
        draft.new.next_id = next_id.max(add.next_id);
        draft.rebased = add.parent != current.number;
        Ok(Outcome::Publish(Box::new(draft)))
    }
}
