//! The delete log of the current generation.

use std::collections::BTreeSet;

use ocelli_index::{Cause, DeletedRow, Generation, Hash, hash_of_deletes};

use super::{Kept, Plan, Remains, unless_lost};
use crate::Result;

/// What a delete log says, as far as it can be read.
pub(super) struct Known {
    /// The rows, in the order of the log but for those of an earlier log.
    pub rows: Vec<DeletedRow>,
    /// Number of them that come from files after a damaged one; these start the rows.
    newer: usize,
    /// The file that is lost and cannot be had from elsewhere.
    broken: Option<Hash>,
    /// The newest file of the log of an earlier generation, which is whole.
    earlier: Option<Hash>,
}

/// A file of the log: the one before it, and its rows.
type LogFile = (Option<Hash>, Vec<DeletedRow>);

impl Plan {
    /// Reads the log. Files that other files prove are to be written again.
    pub(super) fn read_log(&mut self, remains: &Remains) -> Result<Known> {
        let mut known = Known { rows: Vec::new(), newer: 0, broken: None, earlier: None };
        let mut files = Vec::new();
        let mut next = self.base.deletes;
        while let Some(hash) = next {
            let file = match unless_lost(self.dir.delete_file(&hash))? {
                Some(file) => (file.before, file.rows),
                None => match self.again(remains, &hash)? {
                    Some(file) => {
                        self.report.steps.push(format!(
                            "file {} of the delete log is written again, {} by the tombstones; its \
                             SHA-256 proves it",
                            hash.short(),
                            ocelli_text::counted(file.1.len() as u64, "row")
                        ));
                        self.files.push(file.clone());
                        file
                    }
                    None => {
                        known.broken = Some(hash);
                        break;
                    }
                },
            };
            next = file.0;
            files.push(file.1);
        }
        known.rows = files.into_iter().rev().flatten().collect();
        known.newer = known.rows.len();
        if known.broken.is_some() {
            let (earlier, rows) = self.earlier_log(remains)?;
            known.earlier = earlier;
            known.rows.extend(rows);
        }
        Ok(known)
    }

    /// Begins a new log where a file of the old one is lost: with all rows that are known to be
    /// deleted.
    pub(super) fn mend_log(&mut self, known: &Known) -> Result<()> {
        let Some(broken) = known.broken else { return Ok(()) };
        let named: BTreeSet<(u64, &str)> =
            known.rows.iter().map(|row| (row.id, row.key.as_str())).collect();
        let mut log = known.rows[..known.newer].to_vec();
        for kept in &self.kept {
            for ordinal in &kept.dead {
                let (id, key) = (kept.shard.id(ordinal)?, kept.shard.key(ordinal)?);
                if !named.contains(&(id, key.as_str())) {
                    let cause = self.cause(id, &key)?;
                    log.push(DeletedRow { id, key, generation: self.base.number, cause });
                }
            }
        }
        self.new = true;
        self.report.steps.push(format!(
            "a new delete log begins, with {} that other files name; no row of the index changes",
            ocelli_text::counted(log.len() as u64, "row")
        ));
        self.report.loses.push(format!(
            "names of rows that file {} of the delete log had, and that compaction has dropped \
             since: `ocelli rebuild` of parts that have these rows, or a way back, brings them \
             back",
            broken.short()
        ));
        self.deletes = known.earlier;
        if !log.is_empty() {
            self.deletes = Some(hash_of_deletes(known.earlier, &log)?);
            self.files.push((known.earlier, log));
        }
        Ok(())
    }

    /// The cause for which a row was deleted, of which no log tells: another row took its place if
    /// one has its id or key.
    fn cause(&self, id: u64, key: &str) -> Result<Cause> {
        for Kept { shard, dead, .. } in &self.kept {
            let found = [shard.find_id(id)?, shard.find_key(key)?];
            if found.into_iter().flatten().any(|ordinal| !dead.contains(ordinal)) {
                return Ok(Cause::Upsert);
            }
        }
        Ok(Cause::Delete)
    }

    /// The log of the nearest generation whose log is whole, of those that the current one was made
    /// from.
    fn earlier_log(&self, remains: &Remains) -> Result<LogFile> {
        let mut at = &self.base;
        while let Some(before) = at.parent.filter(|&parent| parent < at.number)
            && let Some(generation) = remains.generations.get(&before)
        {
            let files = self.dir.delete_log(generation.deletes);
            let files: ocelli_index::Result<Vec<_>> = files.collect();
            if let Some(files) = unless_lost(files)? {
                let rows = files.into_iter().rev().flat_map(|(_, file)| file.rows).collect();
                return Ok((generation.deletes, rows));
            }
            at = generation;
        }
        Ok((None, Vec::new()))
    }

    /// A file of the log by the tombstones of the first generation that has it, and of the one
    /// before: the file before it, and its rows. None where these do not prove it.
    fn again(&self, remains: &Remains, hash: &Hash) -> Result<Option<LogFile>> {
        let first = remains.generations.values().find(|g| g.deletes == Some(*hash));
        let Some(generation) = first else { return Ok(None) };
        let before = generation.parent.and_then(|parent| remains.generations.get(&parent));
        let Some(before) = before else { return Ok(None) };
        let Some(mut rows) = unless_lost(self.newly_dead(before, generation))? else {
            return Ok(None);
        };
        // A change deletes for one reason.
        for cause in [Cause::Delete, Cause::Upsert, Cause::Erase] {
            rows.iter_mut().for_each(|row| row.cause = cause);
            if hash_of_deletes(before.deletes, &rows)? == *hash {
                return Ok(Some((before.deletes, rows)));
            }
        }
        Ok(None)
    }

    /// Rows that a generation has deleted and the one before it has not, in the order of the log.
    fn newly_dead(
        &self,
        before: &Generation,
        after: &Generation,
    ) -> ocelli_index::Result<Vec<DeletedRow>> {
        let model = self.dir.model(&before.model, None)?;
        let mut rows = Vec::new();
        for entry in &before.shards {
            let Some(now) = after.tombstones.get(&entry.name) else { continue };
            let then = before.tombstones.get(&entry.name);
            if then == Some(now) {
                continue;
            }
            let shard = self.dir.open_shard(&model, entry)?;
            let mut newly = self.dir.tombstones(now, shard.rows())?;
            if let Some(then) = then {
                newly -= self.dir.tombstones(then, shard.rows())?;
            }
            for ordinal in newly {
                rows.push(DeletedRow {
                    id: shard.id(ordinal)?,
                    key: shard.key(ordinal)?,
                    generation: after.number,
                    cause: Cause::Delete,
                });
            }
        }
        Ok(rows)
    }
}
