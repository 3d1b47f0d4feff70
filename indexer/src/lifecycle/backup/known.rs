//! The note of an index directory on its backups: `backups.json`.
//!
//! ```json
//! {"format": 3, "index": "<hash>", "chains": ["/mnt/backups/photos"],
//!  "made": {"/mnt/backups/photos": [{"backup": 7, "current": "9 <checksum>"}]}}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ocelli_index::{
    Error as IndexError, Hash, IndexDir, LocalStorage, Storage, object_names, parse_versioned,
};
use serde::{Deserialize, Serialize};

use super::chain::{Chain, Newest, Object, is_loss};
use super::state::{State, digest, is_gone};
use super::{Backup, BackupFile};
use crate::{Error, Result};

const NAME: &str = "backups.json";
/// Version of the format. Format 1 knew no backups, format 2 the newest of each folder.
const FORMAT: u32 = 3;
/// Backups of a folder that are kept in mind.
const MOST: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    format: u32,
    /// The index, as its first chain names it.
    index: Hash,
    /// Other names that chains have for it: their first backup was made without this note.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    names: BTreeSet<Hash>,
    /// Folders of chains, ascending.
    chains: BTreeSet<PathBuf>,
    /// Format 2: the newest backup of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    newest: BTreeMap<PathBuf, Seen>,
    /// The backups of each that this directory made, or came from. A folder may have had several
    /// chains, one after the other, such as disks that take turns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    made: BTreeMap<PathBuf, BTreeSet<Seen>>,
}

impl Known {
    fn new(index: Hash) -> Self {
        Self {
            format: FORMAT,
            index,
            names: BTreeSet::new(),
            chains: BTreeSet::new(),
            newest: BTreeMap::new(),
            made: BTreeMap::new(),
        }
    }

    /// All names of the index.
    fn is_called(&self, index: &Hash) -> bool {
        self.index == *index || self.names.contains(index)
    }

    fn insert(&mut self, target: &Path, seen: &Seen) {
        let made = self.made.entry(target.to_owned()).or_default();
        // Now it is sure.
        made.retain(|old| old.backup != seen.backup || old.current != seen.current);
        made.insert(seen.clone());
        while made.len() > MOST {
            made.pop_first();
        }
    }
}

/// A backup that a directory made, or came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    /// Number in the chain.
    pub backup: u64,
    /// The line of CURRENT in it; none if its list could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// Whether it was only begun: whether its list was written is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begun: bool,
}

impl Seen {
    pub(super) fn of(newest: Newest) -> Self {
        let current = newest.current.ok().map(|line| line.trim_end().to_owned());
        Self { backup: newest.number, current, begun: false }
    }
}

