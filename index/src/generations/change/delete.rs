//! Rows deleted by id and key.

use std::collections::HashSet;

use roaring::RoaringBitmap;

use super::{Draft, FIRST, Outcome};
use crate::base::error::Result;
use crate::generations::IndexDir;
use crate::generations::deletes::Cause;
use crate::generations::manifest::Generation;

/// Ids and keys of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Ids.
    pub ids: Vec<u64>,
    /// Keys, none of them empty.
    pub keys: Vec<String>,
}

impl Names {
    /// Number of ids and keys.
    pub fn count(&self) -> usize {
        self.ids.len() + self.keys.len()
    }
}

impl IndexDir {
    pub(super) fn delete(
        &self,
        current: &Generation,
        names: &Names,
        cause: Cause,
    ) -> Result<Outcome> {
        let model = self.generation_model(&current.model)?;
        let shards = self.open_shards(&model, &current.shards, &current.tombstones)?;
        let mut draft = Draft::after(self, current)?;
        let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
        for (open, entry) in shards.iter().zip(&current.shards) {
            let (shard, dead) = open;
            let mut newly = RoaringBitmap::new();
            for &id in &names.ids {
                if let Some(ordinal) = shard.find_id(id)?.filter(|&o| !dead.contains(o)) {
                    newly.insert(ordinal);
                    ids.insert(id);
                }
            }
            for key in &names.keys {
                if let Some(ordinal) = shard.find_key(key)?.filter(|&o| !dead.contains(o)) {
                    newly.insert(ordinal);
                    keys.insert(key.as_str());
                }
            }
            draft.rows.deleted += newly.len();
            self.bury(&mut draft, open, entry, &newly, Some(cause))?;
        }
        let asked: HashSet<u64> = names.ids.iter().copied().collect();
        let asked_keys: HashSet<&str> = names.keys.iter().map(String::as_str).collect();
        let mut missing: Vec<String> =
            asked.difference(&ids).map(|id| format!("id {id}")).collect();
        missing.extend(asked_keys.difference(&keys).map(|key| format!("key {key:?}")));
        missing.sort_unstable();
        draft.rows.missing = missing.len() as u64;
        missing.truncate(FIRST);
        draft.missing_first = missing;
        let draft = Box::new(draft);
        Ok(if draft.rows.deleted > 0 { Outcome::Publish(draft) } else { Outcome::Unchanged(draft) })
    }
}
