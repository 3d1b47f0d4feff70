//! The way back to an earlier generation.

use roaring::RoaringBitmap;

use super::{Draft, Outcome};
use crate::base::error::{Error, Result};
use crate::generations::IndexDir;
use crate::generations::deletes::{DeletedNames, DeletedRow};
use crate::generations::manifest::Generation;

impl IndexDir {
    pub(super) fn roll_back(
        &self,
        current: &Generation,
        expected: u64,
        to: u64,
        undo_deletes: bool,
    ) -> Result<Outcome> {
        if current.number != expected {
            return Err(self.moved(Some(expected), Some(current)));
        }
        let target = self.generation(to)?;
        self.refuse_erased(&target)?;
        let model = self.generation_model(&target.model)?;
        let shards = self.open_shards(&model, &target.shards, &target.tombstones)?;
        let since: Vec<DeletedRow> = self.deletes_between(target.deletes, current.deletes)?;
        // A picture that was taken down stays down, even if another one has its key by now.
        let mut gone = DeletedNames::default();
        for row in since.iter().filter(|row| row.is_asked_for()) {
            gone.ids.insert(row.id);
            gone.keys.extend(Some(row.key.clone()).filter(|key| !key.is_empty()));
        }
        if undo_deletes || gone.is_empty() {
            return Ok(Outcome::Activate(Box::new(target)));
        }
        let mut draft = Draft::after(self, &target)?;
        draft.parent = target.parent;
        for (shard, entry) in shards.iter().zip(&target.shards) {
            let newly = self.rows_named(shard, &gone)?;
            draft.rows.carried += newly.len();
            self.bury(&mut draft, shard, entry, &newly, None)?;
        }
        // The log goes on: what the other one has and this one has not comes behind it.
        draft.log = self.deletes_between(current.deletes, target.deletes)?;
        draft.new.deletes = current.deletes;
        draft.new.next_id = self.next_id(Some(current))?;
        Ok(Outcome::Publish(Box::new(draft)))
    }

    /// Refuses a generation that names a file with rows that were erased.
    pub(in crate::generations) fn refuse_erased(&self, target: &Generation) -> Result<()> {
        for erasure in self.erasures()? {
            if let Some(shard) = target.shards.iter().find(|s| erasure.shards.contains(&s.name)) {
                return Err(Error::invalid(format!(
                    "{}: generation {} cannot be current again: its shard {} holds rows that were \
                     erased; `ocelli gc --yes` removes it",
                    self.root().display(),
                    target.number,
                    shard.name
                )));
            }
        }
        Ok(())
    }

    /// Ordinals of the rows that are not deleted and have a name of `gone`.
    fn rows_named(
        &self,
        (shard, dead): &super::OpenShard,
        gone: &DeletedNames,
    ) -> Result<RoaringBitmap> {
        let mut rows = RoaringBitmap::new();
        for &id in &gone.ids {
            rows.extend(shard.find_id(id)?);
        }
        for key in &gone.keys {
            rows.extend(shard.find_key(key)?);
        }
        Ok(&rows - dead)
    }

    /// Keys and ids of the delete log of `generation` that none of its rows has. A rebuild from the
    /// source leaves rows of these names out.
    ///
    /// # Errors
    /// Those of [`Self::delete_log`] and of opening the shards.
    pub fn deleted_names(&self, generation: &Generation) -> Result<DeletedNames> {
        let mut rows = Vec::new();
        for file in self.delete_log(generation.deletes) {
            rows.extend(file?.1.rows);
        }
        self.without_living(generation, rows)
    }

    /// Names of rows of a delete log that no row of `generation` has. A row with a key is known by
    /// it: where the key lives under another id, the old id does not count as deleted.
    fn without_living(
        &self,
        generation: &Generation,
        rows: Vec<DeletedRow>,
    ) -> Result<DeletedNames> {
        let mut names = DeletedNames::default();
        if rows.is_empty() {
            return Ok(names);
        }
        let model = self.generation_model(&generation.model)?;
        let shards = self.open_shards(&model, &generation.shards, &generation.tombstones)?;
        for DeletedRow { id, key, .. } in rows {
            let (mut id_lives, mut key_lives) = (false, false);
            for (shard, dead) in &shards {
                id_lives |= shard.find_id(id)?.is_some_and(|o| !dead.contains(o));
                key_lives |= shard.find_key(&key)?.is_some_and(|o| !dead.contains(o));
            }
            if !key_lives {
                if !id_lives {
                    names.ids.insert(id);
                }
                if !key.is_empty() {
                    names.keys.insert(key);
                }
            }
        }
        Ok(names)
    }
}
