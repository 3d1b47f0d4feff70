//! The health of an index directory: what is wrong with it, and the command that mends it.

mod files;
mod findings;
mod loss;
mod mend;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ocelli_index::{Error as IndexError, Generation, IndexDir};
use serde::Serialize;

use self::files::{References, look};
use self::findings::{of_current, of_erasure, of_fault, of_files, of_shards};
use self::mend::Mender;
use self::state::State;
use crate::{ProgressFn, Result};

pub use self::mend::Remedy;

/// Share of deleted rows above which an index is called full of them.
pub const MANY_DELETED: f64 = 0.2;

/// The part of the directory that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The directory itself.
    Directory,
    /// The file CURRENT.
    Current,
    /// A generation's file.
    Generation,
    /// A generation's file of a later version of Ocelli.
    NewerGeneration,
    /// A model.
    Model,
    /// A shard.
    Shard,
    /// A set of deleted rows.
    Tombstones,
    /// The log of what was deleted.
    DeleteLog,
    /// The record of what was erased.
    Erasure,
    /// Files that do not agree with each other, each sound by itself.
    Agreement,
    /// The right to read or write a file.
    Permissions,
    /// Files of a process that was killed while it wrote them.
    Temporary,
    /// Work on a plan that was not ended.
    Plan,
    /// Files that no generation needs.
    Unreferenced,
    /// Many small shards.
    SmallShards,
    /// Many deleted rows.
    DeletedRows,
}

/// The weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The current generation cannot be used as it is, or will not be after a restart.
    Damage,
    /// An earlier generation cannot be used, or a search costs more than it must.
    Warning,
    /// Disk is used for nothing.
    Note,
}

/// Something that is wrong with a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Weight of the finding.
    pub severity: Severity,
    /// The part of the directory.
    pub part: Part,
    /// The file or folder.
    pub path: PathBuf,
    /// The fault, in one line.
    pub what: String,
    /// Commands that mend it, the best first: one of them is enough.
    pub mend: Vec<Remedy>,
}

/// The health of a directory.
#[derive(Clone, Debug, Serialize)]
pub struct HealthReport {
    /// The index directory.
    pub index: PathBuf,
    /// The current generation, where there is one that can be read.
    pub generation: Option<u64>,
    /// Generations that are sound: they can be made current.
    pub sound: Vec<u64>,
    /// Bytes that were read and proven; 0 for a quick look.
    pub bytes: u64,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
}

impl HealthReport {
    /// Whether the current generation can be used.
    pub fn is_usable(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Damage)
    }
}

/// Bounds of an examination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthOptions {
    /// Files are opened and compared, but their bytes are not proven.
    pub quick: bool,
    /// Threads; 0: one per core.
    pub threads: usize,
}

/// Whether a folder is an index directory, whole or damaged.
pub fn looks_like_index(path: &Path) -> bool {
    let has = |name: &str| path.join(name).exists();
    has("CURRENT") || has("generations") || (has("models") && has("shards"))
}

/// Examines the index directory `root`. Whatever is wrong with it is a finding, not an error.
///
/// # Errors
/// No such directory; threads that cannot be started.
pub fn examine(
    root: &Path,
    options: &HealthOptions,
    progress: ProgressFn<'_>,
) -> Result<HealthReport> {
    let dir = IndexDir::open(root)?;
    let found = look(root);
    let state = State::read(&dir);
    let (faults, bytes) = state.faults(&dir, options, progress)?;
    let sound = sound(&dir, &state, &faults);
    let mender = Mender::new(&dir, &state, &sound, options.quick);
    let mut findings = Vec::new();
    let whole = (sound.is_empty() && !options.quick).then(|| state.whole(&dir, &faults)).flatten();
    findings.extend(of_current(root, &state, whole, &mender));
    for (number, error) in &faults {
        findings.push(of_fault(&dir, &state, (*number, error), &mender));
    }
    findings.extend(state.unread_erasures.iter().map(|error| of_erasure(root, error, &mender)));
    of_files(&dir, &state, &found, &mender, &mut findings);
    if let Some(current) = state.current().filter(|current| sound.contains(&current.number)) {
        of_shards(root, &dir, current, &mender, &mut findings);
    }
    findings.sort_by(|a, b| (a.severity, a.part, &a.path).cmp(&(b.severity, b.part, &b.path)));
    findings.dedup_by(|a, b| a.part == b.part && a.path == b.path && a.what == b.what);
    Ok(HealthReport {
        index: root.to_owned(),
        generation: state.current().map(|current| current.number),
        sound,
        bytes,
        findings,
    })
}

/// Generations that have no faults, and that hold no erased rows.
fn sound(dir: &IndexDir, state: &State, faults: &[(u64, IndexError)]) -> Vec<u64> {
    let bad: BTreeSet<PathBuf> =
        faults.iter().filter_map(|(_, error)| error.path().map(Path::to_owned)).collect();
    let unsound: BTreeSet<u64> = faults
        .iter()
        .filter(|(_, error)| error.path().is_none())
        .map(|&(number, _)| number)
        .collect();
    let is_sound = |number: &u64, generation: &Generation| {
        let needed = References::of(dir, generation);
        let is_whole = needed.opens && needed.paths(dir.root()).is_disjoint(&bad);
        !unsound.contains(number) && is_whole && state.is_open(generation)
    };
    let sound = state.readable.iter().filter(|(number, found)| is_sound(number, found));
    sound.map(|(&number, _)| number).collect()
}
