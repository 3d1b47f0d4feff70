//! CURRENT and the generations, as far as they can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ocelli_index::{
    Error as IndexError, Generation, IndexDir, LostCurrent, Snapshot, object_names,
};

use super::HealthOptions;
use super::files::References;
use crate::lifecycle::backup::{Backup, BackupFile};
use crate::lifecycle::recover;
use crate::lifecycle::remains;
use crate::lifecycle::verify::prove;
use crate::{ProgressFn, Result};

/// The current generation, or what is known of it.
pub(super) enum Now {
    Current(Box<Generation>),
    /// The index has no generation.
    Empty,
    /// CURRENT, or the file of the generation that it names, is missing or damaged.
    Lost(LostCurrent),
    /// A later version of Ocelli wrote it, or the operating system does not give it.
    Unknown(IndexError),
}

/// CURRENT and the generations, as far as they can be read.
pub(super) struct State {
    pub numbers: Vec<u64>,
    pub readable: BTreeMap<u64, Generation>,
    pub now: Now,
    /// Shards that hold erased rows.
    erased: BTreeSet<String>,
    /// The faults of records of erasures that cannot be read.
    pub unread_erasures: Vec<IndexError>,
}

impl State {
    pub(super) fn read(dir: &IndexDir) -> Self {
        let numbers = dir.generations().unwrap_or_default();
        let read = |&number: &u64| Some((number, dir.generation(number).ok()?));
        let now = match dir.lost_current() {
            Ok(Some(lost)) => Now::Lost(lost),
            Ok(None) => match dir.current() {
                Ok(Some(current)) => Now::Current(Box::new(current)),
                Ok(None) => Now::Empty,
                Err(error) => Now::Unknown(error),
            },
            Err(error) => Now::Unknown(error),
        };
        let (mut erased, mut unread_erasures) = (BTreeSet::new(), Vec::new());
        for erasure in dir.each_erasure().unwrap_or_else(|error| vec![Err(error)]) {
            match erasure {
                Ok(erasure) => erased.extend(erasure.shards),
                Err(error) => unread_erasures.push(error),
            }
        }
        let readable = numbers.iter().filter_map(read).collect();
        Self { readable, numbers, now, erased, unread_erasures }
    }

    /// The current generation, where it can be read.
    pub(super) fn current(&self) -> Option<&Generation> {
        match &self.now {
            Now::Current(current) => Some(current),
            _ => None,
        }
    }

    /// The number of the current generation, as far as CURRENT tells.
    pub(super) fn number(&self) -> Option<u64> {
        match &self.now {
            Now::Current(current) => Some(current.number),
            Now::Lost(lost) => lost.number,
            Now::Empty | Now::Unknown(_) => None,
        }
    }

    /// The generation whose deletes stay in force on a way back.
    pub(super) fn stand_in(&self) -> Option<&Generation> {
        match &self.now {
            Now::Current(current) => Some(current),
            Now::Lost(lost) => remains::stand_in(&self.readable, lost),
            Now::Empty | Now::Unknown(_) => None,
        }
    }

    /// The generations that the current one was made from, the newest first: the goals of a way
    /// back. The current one, or the one that stands for it, is the first.
    pub(super) fn line(&self) -> Vec<u64> {
        self.stand_in().map_or_else(Vec::new, |tip| remains::line(&self.readable, tip))
    }

    /// Whether a generation is above the current one: it was rolled back from, or never became
    /// current.
    pub(super) fn is_later(&self, number: u64) -> bool {
        self.number().is_some_and(|current| number > current)
    }

    /// Whether a way leads to a generation: it is current, or holds no erased rows.
    pub(super) fn is_open(&self, generation: &Generation) -> bool {
        self.current().is_some_and(|current| current.number == generation.number)
            || generation.shards.iter().all(|shard| !self.erased.contains(&shard.name))
    }

