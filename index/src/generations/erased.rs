//! Erasures: which names were erased, and which files hold rows of them.
//!
//! An erasure is a JSON object under `erased/<hash>.json`, where the hash is that of the names:
//!
//! ```json
//! {"format": 1, "ids": [7], "keys": ["a.jpg"], "shards": ["….shard"], "time_ms": 0}
//! ```
//!
//! `shards` are names of files that hold, or held, rows of these names: those of the index at the
//! time, of whatever generation. A backup that has one of them still holds erased rows. `gc`
//! removes these files, and the generations that name them, however many generations are to be
//! kept; no way back leads to such a generation.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::IndexDir;
use super::change::Names;
use super::manifest::Generation;
use super::named::open_named;
use super::storage::ERASED;
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::base::versioned::parse_versioned;
use crate::model::Model;
use crate::shard::{Shard, ShardEntry};

/// Version of the format that is read and written.
const FORMAT: u32 = 1;

/// Names that were erased, and the files that hold or held rows of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// Version of the format: 1.
    pub format: u32,
    /// Ids, ascending.
    pub ids: BTreeSet<u64>,
    /// Keys, ascending.
    pub keys: BTreeSet<String>,
    /// Names of the shards with rows of these ids or keys.
    pub shards: BTreeSet<String>,
    /// Milliseconds since 1970-01-01 UTC by the clock of the machine; 0: not known.
    pub time_ms: u64,
}

impl IndexDir {
    /// Names that are to be erased, and all shards of all generations that hold rows of them. A row
    /// that lives and has one of the ids brings its key: the same thing may have had other ids.
    ///
    /// # Errors
    /// Those of opening the generations' files.
    pub fn find_erased(&self, names: &Names, time_ms: u64) -> Result<Erasure> {
        let _held = self.hold()?;
        let mut erasure = Erasure {
            format: FORMAT,
            ids: names.ids.iter().copied().collect(),
            keys: names.keys.iter().cloned().collect(),
            shards: BTreeSet::new(),
            time_ms,
        };
        if let Some(current) = self.current()? {
            let model = self.generation_model(&current.model)?;
            for entry in &current.shards {
                let shard = open_named(&self.shard_path(&entry.name)?, &model, entry)?;
                let dead = match current.tombstones.get(&entry.name) {
                    Some(hash) => self.tombstones(hash, shard.rows())?,
                    None => RoaringBitmap::new(),
                };
                for &id in &erasure.ids {
                    if let Some(row) = shard.find_id(id)?.filter(|&row| !dead.contains(row)) {
                        erasure.keys.extend(Some(shard.key(row)?).filter(|key| !key.is_empty()));
                    }
                }
            }
        }
        self.find_holders(&mut erasure)?;
        Ok(erasure)
    }

    /// Adds the shards of all generations that hold rows of the names.
    fn find_holders(&self, erasure: &mut Erasure) -> Result<()> {
        let mut seen = BTreeSet::new();
        let current = self.current()?;
        let is_current = |name: &str| current.as_ref().is_some_and(|c| c.shard(name).is_some());
        for number in self.generations()? {
            let generation = self.generation(number)?;
            let new: Vec<_> =
                generation.shards.iter().filter(|shard| seen.insert(shard.name.clone())).collect();
            if new.is_empty() {
                continue;
            }
            let model = self.generation_model(&generation.model)?;
            for entry in new {
                match self.holds(erasure, &model, entry) {
                    Ok(false) => {}
                    Err(error) if is_current(&entry.name) => return Err(error),
                    // One that cannot be read may hold the rows: it goes.
                    Ok(true) | Err(_) => {
                        erasure.shards.insert(entry.name.clone());
                    }
                }
            }
        }
        self.find_loose_holders(erasure, &seen, current.as_ref())
    }

    /// Adds the shards that no generation names and that hold rows of the names: those of builds
    /// that failed, or have not ended. One that cannot be read under the current model may hold
    /// them; the build that it is of can make it again.
    fn find_loose_holders(
        &self,
        erasure: &mut Erasure,
        named: &BTreeSet<String>,
        current: Option<&Generation>,
    ) -> Result<()> {
        let Some(current) = current else { return Ok(()) };
        let model = self.generation_model(&current.model)?;
        for name in self.storage.list("shards")? {
            if named.contains(&name) {
                continue;
            }
            let opened = Shard::open(&self.shard_path(&name)?, &model);
            if opened.and_then(|shard| holds(erasure, &shard)).unwrap_or(true) {
                erasure.shards.insert(name);
            }
        }
        Ok(())
    }

    /// Whether a shard has a row of these names, deleted or not.
    fn holds(&self, erasure: &Erasure, model: &Model, entry: &ShardEntry) -> Result<bool> {
        holds(erasure, &open_named(&self.shard_path(&entry.name)?, model, entry)?)
    }

    /// Writes an erasure. An earlier one of the same names is replaced by both together.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Conflict`] if another process erases the same names now.
    pub fn put_erasure(&self, erasure: &Erasure) -> Result<()> {
        let json = |e: serde_json::Error| Error::invalid(format!("erasure: {e}"));
        let names = serde_json::to_vec(&(&erasure.ids, &erasure.keys)).map_err(json)?;
        let name = format!("{ERASED}/{}.json", Hash::of(&names));
        let before = self.storage.read(&name)?;
        let mut both = erasure.clone();
        if let Some(bytes) = &before {
            both.shards.append(&mut self.read_erasure(&name, bytes)?.shards);
        }
        let mut bytes = serde_json::to_vec_pretty(&both).map_err(json)?;
        bytes.push(b'\n');
        self.storage.swap(&name, before.as_deref(), &bytes)
    }

    /// All erasures of the index.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`]; [`Error::NewerVersion`].
    pub fn erasures(&self) -> Result<Vec<Erasure>> {
        self.each_erasure()?.into_iter().collect()
    }

    /// Names of the shards that hold, or held, rows which were erased. No way leads back to a
    /// generation with one of them.
    ///
    /// # Errors
    /// Those of [`Self::erasures`].
    pub fn erased_shards(&self) -> Result<BTreeSet<String>> {
        Ok(self.erasures()?.into_iter().flat_map(|erasure| erasure.shards).collect())
    }

    /// All erasures of the index, each as it is read: one that is damaged hides no other.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder cannot be listed.
    pub fn each_erasure(&self) -> Result<Vec<Result<Erasure>>> {
        let mut erasures = Vec::new();
        for name in self.storage.list(ERASED)? {
            let name = format!("{ERASED}/{name}");
            let read = match self.storage.read(&name) {
                Ok(bytes) => bytes.map(|bytes| self.read_erasure(&name, &bytes)),
                Err(error) => Some(Err(error)),
            };
            erasures.extend(read);
        }
        Ok(erasures)
    }

    fn read_erasure(&self, name: &str, bytes: &[u8]) -> Result<Erasure> {
        parse_versioned(&self.root().join(name), bytes, FORMAT)
    }
}

/// Whether a shard has a row of the names of an erasure, deleted or not.
fn holds(erasure: &Erasure, shard: &Shard) -> Result<bool> {
    let mut holds = false;
    for &id in &erasure.ids {
        holds = holds || shard.find_id(id)?.is_some();
    }
    for key in &erasure.keys {
        holds = holds || shard.find_key(key)?.is_some();
    }
    shard.intact()?;
    Ok(holds)
}
