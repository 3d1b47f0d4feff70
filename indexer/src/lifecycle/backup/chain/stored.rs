//! The file of a backup.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use ocelli_index::{Error as IndexError, Hash, Hasher, object_names};
use serde::{Deserialize, Serialize};

use super::super::{Backup, BackupFile};
use super::{Chain, is_plain};
use crate::{Error, Result};

/// A backup as it is in its file. What the generations' files say is not said again: with many
/// generations it would be most of what a backup of a small change writes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) format: u32,
    index: Hash,
    pub(super) number: u64,
    generation: u64,
    current: String,
    /// Generations, models and erasures.
    listed: Vec<BackupFile>,
    /// Sizes of the files that the generations name, in the order of their names.
    sizes: Vec<u64>,
    time_ms: u64,
}

/// The part of a generation's file that names other files.
#[derive(Deserialize)]
struct Sealed {
    generation: Named,
}

#[derive(Deserialize)]
struct Named {
    shards: Vec<NamedShard>,
    tombstones: BTreeMap<String, Hash>,
    deletes: Option<Hash>,
}

#[derive(Deserialize)]
struct NamedShard {
    name: String,
    checksum: Hash,
}

/// First line of a file of the delete log.
#[derive(Deserialize)]
struct Head {
    before: Option<Hash>,
}

impl Chain {
    /// A backup with all of its files: those that its file lists, and those that the generations
    /// among them name.
    pub(super) fn whole(&self, stored: Stored) -> Result<Backup> {
        let path = self.backup_path(stored.number);
        let corrupt = |what: String| Error::from(IndexError::corrupt(&path, what));
        let named = self.named_by(&stored.listed)?;
        if named.len() != stored.sizes.len() {
            return Err(corrupt(format!(
                "sizes of {} files, its generations name {}",
                stored.sizes.len(),
                named.len()
            )));
        }
        let named = named.into_iter().zip(stored.sizes);
        let mut files: Vec<BackupFile> =
            named.map(|((name, sha256), bytes)| BackupFile { name, bytes, sha256 }).collect();
        files.extend(stored.listed);
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        match files.iter().find(|file| !is_plain(&file.name)) {
            Some(file) => Err(corrupt(format!("{:?} is no file of an index", file.name))),
            None => Ok(Backup {
                format: stored.format,
                index: stored.index,
                number: stored.number,
                generation: stored.generation,
                current: stored.current,
                files,
                time_ms: stored.time_ms,
            }),
        }
    }

    /// Names and hashes of the files that the generations among `listed` name: shards, tombstones
    /// and the delete log. Those that are listed themselves are left out.
    fn named_by(&self, listed: &[BackupFile]) -> Result<BTreeMap<String, Hash>> {
        let mut named = BTreeMap::new();
        for file in listed.iter().filter(|file| file.name.starts_with("generations/")) {
            let mut json = Vec::new();
            self.copy(file, |bytes| {
                json.extend_from_slice(bytes);
                Ok(())
            })?;
            let Sealed { generation } = serde_json::from_slice(&json)
                .map_err(|error| IndexError::corrupt(&self.object(file), error.to_string()))?;
            let shards = generation.shards.into_iter();
            named.extend(shards.map(|shard| (format!("shards/{}", shard.name), shard.checksum)));
            let dead = generation.tombstones.into_values();
            named.extend(dead.map(|hash| (object_names::tombstones(&hash), hash)));
            let mut next = generation.deletes;
            while let Some(hash) = next
                && named.insert(object_names::deletes(&hash), hash).is_none()
            {
                next = self.before(hash)?;
            }
        }
        for file in listed {
            named.remove(&file.name);
        }
        Ok(named)
    }

    /// The file before one of the delete log.
    fn before(&self, hash: Hash) -> Result<Option<Hash>> {
        let path = self.root.join("objects").join(hash.to_string());
        // The file may be large, and only its first line is wanted.
        let mut file = BufReader::new(File::open(&path).map_err(Error::io("open", &path))?);
        let (mut hasher, mut head) = (Hasher::new(), Vec::new());
        file.read_until(b'\n', &mut head).map_err(Error::io("read", &path))?;
        hasher.update(&head);
        loop {
            let piece = file.fill_buf().map_err(Error::io("read", &path))?;
            let read = piece.len();
            if read == 0 {
                break;
            }
            hasher.update(piece);
            file.consume(read);
        }
        let found = hasher.finish();
        if found != hash {
            let what = format!("SHA-256 {found}, expected {hash}");
            return Err(IndexError::corrupt(&path, what).into());
        }
        let head: Head = serde_json::from_slice(&head)
            .map_err(|error| IndexError::corrupt(&path, error.to_string()))?;
        Ok(head.before)
    }

    /// The file of a backup whose objects are there.
    pub(super) fn stored(&self, backup: Backup) -> Result<Stored> {
        let follows = |file: &BackupFile| {
            ["shards/", "tombstones/", "deletes/"].iter().any(|f| file.name.starts_with(f))
        };
        let (rest, mut listed): (Vec<BackupFile>, Vec<BackupFile>) =
            backup.files.into_iter().partition(follows);
        let named = self.named_by(&listed)?;
        let same = named.len() == rest.len()
            && rest.iter().all(|file| named.get(&file.name) == Some(&file.sha256));
        let mut sizes = Vec::new();
        match same {
            true => sizes.extend(rest.iter().map(|file| file.bytes)),
            // Nothing is left to what other versions of Ocelli make of a generation.
            false => listed.extend(rest),
        }
        Ok(Stored {
            format: backup.format,
            index: backup.index,
            number: backup.number,
            generation: backup.generation,
            current: backup.current,
            listed,
            sizes,
            time_ms: backup.time_ms,
        })
    }
}
