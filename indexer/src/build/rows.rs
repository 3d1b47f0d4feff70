//! Ids and keys of the rows of a build.

use std::collections::HashMap;
use std::path::Path;

use clap::ValueEnum;
use ocelli_index::{Generation, Part};
use ocelli_text::quoted;

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

/// Ids and keys of all rows, in plan order.
pub(super) struct RowsMeta {
    pub(super) ids: Vec<u64>,
    pub(super) keys: Vec<String>,
    /// Rows that are left out, ascending: those that the caller named, and those whose key or id an
    /// earlier row has.
    pub(super) left_out: Vec<usize>,
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

impl RowsMeta {
    /// Reads the ids and keys of all rows of `parts`. `left_out` names rows, ascending, that are
    /// not looked at.
    pub(super) fn read(
        parts: &[Part],
        first_id: u64,
        on_duplicate: OnDuplicate,
        left_out: &[usize],
    ) -> Result<Self> {
        let (mut ids, mut keys) = (Vec::new(), Vec::new());
        let mut ids_given = true;
        for part in parts {
            for image in 0..part.images() {
                let own = part.id(image)?;
                ids_given &= own.is_none();
                ids.push(own.unwrap_or(first_id + ids.len() as u64));
            }
            keys.extend(part.keys()?);
        }
        let (mut doubles, mut reasons) = (Vec::new(), Vec::new());
        let mut unwanted = left_out.iter().copied().peekable();
        let mut seen_keys: HashMap<&str, usize> = HashMap::with_capacity(keys.len());
        let mut seen_ids: HashMap<u64, usize> = HashMap::with_capacity(ids.len());
        for (row, (key, &id)) in keys.iter().zip(&ids).enumerate() {
            if unwanted.next_if_eq(&row).is_some() {
                continue;
            }
            let by_key = (!key.is_empty()).then(|| seen_keys.get(key.as_str())).flatten();
            let twice = match (by_key, seen_ids.get(&id)) {
                (Some(&first), _) => Some((format!("key {}", quoted(key)), first)),
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
                format!("{what} is there twice: {} and {}", place(parts, first), place(parts, row));
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
        let next_id = ids.iter().map(|id| id + 1).max().unwrap_or(0).max(first_id);
        let rejected = doubles.len();
        let mut left_out = [left_out, &doubles].concat();
        left_out.sort_unstable();
        Ok(Self { ids, keys, left_out, rejected, reasons, ids_given, first_id, next_id })
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

    pub(super) fn is_left_out(&self, row: usize) -> bool {
        self.left_out.binary_search(&row).is_ok()
    }

    /// The rows that are not left out.
    pub(super) fn kept(&self) -> impl Iterator<Item = usize> {
        (0..self.ids.len()).filter(|&row| !self.is_left_out(row))
    }
}

/// The part and image of a row, by its number in plan order.
pub(super) fn place(parts: &[Part], row: usize) -> String {
    let mut row = row;
    for part in parts {
        if row < part.images() {
            return format!("{} (image {row})", part.path().display());
        }
        row -= part.images();
    }
    format!("row {row}")
}
