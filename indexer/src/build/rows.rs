//! Rows of a build: their ids, and those that are left out.

use std::collections::HashMap;
use std::path::Path;

use clap::ValueEnum;
use ocelli_index::{Generation, key_hash64};
use ocelli_text::quoted;

use super::source::Source;
use crate::sort::{NumberedRows, SortMemory, Sorter};
use crate::{Error, Result};

/// The treatment of a row whose key or id an earlier row has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnDuplicate {
    /// The row ends the build before anything is written; both rows are named.
    #[default]
    Stop,
    /// The row is left out and counted.
    Reject,
}

/// The result of a look at the ids and keys of all rows.
pub(super) struct RowsMeta {
    /// Rows that are left out, ascending: those that the caller named, and those whose key or id an
    /// earlier row has.
    pub(super) left_out: Vec<u64>,
    /// The number of those whose key or id an earlier row has.
    pub(super) rejected: usize,
    /// Reasons for the first few of them.
    pub(super) reasons: Vec<String>,
    /// Whether no part brought ids.
    pub(super) ids_given: bool,
    pub(super) first_id: u64,
    /// Smallest id never given out, after this build.
    pub(super) next_id: u64,
}

/// Rows left out whose reasons are kept.
const MAX_REASONS: usize = 3;

/// Rows whose names are read at once: keys may be long.
const NAMED_ROWS: usize = 1024;

/// Bytes that a row takes of which another one has the key or id.
const TWIN_BYTES: usize = 256;

