//! The note of an index directory on its backups: `backups.json`.
//!
//! ```json
//! {"format": 1, "index": "<hash>", "chains": ["/mnt/backups/photos"]}
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ocelli_index::{Error as IndexError, Hash, LocalStorage, Storage};
use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::state::State;
use crate::{Error, Result};

const NAME: &str = "backups.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    format: u32,
    /// The index, as its chains name it.
    index: Hash,
    /// Folders of chains, ascending.
    chains: BTreeSet<PathBuf>,
}

fn read(root: &Path) -> Result<Option<Known>> {
    let Some(bytes) = LocalStorage::new(root).read(NAME)? else { return Ok(None) };
    let path = root.join(NAME);
    let known: Known = serde_json::from_slice(&bytes)
        .map_err(|error| IndexError::corrupt(&path, error.to_string()))?;
    match known.format {
        1 => Ok(Some(known)),
        found => Err(IndexError::NewerVersion { path, found, supported: 1 }.into()),
    }
}

/// Folders of the chains to which the index at `root` was backed up. A folder may be away.
///
/// # Errors
/// A damaged `backups.json`.
pub fn known_chains(root: &Path) -> Result<Vec<PathBuf>> {
    Ok(read(root)?.map_or_else(Vec::new, |known| known.chains.into_iter().collect()))
}

/// The index that a directory says it is; none before its first backup, or where the file is
/// damaged.
pub(super) fn named(root: &Path) -> Option<Hash> {
    read(root).ok().flatten().map(|known| known.index)
}

/// The index that a directory is: the one that it says; or that of a chain which has one of its
/// generations, for `backups.json` may be lost; or one of its own.
pub(super) fn identity(root: &Path, state: &State, chain: &Chain) -> Result<Hash> {
    if let Some(index) = named(root) {
        return Ok(index);
    }
    let is_generation = |name: &str| name.starts_with("generations/");
    let own: BTreeSet<(&str, Hash)> = state
        .files
        .iter()
        .filter(|(file, _)| is_generation(&file.name))
        .map(|(file, _)| (file.name.as_str(), file.sha256))
        .collect();
    if let Some(owner) = chain.owner()? {
        let (backups, _) = chain.readable()?;
        let shares = backups.iter().flat_map(|backup| &backup.files).any(|file| {
            is_generation(&file.name) && own.contains(&(file.name.as_str(), file.sha256))
        });
        // The first backup may have been killed before it was there.
        if shares || backups.is_empty() {
            return Ok(owner);
        }
    }
    let number = |name: &str| {
        name.trim_start_matches("generations/").trim_end_matches(".json").parse::<u64>()
    };
    let oldest = own.iter().min_by_key(|(name, _)| number(name).unwrap_or(u64::MAX));
    oldest.map(|(_, sha256)| *sha256).ok_or_else(|| {
        Error::Invalid(format!("{}: the index has no generation yet", root.display()))
    })
}

/// Writes down that the index is backed up to a chain.
pub(super) fn remember(root: &Path, index: Hash, target: &Path) -> Result<()> {
    let target = match target.canonicalize() {
        Ok(target) => target,
        Err(error) => return Err(Error::io("look at", target)(error)),
    };
    let storage = LocalStorage::new(root);
    loop {
        let bytes = storage.read(NAME)?;
        // A damaged file is written anew.
        let mut known = match read(root) {
            Ok(Some(known)) if known.index == index => known,
            _ => Known { format: 1, index, chains: BTreeSet::new() },
        };
        if !known.chains.insert(target.clone()) {
            return Ok(());
        }
        let mut json =
            serde_json::to_vec(&known).map_err(|error| Error::Invalid(error.to_string()))?;
        json.push(b'\n');
        match storage.swap(NAME, bytes.as_deref(), &json) {
            Err(IndexError::Conflict { .. }) => {}
            done => return Ok(done?),
        }
    }
}

/// A backup that holds a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// The folder of the chain.
    pub chain: PathBuf,
    /// Numbers of the backups that hold one of the files; none where the chain cannot be read.
    pub backups: Vec<u64>,
    /// The reason why the chain cannot be read, where it cannot: it may hold them.
    pub unread: Option<String>,
}

/// The backups of the index at `root`, of all chains that it knows, that hold one of `shards`
/// (names of files under `shards/`, such as those of an erasure). Chains that hold none are left
/// out, those that cannot be read now are not.
///
/// # Errors
/// A damaged `backups.json`.
pub fn holding(root: &Path, shards: &BTreeSet<String>) -> Result<Vec<Holding>> {
    let mut found = Vec::new();
    for chain in known_chains(root)? {
        let holds = |file: &super::BackupFile| {
            file.name.strip_prefix("shards/").is_some_and(|name| shards.contains(name))
        };
        let outcome = Chain::open(&chain).and_then(|opened| opened.readable());
        let (backups, unread) = match outcome {
            Ok((all, faults)) => {
                let hold = all.iter().filter(|backup| backup.files.iter().any(holds));
                (hold.map(|backup| backup.number).collect(), faults.into_iter().next())
            }
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        if !backups.is_empty() || unread.is_some() {
            found.push(Holding { chain, backups, unread });
        }
    }
    Ok(found)
}