fn read(root: &Path) -> Result<Option<Known>> {
    let Some(bytes) = LocalStorage::new(root).read(NAME)? else { return Ok(None) };
    let mut known: Known = parse_versioned(&root.join(NAME), &bytes, FORMAT)?;
    for (chain, seen) in std::mem::take(&mut known.newest) {
        known.insert(&chain, &seen);
    }
    Ok(Some(known))
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

/// The number of the last backup that the directory made in a folder, or came from; 0 if it knows
/// of none.
pub(super) fn last_number(root: &Path, target: &Path) -> Result<u64> {
    let place = canonical(target)?;
    let Some(known) = whole(root)? else { return Ok(0) };
    let sure = known.made.get(&place).into_iter().flatten().filter(|seen| !seen.begun);
    Ok(sure.map(|seen| seen.backup).max().unwrap_or(0))
}

fn canonical(target: &Path) -> Result<PathBuf> {
    target.canonicalize().map_err(Error::io("look at", target))
}

/// Whether a chain has one of these files of generations. The name is enough: it has the hash.
fn shares<'a>(chain: &Chain, files: impl IntoIterator<Item = &'a BackupFile>) -> Result<bool> {
    for file in files {
        if !matches!(chain.look(file, false)?, Object::Missing) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the chain that of the index in a directory, and returns the chain's name for it. The chain
/// is of the index if the directory knows its name, or if it has a generation of the index:
/// `backups.json` may be lost, or another chain may have come first since. A chain that has no name
/// yet gets that of the directory, else one of its own.
///
/// # Errors
/// A chain of another index, whatever of it can be read.
pub(super) fn claim(root: &Path, state: &State, chain: &Chain) -> Result<Hash> {
    let shares = shares(chain, state.generation_files())?;
    let known = whole(root)?;
    let is_ours = |owner: &Hash| shares || known.as_ref().is_some_and(|k| k.is_called(owner));
    let index = match (chain.owner()?.filter(is_ours), &known) {
        (Some(owner), _) => owner,
        (None, Some(known)) => known.index,
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

/// Refuses to bring a backup into a directory of another index, or of one that nothing tells.
pub(super) fn refuse_other_index(root: &Path, chain: &Chain, backup: &Backup) -> Result<()> {
    let known = whole(root)?;
    if known.as_ref().is_some_and(|known| known.is_called(&backup.index)) {
        return Ok(());
    }
    let dir = match IndexDir::open(root) {
        Ok(dir) => dir,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut files = Vec::new();
    for number in dir.generations()? {
        match dir.generation(number) {
            // A file that is damaged says nothing.
            Err(error) if is_gone(&error) => continue,
            Err(IndexError::NewerVersion { .. }) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let name = object_names::generation(number);
        let sha256 = digest(&root.join(&name))?;
        files.push(BackupFile { name, bytes: 0, sha256 });
    }
    if shares(chain, &files)? || (files.is_empty() && known.is_none()) {
        return Ok(());
    }
    let what = known.map_or_else(
        || "has generations, and none that the chain has: it may be another index".to_owned(),
        |known| format!("is another index ({})", known.index.short()),
    );
    Err(Error::Invalid(format!(
        "{}: the directory {what}; the backup is of index {}: expected a directory of the same \
         index, or an empty one",
        root.display(),
        backup.index.short()
    )))
}

/// Refuses a chain whose newest backup is of a history that the directory does not know: it neither
/// made that backup, nor came from it, nor has its generation.
pub(super) fn refuse_other_history(
    root: &Path,
    state: &State,
    chain: &Chain,
    target: &Path,
) -> Result<()> {
    let Some(newest) = chain.newest()? else { return Ok(()) };
    let place = canonical(target)?;
    let known = whole(root)?;
    let number = newest.number;
    let line = match &newest.current {
        Ok(line) => line.trim_end(),
        Err(reason) => {
            let made = known.as_ref().and_then(|known| known.made.get(&place));
            if made.into_iter().flatten().any(|seen| seen.backup == number && !seen.begun) {
                return Ok(());
            }
            return Err(Error::Invalid(format!(
                "{target}: the list of its newest backup cannot be read ({reason}), and nothing \
                 says that {root} made it; if it did, move that file out of the folder; else give \
                 this directory an empty folder of backups of its own",
                target = target.display(),
                root = root.display()
            )));
        }
    };
    let generation = line.split(' ').next().and_then(|number| number.parse().ok());
    // The folder of a chain may have got another path.
    let mut made = known.iter().flat_map(|known| known.made.values().flatten());
    let made = made.any(|seen| seen.backup == number && seen.current.as_deref() == Some(line));
    let made_before = || {
        // Earlier versions of Ocelli wrote down no backup. Then a directory whose generations are
        // all later may have made it.
        let is_later = |number: u64| state.generations().keys().all(|own| *own > number);
        let of_here = |known: &Known| {
            known.chains.contains(&place) && known.made.get(&place).is_none_or(BTreeSet::is_empty)
        };
        newest.is_old && known.as_ref().is_some_and(of_here) && generation.is_some_and(is_later)
    };
    if made || state.came_by(line) || made_before() {
        return Ok(());
    }
    let root = root.display();
    let why = match generation {
        Some(generation) if generation > state.generation => {
            format!("{root} did not come to it")
        }
        Some(generation) if state.has_other(generation, line) => {
            format!("{root} has another generation of that number")
        }
        _ => format!(
            "{root} does not have it (`gc` may have removed it), and nothing says that it made the \
             backup"
        ),
    };
    Err(Error::Invalid(format!(
        "{target}: its newest backup, {number}, is of generation {line}, and {why}: another copy \
         of this index seems to be backed up here; give this directory an empty folder of backups \
         of its own; a new directory that is restored from here (`ocelli restore {target} \
         NEW_DIRECTORY`) goes on with this one",
        target = target.display(),
    )))
}

/// Writes down that the index is backed up to a chain, which names it `index`, and a backup of it
/// that the directory made, or came from.
pub(super) fn remember(root: &Path, index: Hash, target: &Path, seen: Option<Seen>) -> Result<()> {
    let target = canonical(target)?;
    let storage = LocalStorage::new(root);
    loop {
        let bytes = storage.read(NAME)?;
        // A damaged file is written anew.
        let before = whole(root)?;
        let mut known = before.clone().unwrap_or_else(|| Known::new(index));
        known.format = FORMAT;
        if known.index != index {
            known.names.insert(index);
        }
        known.chains.insert(target.clone());
        if let Some(seen) = &seen {
            known.insert(&target, seen);
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
        let holds = |file: &BackupFile| {
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
