//! The note of an index directory on its backups: `backups.json`.
//!
//! ```json
//! {"format": 2, "index": "<hash>", "chains": ["/mnt/backups/photos"],
//!  "newest": {"/mnt/backups/photos": {"backup": 7, "current": "9 <checksum>"}}}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ocelli_index::{Error as IndexError, Hash, LocalStorage, Storage};
use serde::{Deserialize, Serialize};

use super::chain::{Chain, Newest, Object, is_loss};
use super::state::State;
use crate::{Error, Result};

const NAME: &str = "backups.json";
/// Version of the format. Format 1 knew no newest backup.
const FORMAT: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    format: u32,
    /// The index, as its chains name it.
    index: Hash,
    /// Folders of chains, ascending.
    chains: BTreeSet<PathBuf>,
    /// The newest backup of each chain that this directory knows: it made it, or came from it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    newest: BTreeMap<PathBuf, Seen>,
}

/// A backup that a directory made, or came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    /// Number in the chain.
    pub backup: u64,
    /// The line of CURRENT in it; none if its list could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
}

impl Seen {
    pub(super) fn of(newest: Newest) -> Self {
        let current = newest.current.ok().map(|line| line.trim_end().to_owned());
        Self { backup: newest.number, current }
    }
}

fn read(root: &Path) -> Result<Option<Known>> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let Some(bytes) = LocalStorage::new(root).read(NAME)? else { return Ok(None) };
    let path = root.join(NAME);
    let corrupt = |error: serde_json::Error| IndexError::corrupt(&path, error.to_string());
    let Versioned { format: found } = serde_json::from_slice(&bytes).map_err(corrupt)?;
    if found > FORMAT {
        return Err(IndexError::NewerVersion { path, found, supported: FORMAT }.into());
    }
    Ok(Some(serde_json::from_slice(&bytes).map_err(corrupt)?))
}

/// The note, if it is there and whole.
fn whole(root: &Path) -> Result<Option<Known>> {
    match read(root) {
        Err(error) if is_loss(&error) => Ok(None),
        done => done,
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
pub(super) fn named(root: &Path) -> Result<Option<Hash>> {
    Ok(whole(root)?.map(|known| known.index))
}

/// Whether a chain has the file of a generation of the directory. Its name is enough: it has the
/// hash.
fn shares(state: &State, chain: &Chain) -> Result<bool> {
    for file in state.generation_files() {
        if !matches!(chain.look(file, false)?, Object::Missing) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the chain that of the index in a directory, and returns the index: the one that the
/// directory says; or that of a chain which has one of its generations, for `backups.json` may be
/// lost; or one of its own.
///
/// # Errors
/// A chain of another index, whatever of it can be read.
pub(super) fn claim(root: &Path, state: &State, chain: &Chain) -> Result<Hash> {
    let shares = shares(state, chain)?;
    let index = match (named(root)?, chain.owner()?.filter(|_| shares)) {
        (Some(index), _) | (None, Some(index)) => index,
        (None, None) => {
            let oldest = state.generations().into_values().next();
            oldest.ok_or_else(|| {
                Error::Invalid(format!("{}: the index has no generation yet", root.display()))
            })?
        }
    };
    chain.claim(index, shares)?;
    Ok(index)
}

/// Refuses a chain whose newest backup is of a history that the directory does not know: of another
/// copy of the index.
pub(super) fn refuse_other_history(
    root: &Path,
    state: &State,
    chain: &Chain,
    target: &Path,
) -> Result<()> {
    let Some(newest) = chain.newest()? else { return Ok(()) };
    let place = target.canonicalize().map_err(Error::io("look at", target))?;
    let known = whole(root)?;
    let number = newest.number;
    let made_before = known.as_ref().is_some_and(|known| {
        // Earlier versions of Ocelli wrote down no backup. Then a directory whose generations are
        // all later may have made it.
        let numbers = state.generations();
        let number = newest.current.as_ref().ok().and_then(|line| line.split(' ').next());
        let number = number.and_then(|number| number.parse().ok());
        newest.is_old
            && known.chains.contains(&place)
            && !known.newest.contains_key(&place)
            && number.is_some_and(|number: u64| numbers.keys().all(|own| *own > number))
    });
    let mut seen = known.iter().flat_map(|known| &known.newest);
    let (goes_on, why) = match &newest.current {
        Ok(line) => {
            let line = line.trim_end();
            // The folder of a chain may have got another path.
            let made = seen
                .any(|(_, seen)| seen.backup == number && seen.current.as_deref() == Some(line));
            let why = format!(
                "its newest backup, {number}, is of generation {line}, which was never in {}: \
                 another copy of this index is backed up here",
                root.display()
            );
            (made || made_before || state.lines.contains(line), why)
        }
        Err(reason) => {
            let made = seen.any(|(path, seen)| *path == place && seen.backup == number);
            let why = format!(
                "the list of its newest backup cannot be read ({reason}), and nothing says that \
                 {} made it",
                root.display()
            );
            (made, why)
        }
    };
    if goes_on {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{target}: {why}; give this directory an empty folder of backups of its own, or, if what \
         it has changed since may be lost, make it what a backup is by `ocelli restore {target} \
         {root} --force`",
        target = target.display(),
        root = root.display(),
    )))
}

/// Writes down that the index is backed up to a chain, and the newest backup of it that the
/// directory made or came from.
pub(super) fn remember(
    root: &Path,
    index: Hash,
    target: &Path,
    newest: Option<Seen>,
) -> Result<()> {
    let target = target.canonicalize().map_err(Error::io("look at", target))?;
    let storage = LocalStorage::new(root);
    loop {
        let bytes = storage.read(NAME)?;
        // A damaged file is written anew.
        let before = whole(root)?.filter(|known| known.index == index);
        let mut known = before.clone().unwrap_or_else(|| Known {
            format: FORMAT,
            index,
            chains: BTreeSet::new(),
            newest: BTreeMap::new(),
        });
        known.format = FORMAT;
        known.chains.insert(target.clone());
        if let Some(newest) = &newest {
            known.newest.insert(target.clone(), newest.clone());
        }
        if before.as_ref() == Some(&known) {
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
    /// The reason why the chain, or a backup of it, cannot be read as a whole, where it cannot: it
    /// may hold them.
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
