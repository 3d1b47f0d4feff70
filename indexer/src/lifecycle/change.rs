//! Changes of an index. Each becomes a generation by compare-and-swap.
//!
//! The rules are in [`ocelli_index::Change`]: every generation comes to be by
//! [`IndexDir::commit_change`](ocelli_index::IndexDir::commit_change).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub use ocelli_index::{Change, CommitOptions, Committed, Names, RowCounts, Source};
use ocelli_index::{Generation, Held, IndexDir, MadeBy};

use crate::{Error, Result};

/// The record of a command in the generation that it makes, with the time of this machine.
pub fn made_by(command: &str, settings: &[(&str, String)]) -> MadeBy {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    MadeBy {
        command: command.to_owned(),
        settings: settings.collect::<BTreeMap<_, _>>(),
        time_ms: now_ms(),
    }
}

/// Milliseconds since 1970 by the clock of this machine; 0 if it is set before that.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// Options of a commit by this command.
pub(super) fn commit_by<'a>(command: &str, settings: &[(&str, String)]) -> CommitOptions<'a> {
    CommitOptions { made_by: Some(made_by(command, settings)), gate: None }
}

/// The index at `dir` and its current generation.
pub(super) fn open_current(dir: &Path) -> Result<(IndexDir, Generation)> {
    let index = IndexDir::open(dir)?;
    let current = index.current()?;
    if current.is_none() {
        index.refuse_lost_current()?;
    }
    let current = current.ok_or_else(|| {
        Error::Invalid(format!(
            "{}: the index has no generation yet; make one by `ocelli build`",
            dir.display()
        ))
    })?;
    Ok((index, current))
}

/// [`open_current`], for one who opens its files: they stay as long as the third lives, also if
/// another generation becomes current meanwhile.
pub(super) fn hold_current(dir: &Path) -> Result<(IndexDir, Generation, Held)> {
    let held = IndexDir::open(dir)?.hold()?;
    let (index, current) = open_current(dir)?;
    Ok((index, current, held))
}