    /// The shards without a fault of the generation that stands for a lost one, in a phrase.
    pub(super) fn whole(&self, dir: &IndexDir, faults: &[(u64, IndexError)]) -> Option<String> {
        let from = self.stand_in()?;
        let bad: BTreeSet<&Path> = faults.iter().filter_map(|(_, error)| error.path()).collect();
        let is_whole =
            |name: &str| dir.shard_path(name).is_ok_and(|path| !bad.contains(path.as_path()));
        let whole = from.shards.iter().filter(|shard| is_whole(&shard.name));
        let (count, rows) = whole.fold((0, 0), |(n, rows), shard| (n + 1, rows + shard.rows));
        (count > 0).then(|| {
            format!(
                "of generation {}, {count} of {} have no fault, with {} of {}, deleted ones \
                 included: keep a copy of the directory before anything else",
                from.number,
                ocelli_text::counted(from.shards.len() as u64, "shard"),
                ocelli_text::thousands(rows),
                ocelli_text::counted(from.rows(), "row")
            )
        })
    }

    /// Whether a backup has a shard with erased rows.
    pub(super) fn holds_erased(&self, backup: &Backup) -> bool {
        let name = |file: &BackupFile| file.name.strip_prefix("shards/").map(str::to_owned);
        backup.files.iter().filter_map(name).any(|name| self.erased.contains(&name))
    }

    /// What `ocelli recover` would do, where it would do something.
    pub(super) fn recovery(
        &self,
        dir: &IndexDir,
        sound: &[u64],
        quick: bool,
    ) -> Option<recover::RecoverReport> {
        let current = self.current()?.number;
        let is_damaged = !sound.contains(&current);
        let blocks = |&number: &u64| number > current && !self.readable.contains_key(&number);
        if !is_damaged && !self.numbers.iter().any(blocks) {
            return None;
        }
        let plan = recover::plan(dir.root(), quick || !is_damaged).ok()?;
        Some(plan.report).filter(|report| !report.steps.is_empty())
    }

    /// Faults of the files of generations, and the bytes that were proven.
    pub(super) fn faults(
        &self,
        dir: &IndexDir,
        options: &HealthOptions,
        progress: ProgressFn<'_>,
    ) -> Result<(Vec<(u64, IndexError)>, u64)> {
        if !options.quick {
            let proven = prove(dir, &self.numbers, options.threads, progress)?;
            return Ok((proven.faults, proven.bytes));
        }
        let mut faults = Vec::new();
        for &number in self.numbers.iter().rev() {
            match Snapshot::open_degraded(dir.root(), Some(number), None) {
                Ok(snapshot) => faults.extend(snapshot.missing().map(|m| (number, m.error))),
                Err(error) => faults.push((number, error)),
            }
        }
        Ok((faults, 0))
    }

    /// Whether the current generation is the one at fault, or needs the file. Where it is not known
    /// which is current, all that is damaged counts.
    pub(super) fn hurts_current(&self, dir: &IndexDir, number: u64, path: Option<&Path>) -> bool {
        match &self.now {
            Now::Current(current) => {
                let needs = |path| References::of(dir, current).paths(dir.root()).contains(path);
                number == current.number || path.is_some_and(needs)
            }
            Now::Lost(LostCurrent { number: Some(lost), .. }) => *lost == number,
            Now::Unknown(error) => path.is_some() && path == error.path(),
            Now::Lost(_) | Now::Empty => true,
        }
    }

    /// Whether a fault of a later generation keeps every change from the index: which ids it gave
    /// is not known.
    pub(super) fn blocks_changes(&self, root: &Path, number: u64, path: Option<&Path>) -> bool {
        self.current().is_some_and(|current| number > current.number)
            && path == Some(&generation_path(root, number))
    }

    /// Generations that a fault keeps from being used.
    pub(super) fn in_need_of(&self, dir: &IndexDir, number: u64, path: Option<&Path>) -> Vec<u64> {
        let needs = |generation: &Generation| {
            let needed = References::of(dir, generation).paths(dir.root());
            path.is_some_and(|path| needed.contains(path))
        };
        let mut numbers: BTreeSet<u64> =
            self.readable.iter().filter(|(_, g)| needs(g)).map(|(number, _)| *number).collect();
        numbers.insert(number);
        numbers.into_iter().collect()
    }
}

/// The file of a generation.
pub(super) fn generation_path(root: &Path, number: u64) -> PathBuf {
    root.join(object_names::generation(number))
}