impl RowsMeta {
    /// Reads the ids and keys of all rows of `sources`. `left_out` names rows, ascending, that are
    /// not looked at.
    ///
    /// Numbers of ids and keys are sorted, in files where memory has a limit; only rows that share
    /// one with another row are then looked at together.
    pub(super) fn read(
        sources: &[Source<'_>],
        first_id: u64,
        on_duplicate: OnDuplicate,
        left_out: &[usize],
        memory: Option<SortMemory>,
    ) -> Result<Self> {
        let names = scan(sources, first_id, left_out, memory.as_ref())?;
        let most = memory.as_ref().map(|m| m.bytes / TWIN_BYTES);
        let stops = on_duplicate == OnDuplicate::Stop;
        let twins_of = |names: Names, stops| twins([names.keys, names.ids], stops, most);
        let (ids_given, last_id) = (names.ids_given, names.last_id);
        let found = twins_of(names, stops)?;
        let (mut doubles, mut reasons) = doubles_of(sources, first_id, &found, on_duplicate)?;
        if stops && !found.is_empty() {
            // Two keys with one hash, which are none of a kind: there may be others behind them.
            let names = scan(sources, first_id, left_out, memory.as_ref())?;
            let found = twins_of(names, false)?;
            (doubles, reasons) = doubles_of(sources, first_id, &found, on_duplicate)?;
        }
        let rejected = doubles.len();
        let mut left_out: Vec<u64> = left_out.iter().map(|&row| row as u64).collect();
        left_out.extend(doubles);
        left_out.sort_unstable();
        let next_id = last_id.map_or(0, |id| id + 1).max(first_id);
        Ok(Self { left_out, rejected, reasons, ids_given, first_id, next_id })
    }

    /// Whether the ids that follow the last one are below 2⁶³, where rows need such ids.
    pub(super) fn check_ids(&self, dir: &Path, parent: Option<&Generation>) -> Result<()> {
        if self.next_id <= 1 << 63 {
            return Ok(());
        }
        let last = match parent {
            Some(parent) => format!("generation {} has given out", parent.number),
            None => "its generations have given out".to_owned(),
        };
        Err(Error::Invalid(format!(
            "{}: {last} ids up to {}; expected ids below 2^63, so those that follow do not suffice \
             for rows without ids: give the rows ids (import vectors --id-column), or build into \
             another directory",
            dir.display(),
            self.first_id - 1
        )))
    }
}

/// Ids and hashes of keys, sorted.
struct Names {
    keys: NumberedRows,
    ids: NumberedRows,
    ids_given: bool,
    last_id: Option<u64>,
}

/// Sorts the ids and keys of all rows but those `left_out`.
fn scan(
    sources: &[Source<'_>],
    first_id: u64,
    left_out: &[usize],
    memory: Option<&SortMemory>,
) -> Result<Names> {
    let share = memory.map(|m| SortMemory { bytes: m.bytes / 2, folder: m.folder.clone() });
    let (mut keys, mut ids) = (Sorter::new(share.clone()), Sorter::new(share));
    let ids_given = !sources.iter().any(|source| source.has_ids() && source.rows() > 0);
    let mut unwanted = left_out.iter().map(|&row| row as u64).peekable();
    let (mut row, mut last_id) = (0u64, None);
    for source in sources {
        for start in (0..source.rows()).step_by(NAMED_ROWS) {
            let rows = start..(start + NAMED_ROWS).min(source.rows());
            for (id, key) in source.names(rows, first_id + row)? {
                last_id = last_id.max(Some(id));
                if unwanted.next_if_eq(&row).is_none() {
                    if !key.is_empty() {
                        keys.push([key_hash64(key.as_bytes()), row])?;
                    }
                    // Ids that the build gives are all different.
                    if !ids_given {
                        ids.push([id, row])?;
                    }
                }
                row += 1;
            }
            source.release();
        }
    }
    Ok(Names { keys: keys.finish()?, ids: ids.finish()?, ids_given, last_id })
}

/// Rows that share the hash of a key, or an id, with another row, ascending. Where the first one
/// found is to stop the build, none behind it.
fn twins(sorted: [NumberedRows; 2], stops: bool, most: Option<usize>) -> Result<Vec<u64>> {
    let mut twins = Vec::new();
    let mut bound = u64::MAX;
    for sorted in sorted {
        sorted.each_group(|rows| {
            if stops {
                bound = bound.min(rows[1]);
            }
            twins.extend(rows.iter().filter(|&&row| row <= bound));
            if stops && twins.len() > 1 << 16 {
                twins.retain(|&row| row <= bound);
            }
        })?;
    }
    twins.retain(|&row| row <= bound);
    twins.sort_unstable();
    twins.dedup();
    match most.filter(|&most| twins.len() > most) {
        Some(_) => Err(Error::Invalid(format!(
            "memory budget: {} rows have the key or id of another one; the smallest budget that \
             holds them is {} MiB more",
            twins.len(),
            (twins.len() * TWIN_BYTES).div_ceil(1 << 20)
        ))),
        None => Ok(twins),
    }
}

/// The rows among `twins` whose key or id an earlier row has that is not left out itself, and
/// reasons for the first few.
fn doubles_of(
    sources: &[Source<'_>],
    first_id: u64,
    twins: &[u64],
    on_duplicate: OnDuplicate,
) -> Result<(Vec<u64>, Vec<String>)> {
    let (mut doubles, mut reasons) = (Vec::new(), Vec::new());
    let mut seen_keys: HashMap<String, u64> = HashMap::new();
    let mut seen_ids: HashMap<u64, u64> = HashMap::new();
    for &row in twins {
        let Some((source, image)) = source_of(sources, row) else { continue };
        let key = source.key(image)?;
        let id = source.id(image)?.unwrap_or(first_id + row);
        let by_key = (!key.is_empty()).then(|| seen_keys.get(&key)).flatten();
        let twice = match (by_key, seen_ids.get(&id)) {
            (Some(&first), _) => Some((format!("key {}", quoted(&key)), first)),
            (None, Some(&first)) => Some((format!("id {id}"), first)),
            (None, None) => None,
        };
        let Some((what, first)) = twice else {
            if !key.is_empty() {
                seen_keys.insert(key, row);
            }
            seen_ids.insert(id, row);
            continue;
        };
        let reason =
            format!("{what} is there twice: {} and {}", place(sources, first), place(sources, row));
        match on_duplicate {
            OnDuplicate::Stop => {
                let hint = "--on-duplicate reject leaves the second one out";
                return Err(Error::Invalid(format!("{reason}; {hint}")));
            }
            OnDuplicate::Reject if reasons.len() < MAX_REASONS => reasons.push(reason),
            OnDuplicate::Reject => {}
        }
        doubles.push(row);
    }
    Ok((doubles, reasons))
}

/// The part of a row, by its number in plan order, and its image there.
fn source_of<'a>(sources: &[Source<'a>], row: u64) -> Option<(Source<'a>, usize)> {
    let mut row = row as usize;
    for &source in sources {
        if row < source.rows() {
            return Some((source, row));
        }
        row -= source.rows();
    }
    None
}

/// The part and image of a row, by its number in plan order.
pub(crate) fn place(sources: &[Source<'_>], row: u64) -> String {
    match source_of(sources, row) {
        Some((source, image)) => format!("{} (image {image})", source.path().display()),
        None => format!("row {row}"),
    }
}
