//! Rows deleted by id and key.

use std::collections::BTreeSet;

use roaring::{RoaringBitmap, RoaringTreemap};

use super::names::{NameList, NameRef};
use super::{Draft, FIRST, Outcome};
use crate::base::error::Result;
use crate::generations::IndexDir;
use crate::generations::deletes::Cause;
use crate::generations::manifest::Generation;

impl IndexDir {
    pub(super) fn delete(
        &self,
        current: &Generation,
        names: &NameList,
        cause: Cause,
    ) -> Result<Outcome> {
        let model = self.generation_model(&current.model)?;
        let shards = self.open_shards(&model, &current.shards, &current.tombstones)?;
        let mut draft = Draft::after(self, current)?;
        // Numbers of the names that rows have.
        let mut found = RoaringTreemap::new();
        for (open, entry) in shards.into_iter().zip(&current.shards) {
            let (shard, dead) = &open;
            let mut newly = RoaringBitmap::new();
            names.each(|number, name| {
                let ordinal = match name {
                    NameRef::Id(id) => shard.find_id(id)?,
                    NameRef::Key(key) => shard.find_key(key)?,
                };
                if let Some(ordinal) = ordinal.filter(|&ordinal| !dead.contains(ordinal)) {
                    newly.insert(ordinal);
                    found.insert(number);
                }
                Ok(())
            })?;
            draft.rows.deleted += newly.len();
            self.bury(&mut draft, open, entry, newly, Some(cause))?;
        }
        draft.rows.missing = names.count() - found.len();
        if draft.rows.missing > 0 {
            draft.missing_first = first_missing(names, &found)?;
        }
        let draft = Box::new(draft);
        Ok(if draft.rows.deleted > 0 { Outcome::Publish(draft) } else { Outcome::Unchanged(draft) })
    }
}

/// The first few names that were not found, in the order of their texts.
fn first_missing(names: &NameList, found: &RoaringTreemap) -> Result<Vec<String>> {
    let mut first = BTreeSet::new();
    names.each(|number, name| {
        if !found.contains(number) {
            first.insert(match name {
                NameRef::Id(id) => format!("id {id}"),
                NameRef::Key(key) => format!("key {key:?}"),
            });
            if first.len() > FIRST {
                first.pop_last();
            }
        }
        Ok(())
    })?;
    Ok(first.into_iter().collect())
}
