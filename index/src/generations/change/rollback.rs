//! The way back to an earlier generation.

use roaring::RoaringBitmap;

use super::names::{NameList, NameListBuilder, NameRef};
use super::{Draft, Outcome};
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::files::container::MappedLimit;
use crate::generations::IndexDir;
use crate::generations::deletes::DeletedRow;
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
        self.way_back(current, target, undo_deletes, || self.next_id(Some(current)))
    }

    /// The way from `current` to `target`, whose files are opened and compared.
    pub(in crate::generations) fn way_back(
        &self,
        current: &Generation,
        target: Generation,
        undo_deletes: bool,
        next_id: impl FnOnce() -> Result<u64>,
    ) -> Result<Outcome> {
        self.refuse_erased(&target)?;
        let model = self.generation_model(&target.model)?;
        let shards = self.open_shards(&model, &target.shards, &target.tombstones)?;
        self.require_codecs(&target.model, shards.iter().map(|(shard, _)| shard))?;
        if undo_deletes {
            // What the log says does not matter then: it may be damaged.
            return Ok(Outcome::Activate(Box::new(target)));
        }
        let gone = self.asked_for_between(target.deletes, current.deletes)?;
        if gone.count() == 0 {
            return Ok(Outcome::Activate(Box::new(target)));
        }
        let mut draft = Draft::again(&target, next_id()?);
        draft.parent = target.parent;
        for (shard, entry) in shards.into_iter().zip(&target.shards) {
            let newly = self.rows_named(&shard, &gone)?;
            draft.rows.carried += newly.len();
            self.bury(&mut draft, shard, entry, newly, None)?;
        }
        // The log goes on: what the other one has and this one has not comes behind it.
        draft.log.of_files = self.deletes_between(current.deletes, target.deletes)?;
        draft.new.deletes = current.deletes;
        Ok(Outcome::Publish(Box::new(draft)))
    }

    /// Refuses a generation that names a file with rows that were erased.
    pub(in crate::generations) fn refuse_erased(&self, target: &Generation) -> Result<()> {
        let erased = self.erased_shards()?;
        match target.shards.iter().find(|shard| erased.contains(&shard.name)) {
            None => Ok(()),
            Some(shard) => Err(Error::invalid(format!(
                "{}: generation {} cannot be current again: its shard {} holds rows that were \
                 erased; `ocelli gc --yes` removes it",
                self.root().display(),
                target.number,
                shard.name
            ))),
        }
    }

    /// Names of the rows that somebody asked to delete, of the log `of` without those of the log
    /// `without`. A picture that was taken down stays down, even if another one has its key by now.
    pub(in crate::generations) fn asked_for_between(
        &self,
        without: Option<Hash>,
        of: Option<Hash>,
    ) -> Result<NameList> {
        let mut names = match MappedLimit::in_force() {
            Some(bytes) => NameListBuilder::bounded(bytes, &self.root().join("deletes")),
            None => NameListBuilder::new(),
        };
        for hash in self.hashes_between(without, of)? {
            self.each_deleted(&hash, |row| {
                if row.is_asked_for() {
                    names.push(NameRef::Id(row.id))?;
                    if !row.key.is_empty() {
                        names.push(NameRef::Key(&row.key))?;
                    }
                }
                Ok(())
            })?;
        }
        names.finish()
    }

    /// Ordinals of the rows that are not deleted and have a name of `gone`.
    fn rows_named(
        &self,
        (shard, dead): &super::OpenShard,
        gone: &NameList,
    ) -> Result<RoaringBitmap> {
        let mut rows = RoaringBitmap::new();
        gone.each(|_, name| {
            rows.extend(match name {
                NameRef::Id(id) => shard.find_id(id)?,
                NameRef::Key(key) => shard.find_key(key)?,
            });
            Ok(())
        })?;
        Ok(&rows - dead)
    }

    /// Keys and ids of the delete log of `generation` that none of its rows has, collected by
    /// `names`. A rebuild from the source leaves rows of these names out.
    ///
    /// # Errors
    /// Those of [`Self::each_deleted`] and of opening the shards; a full disk.
    pub fn deleted_names(
        &self,
        generation: &Generation,
        mut names: NameListBuilder,
    ) -> Result<NameList> {
        let mut next = generation.deletes;
        if next.is_some() {
            let model = self.generation_model(&generation.model)?;
            let shards = self.open_shards(&model, &generation.shards, &generation.tombstones)?;
            while let Some(hash) = next {
                next = self.each_deleted(&hash, |row| keep_deleted(&mut names, &shards, &row))?;
            }
        }
        names.finish()
    }
}

/// Adds the names of a row of a delete log that no row of the shards has. A row with a key is known
/// by it: where the key lives under another id, the old id does not count as deleted.
fn keep_deleted(
    names: &mut NameListBuilder,
    shards: &[super::OpenShard],
    DeletedRow { id, key, .. }: &DeletedRow,
) -> Result<()> {
    let (mut id_lives, mut key_lives) = (false, false);
    for (shard, dead) in shards {
        id_lives |= shard.find_id(*id)?.is_some_and(|o| !dead.contains(o));
        key_lives |= shard.find_key(key)?.is_some_and(|o| !dead.contains(o));
    }
    if key_lives {
        return Ok(());
    }
    if !id_lives {
        names.push(NameRef::Id(*id))?;
    }
    if !key.is_empty() {
        names.push(NameRef::Key(key))?;
    }
    Ok(())
}
