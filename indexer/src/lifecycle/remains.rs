//! What remains of an index: generations that can be read, shards that none of them names, and the
//! numbers and ids that were given.

use std::collections::{BTreeMap, BTreeSet};

use ocelli_index::{
    Error as IndexError, Generation, Hash, IndexDir, LocalStorage, LostCurrent, Model, Shard,
    Snapshot, Storage,
};

use super::backup::{known_chains, readable_backups};
use crate::Result;

/// Ids of rows are below this number.
const MOST_IDS: u64 = 1 << 63;

/// The generations of an index whose files can be read, and those that are lost.
pub(super) struct Remains {
    dir: IndexDir,
    /// Generations by number.
    pub generations: BTreeMap<u64, Generation>,
    /// Numbers of the generations whose files are damaged.
    pub damaged: Vec<u64>,
}

/// A shard that no generation names.
pub(super) struct Loose {
    pub name: String,
    /// Its rows; none where it is damaged, or its model is lost.
    pub rows: Option<u64>,
    /// The largest id of its rows.
    last_id: Option<u64>,
}

/// The id after one that a row had; 0 for one that no row can have.
fn after(id: u64) -> u64 {
    if id < MOST_IDS { id + 1 } else { 0 }
}

/// The outcome of a look at something that may be lost: none if it is.
///
/// # Errors
/// What a later version of Ocelli wrote, and what the operating system does not give.
pub(super) fn unless_lost<T>(outcome: ocelli_index::Result<T>) -> ocelli_index::Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_lost() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Remains {
    /// Reads the generations' files.
    ///
    /// # Errors
    /// Those of [`unless_lost`].
    pub(super) fn read(dir: &IndexDir) -> Result<Self> {
        let (mut generations, mut damaged) = (BTreeMap::new(), Vec::new());
        for number in dir.generations()? {
            match unless_lost(dir.generation(number))? {
                Some(generation) => drop(generations.insert(number, generation)),
                None => damaged.push(number),
            }
        }
        Ok(Self { dir: dir.clone(), generations, damaged })
    }

    /// The newest generation up to `most` whose files can all be opened, and that holds no erased
    /// rows.
    ///
    /// # Errors
    /// Those of [`unless_lost`].
    pub(super) fn newest_sound(&self, most: u64) -> Result<Option<u64>> {
        let erased = self.dir.erased_shards()?;
        for (&number, generation) in self.generations.range(..=most).rev() {
            let is_open = generation.shards.iter().all(|shard| !erased.contains(&shard.name));
            if is_open && unless_lost(Snapshot::open_in(&self.dir, Some(number)))?.is_some() {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The generation that stands for a lost one: the newest up to it whose file can be read.
    pub(super) fn stand_in(&self, lost: &LostCurrent) -> Option<&Generation> {
        stand_in(&self.generations, lost)
    }

    /// The largest number that a generation had, and the smallest id that no row had, as far as
    /// files tell: the generations' own, shards that none of them names, the delete log, and, where
    /// CURRENT does not tell, backups.
    ///
    /// # Errors
    /// Those of [`unless_lost`].
    pub(super) fn given(&self, lost: Option<&LostCurrent>) -> Result<(u64, u64)> {
        let mut number = lost.and_then(|lost| lost.number).unwrap_or(0);
        let mut next_id = self.generations.values().map(|g| g.next_id).max().unwrap_or(0);
        for shard in loose_shards(&self.dir, &self.generations)? {
            next_id = next_id.max(shard.last_id.map_or(0, after));
        }
        for name in LocalStorage::new(self.dir.root()).list("deletes")? {
            let Ok(hash) = name.parse::<Hash>() else { continue };
            let (mut last, mut ids) = (0, 0);
            let read = self.dir.each_deleted(&hash, |row| {
                (last, ids) = (row.generation.max(last), after(row.id).max(ids));
                Ok(())
            });
            if unless_lost(read)?.is_some() {
                (number, next_id) = (number.max(last), next_id.max(ids));
            }
        }
        if lost.is_some_and(|lost| lost.number.is_none()) {
            let chains = known_chains(self.dir.root()).unwrap_or_default();
            let backups = chains.iter().flat_map(|chain| readable_backups(chain));
            number = backups.map(|backup| backup.generation).fold(number, u64::max);
        }
        Ok((number, next_id))
    }
}

/// The generation that stands for a lost one: the newest up to it of those that can be read.
pub(super) fn stand_in<'a>(
    generations: &'a BTreeMap<u64, Generation>,
    lost: &LostCurrent,
) -> Option<&'a Generation> {
    generations.range(..=lost.number.unwrap_or(u64::MAX)).next_back().map(|(_, found)| found)
}

/// Numbers of the generations that `tip` was made from, itself first, as far as their files can be
/// read; then, where it is not known which was before, all that are below. What was rolled back
/// from is none of them.
pub(super) fn line(generations: &BTreeMap<u64, Generation>, tip: &Generation) -> Vec<u64> {
    let (mut line, mut at) = (vec![tip.number], tip);
    while let Some(parent) = at.parent.filter(|&parent| parent < at.number) {
        match generations.get(&parent) {
            Some(before) => {
                line.push(parent);
                at = before;
            }
            None => {
                line.extend(generations.range(..parent).rev().map(|(&number, _)| number));
                break;
            }
        }
    }
    line
}

/// The shards that lie in an index directory, and that none of its generations names.
///
/// # Errors
/// Those of [`unless_lost`].
pub(super) fn loose_shards(
    dir: &IndexDir,
    generations: &BTreeMap<u64, Generation>,
) -> Result<Vec<Loose>> {
    let named: BTreeSet<&String> =
        generations.values().flat_map(|g| &g.shards).map(|shard| &shard.name).collect();
    let models: BTreeSet<Hash> = generations.values().map(|g| g.model).collect();
    let mut any = None;
    for model in models {
        if any.is_none() {
            any = unless_lost(dir.model(&model, None))?;
        }
    }
    let mut loose = Vec::new();
    for name in LocalStorage::new(dir.root()).list("shards")? {
        if named.contains(&name) {
            continue;
        }
        let facts = any.as_ref().map(|model| facts(dir, &name, model)).transpose()?.flatten();
        let (rows, last_id) = facts.unzip();
        loose.push(Loose { name, rows, last_id });
    }
    Ok(loose)
}

/// Number of rows and largest id of a shard, of whatever model; none if it is damaged.
fn facts(dir: &IndexDir, name: &str, any: &Model) -> Result<Option<(u64, u64)>> {
    let Ok(path) = dir.shard_path(name) else { return Ok(None) };
    let opened = match Shard::open(&path, any) {
        Err(IndexError::ModelMismatch { found, .. }) => {
            dir.model(&found, None).and_then(|model| Shard::open(&path, &model))
        }
        opened => opened,
    };
    let last = opened.and_then(|shard| Ok((u64::from(shard.rows()), shard.last_id()?)));
    Ok(unless_lost(last)?)
}
