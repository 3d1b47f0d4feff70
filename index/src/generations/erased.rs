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

use serde::{Deserialize, Serialize};

use super::IndexDir;
use super::change::Names;
use super::commit::open_named;
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;

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
    /// Names that are to be erased, all shards of all generations that hold rows of them, and what
    /// an earlier attempt to erase the same names found. The ids and keys of those rows are names
    /// too.
    ///
    /// # Errors
    /// Those of opening the generations' files.
    pub fn find_erased(&self, names: &Names, time_ms: u64) -> Result<Erasure> {
        let mut erasure = Erasure {
            format: 1,
            ids: names.ids.iter().copied().collect(),
            keys: names.keys.iter().cloned().collect(),
            shards: BTreeSet::new(),
            time_ms,
        };
        // A row brings its other name, and that may be in more shards.
        while self.find_more(&mut erasure)? {}
        Ok(erasure)
    }

    /// Adds shards, ids and keys to an erasure, and says whether names were among them.
    fn find_more(&self, erasure: &mut Erasure) -> Result<bool> {
        let before = (erasure.ids.len(), erasure.keys.len());
        let mut seen = BTreeSet::new();
        for number in self.generations()? {
            let generation = self.generation(number)?;
            let new: Vec<_> =
                generation.shards.iter().filter(|shard| seen.insert(shard.name.clone())).collect();
            if new.is_empty() {
                continue;
            }
            let model = self.open_model(&generation.model)?;
            for entry in new {
                let shard = open_named(&self.shard_path(&entry.name)?, &model, entry)?;
                let mut rows = BTreeSet::new();
                for &id in &erasure.ids {
                    rows.extend(shard.find_id(id)?);
                }
                for key in &erasure.keys {
                    rows.extend(shard.find_key(key)?);
                }
                for &row in &rows {
                    let key = shard.key(row)?;
                    erasure.keys.extend((!key.is_empty()).then_some(key));
                    erasure.ids.insert(shard.id(row)?);
                }
                shard.intact()?;
                if !rows.is_empty() {
                    erasure.shards.insert(entry.name.clone());
                }
            }
        }
        Ok(before != (erasure.ids.len(), erasure.keys.len()))
    }

    /// Writes an erasure. An earlier one of the same names is replaced by both together.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Conflict`] if another process erases the same names now.
    pub fn put_erasure(&self, erasure: &Erasure) -> Result<()> {
        let json = |e: serde_json::Error| Error::invalid(format!("erasure: {e}"));
        let names = serde_json::to_vec(&(&erasure.ids, &erasure.keys)).map_err(json)?;
        let name = format!("erased/{}.json", Hash::of(&names));
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
    /// [`Error::Io`]; [`Error::Corrupt`].
    pub fn erasures(&self) -> Result<Vec<Erasure>> {
        let mut erasures = Vec::new();
        for name in self.storage.list("erased")? {
            let name = format!("erased/{name}");
            if let Some(bytes) = self.storage.read(&name)? {
                erasures.push(self.read_erasure(&name, &bytes)?);
            }
        }
        Ok(erasures)
    }

    fn read_erasure(&self, name: &str, bytes: &[u8]) -> Result<Erasure> {
        let path = self.root().join(name);
        let erasure: Erasure =
            serde_json::from_slice(bytes).map_err(|e| Error::corrupt(&path, e.to_string()))?;
        match erasure.format {
            1 => Ok(erasure),
            found => Err(Error::NewerVersion { path, found, supported: 1 }),
        }
    }
}
